"""Convert a DICOM data set into grey values in which bright is dense, for every stored format.

The order is the standard's (PS3.4 N.2): stored values -> modality LUT or rescale -> VOI LUT or window -> MONOCHROME1
inverted. The window is applied to projection radiographs only. There the manufacturer or the radiographer chose it,
and the raw detector range around it differs between scanners. CT values are Hounsfield units, and in MR or PET the
window is a viewer's last setting: these modalities keep their rescaled values.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.pixels.processing import apply_color_lut
from pydicom.pixels.utils import pixel_array
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from fedward.dicom.header import item, items, numbers, refusing, text, value, whole
from fedward.errors import StudyError

MAX_VOXELS = 2**28
"""Largest number of voxels (1,024 slices of 512 x 512); a header with more is refused before memory is allocated."""
_MAX_EXPANSION = 2_000
_ALWAYS_ALLOWED = 2**24
PROJECTION = frozenset({"CR", "DX", "MG", "IO", "PX"})
_PLAIN_SYNTAXES = frozenset({ImplicitVRLittleEndian, ExplicitVRLittleEndian})
_LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601, as in DICOM's own YBR_FULL


@dataclass(frozen=True, slots=True)
class Stored:
    """Decoded pixels before any grey-scale step.

    Attributes:
        values: ``(rows, columns)`` or ``(frames, rows, columns)``; colour is already luminance.
        low, high: least and greatest value that the stored format can hold.
        colour: True if ``values`` came from colour; no grey-scale step applies to it.
    """

    values: NDArray[np.generic]
    low: float
    high: float
    colour: bool


def decode(header: Dataset) -> Stored:
    """Decode the pixels: all frames of a grey multi-frame file, the first frame of a colour multi-frame file.

    Raises:
        StudyError: "no-pixels", "truncated", "undecodable".
    """
    if not has_pixels(header):
        raise StudyError("no-pixels", "no pixel data element")
    with refusing("undecodable", f"transfer syntax {_syntax(header)}"):
        frames = whole(header, "NumberOfFrames") or 1
        voxels = int(header.Rows) * int(header.Columns) * frames
        if not 0 < voxels <= MAX_VOXELS:
            raise StudyError("undecodable", f"{voxels} pixels, of at most {MAX_VOXELS}")
        _check_length(header, voxels)
        colour = header.get("SamplesPerPixel", 1) > 1 or header.PhotometricInterpretation == "PALETTE COLOR"
        array: Any = _plain_pixels(header, voxels) if not colour and frames == 1 else None
        if array is None:
            array = pixel_array(header, index=0 if colour and frames > 1 else None)
        if colour:
            array = apply_color_lut(array, header) if array.ndim == 2 else array
            grey = array.astype(np.float32) @ _LUMINANCE
            return Stored(grey, 0.0, float(np.iinfo(array.dtype).max), True)
        return Stored(array, *_range(header, array), False)


def has_pixels(header: Dataset) -> bool:
    """True if the header has a pixel data element of one of the three kinds."""
    return any(keyword in header for keyword in ("PixelData", "FloatPixelData", "DoubleFloatPixelData"))


def to_grey(header: Dataset, stored: Stored) -> NDArray[np.float32]:
    """Return grey values, float32, in the shape of ``stored``; bright is dense.

    Values that are rescaled but not windowed are in the modality's unit (Hounsfield units in CT). Values that are not
    finite become the least finite one.

    Raises:
        StudyError: "blank-image" where no value is finite.
    """
    with refusing("undecodable", "grey-scale steps"):
        if not stored.colour:
            stored = _modality(header, stored)
            if text(header, "Modality") in PROJECTION:
                stored = _window(header, stored)
        values = stored.values.astype(np.float32)
        if text(header, "PhotometricInterpretation") == "MONOCHROME1":
            values = np.float32(stored.low + stored.high) - values
        if not np.isfinite(values).all():
            finite = values[np.isfinite(values)]
            if not finite.size:
                raise StudyError("blank-image", "no finite pixel")
            values = np.where(np.isfinite(values), values, finite.min())
        return values


def _syntax(header: Dataset) -> str:
    uid = getattr(getattr(header, "file_meta", None), "TransferSyntaxUID", None)
    return uid.name if uid is not None and uid.is_transfer_syntax and uid.name != uid else "unknown"


def _check_length(header: Dataset, voxels: int) -> None:
    """Refuse uncompressed pixels shorter than the header states, and compressed pixels that expand too much."""
    uid = getattr(getattr(header, "file_meta", None), "TransferSyntaxUID", None)
    if "PixelData" not in header or uid is None:
        return
    if uid.is_encapsulated:
        if voxels > max(_ALWAYS_ALLOWED, _MAX_EXPANSION * len(header.PixelData or b"")):
            raise StudyError("undecodable", f"{voxels} pixels from {len(header.PixelData or b'')} bytes")
        return
    samples, bits = header.get("SamplesPerPixel", 1), int(header.BitsAllocated)
    if header.PhotometricInterpretation == "YBR_FULL_422":
        samples = 2
    needed, there = (voxels * samples * bits + 7) // 8, len(header.PixelData or b"")
    if there < needed:
        raise StudyError("truncated" if there else "no-pixels", f"{there} of {needed} bytes of pixel data")


def _plain_pixels(header: Dataset, pixels: int) -> NDArray[np.generic] | None:
    """Return uncompressed little-endian pixels of 8 or 16 bits, without a copy where no bits must be cleared.

    pydicom's decoder gives the same values but takes ten times as long on a small image. Returns None for other pixels.
    """
    uid = getattr(getattr(header, "file_meta", None), "TransferSyntaxUID", None)
    bits, stored = header.get("BitsAllocated"), header.get("BitsStored")
    if uid not in _PLAIN_SYNTAXES or "PixelData" not in header or bits not in (8, 16) or stored not in range(1, 17):
        return None
    if header["PixelData"].is_undefined_length or not header.PhotometricInterpretation.startswith("MONOCHROME"):
        return None
    kind = "<i" if header.PixelRepresentation == 1 else "<u"
    values = np.frombuffer(header.PixelData, dtype=f"{kind}{bits // 8}", count=pixels)
    if stored < bits:  # high bits may hold anything, such as old overlays; in signed values they repeat the sign
        values = (values << (bits - stored)) >> (bits - stored)
    return values.reshape(header.Rows, header.Columns)


def _range(header: Dataset, array: NDArray[np.generic]) -> tuple[float, float]:
    if array.dtype.kind == "f":
        finite = array[np.isfinite(array)]
        return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    bits = int(header.get("BitsStored", None) or header.BitsAllocated)
    return (-(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1) if array.dtype.kind == "i" else (0.0, 2.0**bits - 1)


def _modality(header: Dataset, stored: Stored) -> Stored:
    table = item(header, "ModalityLUTSequence")
    if table is not None:
        return _look_up(table, stored)
    slope, intercept = _rescale(header, stored.values.shape[0] if stored.values.ndim == 3 else 1)
    if np.all(slope == 1) and np.all(intercept == 0):
        return stored
    if stored.values.ndim == 3:
        slope, intercept = slope[:, None, None], intercept[:, None, None]
    ends = np.stack([slope * stored.low + intercept, slope * stored.high + intercept])
    values = stored.values.astype(np.float32) * slope.astype(np.float32) + intercept.astype(np.float32)
    return Stored(values, float(ends.min()), float(ends.max()), False)


def _rescale(header: Dataset, frames: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return slope and intercept of each frame; 1 and 0 where the header has none or an invalid one."""
    shared = item(header, "SharedFunctionalGroupsSequence")
    groups = items(header, "PerFrameFunctionalGroupsSequence")
    pairs = []
    for frame in range(frames):
        holder = header
        for group in (groups[frame] if frame < len(groups) else None, shared):
            step = None if group is None else item(group, "PixelValueTransformationSequence")
            if step is not None:
                holder = step
                break
        slope, intercept = numbers(holder, "RescaleSlope"), numbers(holder, "RescaleIntercept")
        pairs.append((slope[0] if slope and slope[0] != 0 else 1.0, intercept[0] if intercept else 0.0))
    both = np.array(pairs, dtype=np.float64)
    return both[:, 0], both[:, 1]


