"""Write a predicted mask beside its image: NIfTI for a NIfTI image, DICOM SEG for a DICOM image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray

from fedward.bundle.dicom_seg import segmentation_of
from fedward.bundle.origin import Origin
from fedward.dicom.nifti import is_nifti, parse_nifti, stem
from fedward.errors import StudyError


def write_mask(mask: NDArray[np.uint8], *, like: Sequence[Path], out: Path, origin: Origin) -> Path:
    """Write a mask on the grid of its image.

    Args:
        mask: structure numbers in the axes of the image as it was read, (slices, rows, columns) or (rows, columns).
        like: files of the image.
        out: folder.
        origin: model that made the mask.

    Returns:
        path of the mask.

    Raises:
        StudyError: the image does not give what a DICOM SEG needs, or ``out`` holds a mask of this name.
    """
    first = like[0]
    nifti = is_nifti(first.name)
    path = out / (f"{stem(first.name)}.nii.gz" if nifti else f"{dicom_stem(first)}.seg.dcm")
    require_free(path)
    made = None if nifti else segmentation_of(mask, files=like, origin=origin)
    out.mkdir(parents=True, exist_ok=True)
    if made is None:
        _write_nifti(mask, like=first, path=path)
    else:
        made.save_as(path, enforce_file_format=True)
    return path


def dicom_stem(file: Path) -> str:
    """Return a DICOM file's name without ``.dcm``; names often hold dots, so nothing else is cut."""
    return file.name[:-4] if file.name.lower().endswith(".dcm") else file.name


def require_free(path: Path) -> None:
    """Refuse to write over another image's result.

    Raises:
        StudyError: "duplicate-instance".
    """
    if path.exists():
        raise StudyError("duplicate-instance", f"another image gave {path.name}: rename one of the two")


def _write_nifti(mask: NDArray[np.uint8], *, like: Path, path: Path) -> None:
    """Write in the axes RAS+, with the affine that these axes have in the image."""
    affine = np.array(parse_nifti(like.read_bytes()).affine).reshape(4, 4)
    stored = nibabel.load(like)
    turn = nibabel.orientations.io_orientation(stored.affine)
    shape = [1, 1, 1]
    for axis, length in enumerate(stored.shape[:3]):
        shape[int(turn[axis, 0])] = length
    nibabel.save(nibabel.Nifti1Image(mask.T.reshape(shape), affine), path)
