"""Read a NIfTI file into an array in ``(slices, rows, columns)`` order, the same for an image and its mask.

The axes are first turned to the closest canonical orientation (RAS+) and then reversed: slices run from inferior to
superior, rows from posterior to anterior, columns from left to right. A single slice gives ``(rows, columns)``.
"""

from __future__ import annotations

import io
import math
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedward.dicom.header import refusing
from fedward.dicom.pixels import MAX_VOXELS
from fedward.errors import StudyError

SUFFIXES = (".nii", ".nii.gz")
_MAX_BYTES = 2**32
_GZIP = b"\x1f\x8b"
_PART_BYTES = 2**16
_NIFTI_1 = (b"\x5c\x01\0\0", b"\0\0\x01\x5c")
_NIFTI_2 = (b"\x1c\x02\0\0", b"\0\0\x02\x1c")
"""First four bytes, the header's size, in either byte order."""
_SINGULAR = 1e-3
"""Smallest volume that three axes of length 1 may span: 0.06 degrees between two of them."""


@dataclass(frozen=True, slots=True)
class Nifti:
    """Image or mask with the values that its file stores.

    Attributes:
        values: float32, ``(slices, rows, columns)`` or ``(rows, columns)``; NaN and infinity as the file stores them.
        spacing_mm: one number for each axis of ``values``.
        affine: 4 x 4, voxel indices in canonical order -> millimetres, row by row, not rounded: an error in a step
            grows with every column. ``fedward.dicom.placement.same_voxels`` compares two of them.
    """

    values: NDArray[np.float32]
    spacing_mm: tuple[float, ...]
    affine: tuple[float, ...]


def is_nifti(name: str) -> bool:
    """True if a file name has a NIfTI suffix."""
    return name.lower().endswith(SUFFIXES)


def stem(name: str) -> str:
    """Return a file name without its folder and without ``.nii`` or ``.nii.gz``."""
    base = name.rsplit("/", 1)[-1]
    for suffix in reversed(SUFFIXES):
        if base.lower().endswith(suffix):
            return base[: -len(suffix)]
    return base


def parse_nifti(data: bytes) -> Nifti:
    """Read a ``.nii`` or ``.nii.gz`` file held in memory, NIfTI-1 or NIfTI-2, in either byte order.

    Values are scaled as the standard says; slope 0 or NaN means that they are stored as they are. Position and spacing
    come from the affine alone: ``sform``, else ``qform``, else ``pixdim``, whose directions the standard leaves open.
    nibabel corrects some headers without a word; what it would invent is refused here instead.

    Raises:
        StudyError: "unreadable" for another format and for voxels that begin inside the header, "truncated";
            "no-pixels" for an empty axis; "unsupported-shape" for more than three axes; "undecodable" for colour,
            complex and oversized voxels, for an affine that is not finite, is singular or has no known spacing, and
            for values that float32 cannot hold.
    """
    content = _inflate(data) if data[:2] == _GZIP else data
    _require_single_file(content)
    with refusing("unreadable", "the NIfTI header cannot be read"):
        kind = _kind(content)
        header = kind.header_class(content[: kind.header_class.sizeof_hdr], check=False)
        _require_grey_and_scaled(header)
        _require_own_place(header)
        image = kind.from_bytes(content)
        stored, affine = image.dataobj, _affine_mm(image)
        shape = tuple(int(side) for side in image.shape)
    shape = _spatial(shape)
    _require_geometry(affine)
    if stored.offset + stored.dtype.itemsize * math.prod(shape) > len(content):
        raise StudyError("truncated", "the file ends inside its pixels")
    with refusing("undecodable", "NIfTI voxels"):
        return _canonical(_values(stored).reshape(shape), affine)


def _require_single_file(content: bytes) -> None:
    """Refuse other formats, and a header whose pixels are in a file of their own."""
    magic = content[4:8] if content[:4] in _NIFTI_2 else content[344:348]
    if magic in (b"ni1\0", b"ni2\0"):
        raise StudyError("unreadable", "its pixels are in another file, .img: export both as one .nii")
    if magic not in (b"n+1\0", b"n+2\0"):
        short = len(content) < 348 and content[:4] in (*_NIFTI_1, *_NIFTI_2)
        raise StudyError("truncated", "ends in its header") if short else StudyError("unreadable", "not NIfTI")


def _kind(content: bytes) -> Any:
    import nibabel

    return nibabel.Nifti2Image if content[:4] in _NIFTI_2 else nibabel.Nifti1Image


def _affine_mm(image: Any) -> NDArray[np.float64]:
    """Return the affine in millimetres: ``xyzt_units`` may say metres or micrometres."""
    affine = np.array(image.affine, dtype=np.float64)
    affine[:3] *= {1: 1000.0, 3: 0.001}.get(int(image.header["xyzt_units"]) & 0b111, 1.0)
    return affine


