"""Read the pixels and the mask of a manifest row for training.

Image and mask of a row have the same shape and the same order of axes. Every fault of a file is one ``StudyError`` with
a reason from ``fedward.indexing.quality.REASONS``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedward.dataset.manifest import Row
from fedward.dicom.header import quiet, read_bytes
from fedward.dicom.image import Image, dicom_image, nifti_image, series_image
from fedward.dicom.masks import read_label_map, read_segmentation
from fedward.errors import StudyError


def load_image(row: Row, root: Path) -> Image:
    """Read the image of ``row`` from its files below ``root``.

    Values are rescaled (Hounsfield units in CT), windowed if a projection radiograph has a window, and inverted if they
    are stored as MONOCHROME1; see ``fedward.dicom.pixels``.

    Raises:
        StudyError: the image cannot be used; the reason is from ``fedward.indexing.quality.REASONS``.
    """
    with quiet():
        files = [read_bytes(root / path) for path in row.paths]
        if row.format == "dicom-series":
            return series_image(files)
        return nifti_image(files[0]) if row.format == "nifti" else dicom_image(files[0])


def load_mask(row: Row, root: Path, structures: Sequence[str]) -> NDArray[np.uint8]:
    """Read the mask of ``row`` from its file below ``root``: the image's shape, 0 background, i + 1 for structure i.

    Args:
        row: an image's row.
        root: the cohort's mask folder.
        structures: segment labels of a DICOM SEG (case does not matter), or values of a NIfTI label map, in order.

    Raises:
        StudyError: "missing-mask", "mask-misfit", "missing-structure", "unreadable", "undecodable".
    """
    if row.mask is None:
        raise StudyError("missing-mask")
    with quiet():
        data = read_bytes(root / row.mask)
        if row.mask_format == "nifti":
            return read_label_map(data, row.shape, structures)
        return read_segmentation(data, row.shape, row.mask_slices, structures)
