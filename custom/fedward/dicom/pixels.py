"""Convert a DICOM data set into grey values in which bright is dense, for every stored format.

``decode`` gives stored values, ``to_grey`` applies the steps of ``grey``. The window is applied to projection
radiographs only. There the manufacturer or the radiographer chose it, and the raw detector range around it differs
between scanners. CT values are Hounsfield units, and in MR or PET the window is a viewer's last setting: these
modalities keep their rescaled values. A window that leaves nothing to see is ignored.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.pixels.utils import pixel_array
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from fedward.dicom.bits import Bits, bits_of, stored_values
from fedward.dicom.colour import GREY, PALETTE, luminance, photometric, through_palette
from fedward.dicom.grey import Steps, padding_of, steps_of
from fedward.dicom.header import is_little_endian, is_stated, named, refusing, required, syntax_of, whole
from fedward.dicom.verdict import Verdict, chosen, verdict
from fedward.errors import StudyError

MAX_VOXELS = 2**28
"""Largest number of voxels (1,024 slices of 512 x 512); a header with more is refused before memory is allocated."""
_MAX_EXPANSION = 2_000
_ALWAYS_ALLOWED = 2**24
_NATIVE = frozenset(
    {ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian}
)
_FLOATS = {"FloatPixelData": "f4", "DoubleFloatPixelData": "f8"}


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


def has_pixels(header: Dataset) -> bool:
    """True if the header has a pixel data element of one of the three kinds."""
    return any(keyword in header for keyword in ("PixelData", *_FLOATS))


def decode(header: Dataset) -> Stored:
    """Decode the pixels: all frames of a grey multi-frame file, the first frame of a colour multi-frame file.

    Raises:
        StudyError: "no-pixels", "truncated", "undecodable".
    """
    syntax = _syntax(header)
    with refusing("undecodable", f"transfer syntax {syntax.name}"):
        shape = _shape(header)
        _check_size(prod(shape), shape)
        kind = photometric(header)
        if "PixelData" not in header:
            return _floats(header, kind, shape)
        bits = bits_of(header)
        _check_length(header, syntax, kind, shape, bits)
        if kind not in GREY:
            rgb, greatest = _colour(header, kind, shape, bits)
            return Stored(luminance(rgb), 0.0, greatest, True)
        values = _samples(header, syntax, shape, bits)
        return Stored(values.reshape(shape[shape[0] == 1 :]), bits.low, bits.greatest, False)


def to_rgb(header: Dataset) -> NDArray[np.float32]:
    """Decode a colour file, or the first frame of a colour film: red, green and blue, float32 (3, rows, columns).

    Raises:
        StudyError: as ``decode``; "unsupported-shape" for a file of grey values.
    """
    syntax = _syntax(header)
    with refusing("undecodable", f"transfer syntax {syntax.name}"):
        shape = _shape(header)
        _check_size(prod(shape), shape)
        kind = photometric(header)
        if kind in GREY or "PixelData" not in header:
            raise StudyError("unsupported-shape", "grey values, where colour is asked for")
        bits = bits_of(header)
        _check_length(header, syntax, kind, shape, bits)
        rgb, _ = _colour(header, kind, shape, bits)
    return np.ascontiguousarray(np.moveaxis(rgb.astype(np.float32), -1, 0))


def frame_reader(header: Dataset) -> tuple[int, Callable[[int], NDArray[Any]]]:
    """Return the number of frames, and a function that decodes one of them, (rows, columns), as stored.

    For grey files whose frames are many and are used one by one: ``MAX_VOXELS`` bounds a frame, and not the file.

    Raises:
        StudyError: "no-pixels", "truncated", "undecodable"; so does the function.
    """
    syntax = _syntax(header)
    with refusing("undecodable", f"transfer syntax {syntax.name}"):
        frames, *plane = shape = _shape(header)
        _check_size(prod(plane), shape)
        bits, kind = bits_of(header), photometric(header)
        if kind not in GREY or "PixelData" not in header:
            raise StudyError("undecodable", "frames that are not of grey values, or of real numbers")
        _check_length(header, syntax, kind, shape, bits)

    def read(index: int) -> NDArray[Any]:
        with refusing("undecodable", f"transfer syntax {syntax.name}"):
            if syntax in _NATIVE and bits.allocated > 1:
                cells = _cells(header, f"{'i' if bits.signed else 'u'}{bits.allocated // 8}", prod(plane), index)
                return stored_values(cells, bits).reshape(plane)
            if syntax in _NATIVE:
                return _single_bits(header, prod(plane), index).reshape(plane)
            _check_high(bits)
            return pixel_array(header, index=index).reshape(plane)

    return frames, read


def to_grey(header: Dataset, stored: Stored) -> NDArray[np.float32]:
    """Return grey values, float32, in the shape of ``stored``; bright is dense.

    Values that are rescaled but not windowed are in the modality's unit (Hounsfield units in CT). Padding and values
    that are not finite become background: the least of the others.

    Raises:
        StudyError: "blank-image" where no value is left; "undecodable" for a grey-scale step that is malformed.
    """
    return with_background(without_background(header, stored))


def without_background(header: Dataset, stored: Stored) -> NDArray[np.float32]:
    """Return grey values as ``to_grey`` does, but NaN for background."""
    with refusing("undecodable", "grey-scale steps"):
        if stored.colour:
            return stored.values.astype(np.float32)
        return chosen(stored.values, _steps(header, stored)).apply(stored.values)


def with_background(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Put the least value in place of NaN. Raises ``StudyError("blank-image")`` where every value is NaN."""
    absent = np.isnan(values)
    if not absent.any():
        return values
    if absent.all():
        raise StudyError("blank-image", "no finite pixel, or nothing but padding")
    return np.where(absent, np.nanmin(values), values)