def _spatial(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape without axes of length 1 behind the third."""
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if not 2 <= len(shape) <= 3:
        raise StudyError("unsupported-shape", f"{len(shape)} axes, not 2 or 3")
    if min(shape) < 1:
        raise StudyError("no-pixels", "an axis of length 0")
    if math.prod(shape) > MAX_VOXELS:
        raise StudyError("undecodable", f"more than {MAX_VOXELS} voxels")
    return shape


def _require_grey_and_scaled(header: Any) -> None:
    """Refuse voxels of several numbers or of a type that nibabel does not read, and a slope that it would pass over."""
    code = int(header["datatype"])
    try:
        dtype = np.dtype(header.get_data_dtype())
    except KeyError:
        dtype = np.dtype(np.void)
    if dtype.kind == "V" and dtype.names is None:
        raise StudyError("undecodable", f"voxels of type {code}: export integers or floats")
    if math.isinf(float(header["scl_slope"])):
        raise StudyError("undecodable", "scl_slope is infinite")
    if dtype.names is not None:
        kind = "RGBA32" if "A" in dtype.names else "RGB24"
        raise StudyError("undecodable", f"colour voxels ({kind}): export one grey channel")
    if dtype.kind == "c":
        raise StudyError("undecodable", f"complex voxels ({dtype.name}): export the magnitude")


def _require_own_place(header: Any) -> None:
    """Refuse voxels inside the header, and a place or a spacing that nibabel would make up.

    A single file's voxels begin at byte 352 (NIfTI-1) or 544 (NIfTI-2) at the earliest, behind the header and the four
    bytes that announce extensions. nibabel reads a smaller ``vox_offset`` as it stands, takes an unknown form code for
    0, and a ``pixdim`` of 0 for 1 mm.
    """
    offset, earliest = float(header["vox_offset"]), int(header.single_vox_offset)
    if not offset >= earliest or offset % 1:  # NaN is no place either
        what = f"vox_offset {offset:g} is no place behind its header, which ends at {earliest}"
        raise StudyError("unreadable", f"{what}: export it again")
    for form in ("sform_code", "qform_code"):
        if (code := int(header[form])) not in header._field_recoders[form].value_set():
            raise StudyError("undecodable", f"{form} {code} is none of the standard's: correct it")
    sides = [int(side) for side in header["dim"][1 : 1 + min(3, int(header["dim"][0]))]]
    if len(sides) == 3 and sides[2] == 1 and not header["qform_code"]:
        sides.pop()  # one axial slice: its thickness is not read
    if not header["sform_code"] and any(header["pixdim"][1 : 1 + len(sides)] == 0):
        raise StudyError("undecodable", "its spacing is unknown (pixdim 0, and no sform): give pixdim in millimetres")


def _require_geometry(affine: NDArray[np.float64]) -> None:
    """Refuse an affine that gives no place: not finite, or two axes of it point the same way."""
    if not np.isfinite(affine).all():
        raise StudyError("undecodable", "the affine is not finite: correct sform or qform")
    axes = affine[:3, :3]
    with np.errstate(all="ignore"):
        lengths = np.linalg.norm(axes, axis=0)
        spanned = abs(np.linalg.det(axes / lengths))
    if not spanned >= _SINGULAR:  # NaN for an axis of length 0
        raise StudyError("undecodable", "the affine is singular: correct sform or qform")


def _values(stored: Any) -> NDArray[np.float32]:
    """Return the scaled values; refuse those that only float64 can hold, which would become infinite."""
    with np.errstate(over="ignore"):
        values = np.asarray(stored, dtype=np.float32)
    infinite = np.isinf(values)
    if infinite.any() and np.isfinite(np.asanyarray(stored)[infinite]).any():
        raise StudyError("undecodable", "values that 32 bits cannot hold: export them in another unit")
    return values


def _canonical(values: NDArray[np.float32], affine: NDArray[np.float64]) -> Nifti:
    """Turn the axes to RAS+ and reverse them. The axis that a two-dimensional file lacks is left out again."""
    from nibabel import orientations
    from nibabel.affines import voxel_sizes

    turn = orientations.io_orientation(affine)
    volume = values if values.ndim == 3 else values[:, :, np.newaxis]
    affine = affine @ orientations.inv_ornt_aff(turn, volume.shape)
    turned = orientations.apply_orientation(volume, turn)
    flat = int(turn[2, 0]) if values.ndim == 2 else 2 if turned.shape[2] == 1 else None
    kept = [axis for axis in range(3) if axis != flat]
    spacing = voxel_sizes(affine)
    turned = turned.reshape([turned.shape[axis] for axis in kept])
    return Nifti(
        np.ascontiguousarray(turned.T),
        tuple(float(spacing[axis]) for axis in reversed(kept)),
        tuple(float(one) for one in affine.ravel()),
    )


def _inflate(data: bytes) -> bytes:
    """Return all members of a gzip file as one stream (RFC 1952 section 2.2); zeros may pad its end, as tapes do."""
    content, view, at = io.BytesIO(), memoryview(data), 0
    while at < len(view):
        if view[at] == 0 and not any(view[at:]):
            break
        if not _GZIP.startswith(bytes(view[at : at + 2])):
            raise StudyError("unreadable", "the gzip file has other bytes behind its end")
        with refusing("unreadable", "the gzip file is damaged"):
            at = _inflate_member(view, at, content)
    return content.getvalue()


def _inflate_member(view: memoryview, at: int, content: io.BytesIO) -> int:
    """Write the member that begins at ``at`` to ``content``; return the place behind it."""
    inflater = zlib.decompressobj(wbits=31)
    while not inflater.eof:
        part = view[at : at + _PART_BYTES]
        if not part:
            raise StudyError("truncated", "the gzip stream does not end")
        content.write(inflater.decompress(part, _MAX_BYTES - content.tell() + 1))
        if content.tell() > _MAX_BYTES:
            raise StudyError("undecodable", f"unpacks to more than {_MAX_BYTES} bytes")
        at += len(part) - len(inflater.unused_data) - len(inflater.unconsumed_tail)
    return at
