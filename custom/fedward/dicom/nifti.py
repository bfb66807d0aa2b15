"""Read a NIfTI file into an array in ``(slices, rows, columns)`` order, the same for an image and its mask.

The axes are first turned to the closest canonical orientation (RAS+) and then reversed: slices run from inferior to
superior, rows from posterior to anterior, columns from left to right. A single slice gives ``(rows, columns)``.
"""

from __future__ import annotations

import re
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


@dataclass(frozen=True, slots=True)
class Nifti:
    """Image or mask with the values that its file stores.

    Attributes:
        values: float32, ``(slices, rows, columns)`` or ``(rows, columns)``.
        spacing_mm: one number for each axis of ``values``.
        affine: 4 x 4, voxel indices in canonical order -> millimetres, rounded to a micrometre, row by row.
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


def patient_of(name: str) -> str:
    """Return a file's patient: ``sub-<label>`` if its name starts so (BIDS; sessions stay together), else its stem."""
    named = re.match(r"sub-[A-Za-z0-9]+(?=_|$)", stem(name))
    return named.group() if named else stem(name)


def parse_nifti(data: bytes) -> Nifti:
    """Read a ``.nii`` or ``.nii.gz`` file held in memory.

    Raises:
        StudyError: "unreadable", "truncated", "undecodable"; "no-pixels" for an empty axis; "unsupported-shape" for
            more than three axes.
    """
    content = _inflate(data) if data[:2] == b"\x1f\x8b" else data
    with refusing("unreadable", "the NIfTI header cannot be read"):
        image = _canonical(content)
        shape = tuple(int(side) for side in image.shape)
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if not 2 <= len(shape) <= 3:
        raise StudyError("unsupported-shape", f"{len(shape)} axes, not 2 or 3")
    if min(shape) < 1:
        raise StudyError("no-pixels", "an axis of length 0")
    if int(np.prod(shape, dtype=np.float64)) > MAX_VOXELS:
        raise StudyError("undecodable", f"more than {MAX_VOXELS} voxels")
    with refusing("truncated", "the file ends inside its pixels"):
        values = np.asarray(image.dataobj, dtype=np.float32).reshape(shape)
    with refusing("undecodable", "NIfTI geometry"):
        spacing = [float(side) for side in image.header.get_zooms()[: len(shape)]]
        if len(shape) == 3 and shape[2] == 1:
            values, spacing = values[:, :, 0], spacing[:2]
        affine = tuple(round(float(one), 3) + 0.0 for one in image.affine.ravel())
        return Nifti(np.ascontiguousarray(values.T), tuple(reversed(spacing)), affine)


def _canonical(content: bytes) -> Any:
    import nibabel

    kind = nibabel.Nifti2Image if content[:4] in (b"\x1c\x02\0\0", b"\0\0\x02\x1c") else nibabel.Nifti1Image
    return nibabel.as_closest_canonical(kind.from_bytes(content))


def _inflate(data: bytes) -> bytes:
    inflater = zlib.decompressobj(wbits=31)
    with refusing("unreadable", "not a gzip file"):
        content = inflater.decompress(data, _MAX_BYTES)
    if not inflater.eof:
        raise StudyError("truncated", "the gzip stream does not end")
    return content