def judge(header: Dataset, stored: Stored) -> Verdict:
    """Judge the grey values of an image by an even sample, at a small part of the cost of ``to_grey``.

    Raises:
        StudyError: "undecodable" for a grey-scale step that is malformed.
    """
    with refusing("undecodable", "grey-scale steps"):
        return verdict(stored.values, None if stored.colour else _steps(header, stored))


def _steps(header: Dataset, stored: Stored) -> Steps:
    frames = stored.values.shape[0] if stored.values.ndim == 3 else 1
    return steps_of(header, low=stored.low, high=stored.high, frames=frames)


def _shape(header: Dataset) -> tuple[int, int, int]:
    """Return frames, rows and columns."""
    frames = whole(header, "NumberOfFrames")
    if frames is None and is_stated(header, "NumberOfFrames"):
        raise StudyError("undecodable", f"{named('NumberOfFrames')} is not a whole number")
    shape = frames or 1, required(header, "Rows"), required(header, "Columns")
    if min(shape) < 1:
        raise StudyError("undecodable", f"{' x '.join(map(str, shape))} pixels")
    return shape


def _check_size(voxels: int, shape: tuple[int, ...]) -> None:
    if voxels > MAX_VOXELS:
        raise StudyError("undecodable", f"{' x '.join(map(str, shape))} pixels, of at most {MAX_VOXELS}")


def _syntax(header: Dataset) -> UID:
    """Return the transfer syntax of a file with pixels."""
    if not has_pixels(header):
        raise StudyError("no-pixels", "no pixel data element")
    syntax = syntax_of(header)
    if syntax is None:
        raise StudyError("undecodable", f"{named('TransferSyntaxUID')} is absent and the pixels are compressed")
    if syntax.is_private or not syntax.is_transfer_syntax:
        raise StudyError("undecodable", f"{named('TransferSyntaxUID')} is not one of the standard's")
    return syntax


def _check_length(header: Dataset, syntax: UID, kind: str, shape: tuple[int, int, int], bits: Bits) -> None:
    """Refuse uncompressed pixels shorter than the header states, and compressed pixels that expand too much."""
    element = header["PixelData"]
    there, voxels = len(element.value or b""), prod(shape)
    if syntax.is_encapsulated:
        if voxels > max(_ALWAYS_ALLOWED, _MAX_EXPANSION * there):
            raise StudyError("undecodable", f"{voxels} pixels from {there} bytes")
        return
    if element.is_undefined_length:
        raise StudyError("undecodable", f"compressed pixels in transfer syntax {syntax.name}")
    samples = 2 if kind == "YBR_FULL_422" else required(header, "SamplesPerPixel")
    needed = (voxels * samples * bits.allocated + 7) // 8
    if there < needed:
        raise StudyError("truncated" if there else "no-pixels", f"{there} of {needed} bytes of pixel data")