def _window(header: Dataset, stored: Stored) -> Stored:
    """Apply the first VOI LUT, else the first window (PS3.3 C.11.2); ignore one that makes the image uniform."""
    table = item(header, "VOILUTSequence")
    if table is not None:
        shown = _look_up(table, stored)
    else:
        centre, width = numbers(header, "WindowCenter"), numbers(header, "WindowWidth")
        function = text(header, "VOILUTFunction").upper() or "LINEAR"
        if not centre or not width or width[0] <= 0 or (function == "LINEAR" and width[0] <= 1):
            return stored
        part = _window_function(stored.values.astype(np.float32), centre[0], width[0], function)
        shown = replace(stored, values=part * np.float32(stored.high - stored.low) + np.float32(stored.low))
    return stored if shown.values.min() == shown.values.max() else shown


def _window_function(values: NDArray[np.float32], centre: float, width: float, function: str) -> NDArray[np.float32]:
    """Map values to 0 to 1 with the three functions of PS3.3 C.11.2.1.2 and C.11.2.1.3."""
    if function == "SIGMOID":
        exponent = np.clip(-4 * (values - np.float32(centre)) / np.float32(width), -80, 80)
        part: NDArray[np.float32] = 1 / (1 + np.exp(exponent))
        return part
    if function == "LINEAR":
        centre, width = centre - 0.5, width - 1
    clipped: NDArray[np.float32] = np.clip((values - np.float32(centre)) / np.float32(width) + np.float32(0.5), 0, 1)
    return clipped


def _look_up(table: Dataset, stored: Stored) -> Stored:
    """Apply a Modality or VOI LUT item (PS3.3 C.11.1.1); values outside the table take its first or last entry."""
    entries, first, bits = (int(one) for one in numbers(table, "LUTDescriptor"))
    data = value(table, "LUTData")
    if isinstance(data, bytes):
        data = np.frombuffer(data, dtype="<u2")
    lut = np.asarray(data, dtype=np.float32)[: entries or 65_536]
    if first > 32_767 and stored.low < 0:  # a signed first value that was written as unsigned
        first -= 65_536
    index = np.clip(np.rint(stored.values.astype(np.float64)) - first, 0, len(lut) - 1).astype(np.int64)
    return Stored(lut[index], 0.0, 2.0**bits - 1, False)
