"""Write a predicted mask as NIfTI, at the place of the NIfTI image that it is of."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray

from fedward.dicom.nifti import is_nifti, parse_nifti, stem
from fedward.errors import StudyError


def write_mask(mask: NDArray[np.uint8], *, like: Path, out: Path) -> Path:
    """Write a mask in the axes RAS+, with the affine that these axes have in the image.

    Args:
        mask: structure numbers in the axes of ``fedward.dicom.nifti``, (slices, rows, columns) or (rows, columns).
        like: the NIfTI image.
        out: folder.

    Returns:
        path of the mask.

    Raises:
        StudyError: the image is no NIfTI: a mask without a place would be taken for another's.
    """
    if not is_nifti(like.name):
        raise StudyError("unsupported-shape", "masks are written for NIfTI images alone")
    affine = np.array(parse_nifti(like.read_bytes()).affine).reshape(4, 4)
    stored = nibabel.load(like)
    turn = nibabel.orientations.io_orientation(stored.affine)
    shape = [1, 1, 1]
    for axis, length in enumerate(stored.shape[:3]):
        shape[int(turn[axis, 0])] = length
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{stem(like.name)}.nii.gz"
    nibabel.save(nibabel.Nifti1Image(mask.T.reshape(shape), affine), path)
    return path