def _samples(header: Dataset, syntax: UID, shape: tuple[int, int, int], bits: Bits) -> NDArray[Any]:
    """Return the stored values of one sample a pixel, ``(frames, rows, columns)``, without a copy where possible.

    pydicom's decoder gives the same values for uncompressed pixels, but takes ten times as long on a small image. A
    codestream, other than RLE, has values and no cells: HighBit (0028,0102) can only be BitsStored - 1 (PS3.5 8.2).
    """
    if syntax in _NATIVE and bits.allocated > 1:
        kind = f"{'i' if bits.signed else 'u'}{bits.allocated // 8}"
        return stored_values(_cells(header, kind, prod(shape)), bits).reshape(shape)
    index = 0 if shape[0] == 1 and (whole(header, "NumberOfFrames") or 1) > 1 else None
    if syntax == RLELossless:
        cells = pixel_array(header, index=index, correct_unused_bits=False)
        return stored_values(cells, bits).reshape(shape)
    _check_high(bits)
    return pixel_array(header, index=index).reshape(shape)


def _cells(header: Dataset, kind: str, count: int, part: int = 0) -> NDArray[Any]:
    """Return ``count`` cells of uncompressed pixels, of the part with this number, in the machine's byte order."""
    keyword = next(one for one in ("PixelData", *_FLOATS) if one in header)
    element, order = header[keyword], "<" if is_little_endian(header) else ">"
    data: bytes = element.value
    if kind.endswith("1") and order == ">" and element.VR == "OW":
        words = np.frombuffer(data + b"\0" * (len(data) % 2), dtype=">u2")  # the low byte comes first
        return words.astype("<u2").view(kind)[part * count : (part + 1) * count]
    start = part * count * int(kind[1])
    return np.frombuffer(data, dtype=f"{order}{kind}", count=count, offset=start).astype(kind, copy=False)


def _single_bits(header: Dataset, count: int, part: int) -> NDArray[np.uint8]:
    """Return one part of ``count`` pixels of one bit each; the first is the lowest bit of a byte (PS3.5 8.1.1).

    pydicom 3.0.2 cannot read a frame by its number where frames do not end with a byte (docs/upstream.md).
    """
    start, end = part * count, (part + 1) * count
    data = _cells(header, "u1", len(header["PixelData"].value))
    return np.unpackbits(data[start // 8 : (end + 7) // 8], bitorder="little")[start % 8 :][:count]


def _check_high(bits: Bits) -> None:
    if bits.high != bits.stored - 1:
        raise StudyError(
            "undecodable", f"HighBit {bits.high} with BitsStored {bits.stored} in compressed or colour pixels"
        )


def _colour(header: Dataset, kind: str, shape: tuple[int, int, int], bits: Bits) -> tuple[NDArray[Any], float]:
    """Return the first frame as RGB, (rows, columns, 3), and the greatest value that it can have."""
    _check_high(bits)
    if kind == PALETTE:
        first = _samples(header, UID(syntax_of(header) or ""), (1, *shape[1:]), bits)[0]
        return through_palette(first, header)
    if bits.signed or bits.allocated == 1:
        raise StudyError("undecodable", f"{kind} of {bits.allocated} bits, PixelRepresentation {int(bits.signed)}")
    return pixel_array(header, index=0 if shape[0] > 1 else None), bits.greatest


def _floats(header: Dataset, kind: str, shape: tuple[int, int, int]) -> Stored:
    """Read FloatPixelData or DoubleFloatPixelData; padding counts neither as the least nor as the greatest value."""
    keyword = next(one for one in _FLOATS if one in header)
    if kind not in GREY or syntax_of(header) not in _NATIVE:
        raise StudyError("undecodable", f"{named(keyword)} in colour or compressed")
    needed, there = prod(shape) * int(_FLOATS[keyword][1]), len(header[keyword].value or b"")
    if there < needed:
        raise StudyError("truncated" if there else "no-pixels", f"{there} of {needed} bytes of pixel data")
    values = _cells(header, _FLOATS[keyword], prod(shape)).reshape(shape[shape[0] == 1 :])
    own = values[np.isfinite(values)]
    if (padding := padding_of(header)) is not None:
        own = own[(own < padding[0]) | (own > padding[1])]
    low, high = (float(own.min()), float(own.max())) if own.size else (0.0, 0.0)
    return Stored(values, low, high, False)
