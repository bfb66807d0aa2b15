"""Read the pixels and the mask of a manifest row for training.

Image and mask of a row have the same shape and the same order of axes. Every fault of a file is one ``StudyError`` with
a reason from ``fedward.indexing.reasons.REASONS``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedward.dataset.manifest import MaskFile, Row
from fedward.dataset.selection import Example
from fedward.dicom.header import quiet, read_bytes
from fedward.dicom.image import Image, colour_image, dicom_image, nifti_image, series_image
from fedward.dicom.masks import read_label_map, read_segmentation
from fedward.errors import StudyError
from fedward.structures import structure_key


def load_example(example: Example, *, colour: bool) -> Image:
    """Read all channels of an image: its colours, its sequences, or its grey values.

    Raises:
        StudyError: as ``load_image``; "changed" where its sequences no longer have one shape and one spacing.
    """
    if colour:
        with quiet():
            return colour_image(read_bytes(example.images_root / example.row.paths[0]))
    if not example.channels:
        return load_image(example.row, example.images_root)
    images = [load_image(row, example.images_root) for row in example.channels]
    if len({image.pixels.shape for image in images}) > 1:
        raise StudyError("changed", "its sequences are no longer on one grid")
    return Image(np.stack([image.pixels for image in images]), images[0].spacing_mm)


def load_image(row: Row, root: Path) -> Image:
    """Read the image of ``row`` from its files below ``root``.

    Values are rescaled (Hounsfield units in CT), windowed if a projection radiograph has a window, and inverted if they
    are stored as MONOCHROME1; see ``fedward.dicom.pixels``.

    Raises:
        StudyError: the image cannot be used; the reason is from ``fedward.indexing.reasons.REASONS``.
    """
    with quiet():
        files = [read_bytes(root / path) for path in row.paths]
        if row.format == "dicom-series":
            return series_image(files)
        return nifti_image(files[0]) if row.format == "nifti" else dicom_image(files[0])


def load_mask(row: Row, root: Path, structures: Sequence[str]) -> NDArray[np.uint8]:
    """Read the masks of ``row`` from their files below ``root`` into one map: 0 background, i + 1 for structure i.

    The map has the image's shape. Where structures overlap, the later one in ``structures`` counts, in any file.

    Args:
        row: an image's row.
        root: the cohort's mask folder.
        structures: segment labels of a DICOM SEG (case does not matter), or values of a NIfTI label map, in order.

    Raises:
        StudyError: "missing-mask", "missing-structure" if no file describes one of ``structures``, "changed" for a file
            that is not the one that was indexed, "mask-misfit", "no-label-map", "unreadable", "undecodable".
    """
    if not row.masks:
        raise StudyError("missing-mask")
    if len({structure_key(name) for name in structures}) < len(structures):
        raise StudyError("missing-structure", "one structure is asked for twice")
    with quiet():
        found = [_one_mask(mask, root, row.shape, structures) for mask in row.masks]
    maps = [one for one in found if one is not None]
    if not maps:
        raise StudyError("missing-structure", "the mask describes none of the structures that the job names")
    whole: NDArray[np.uint8] = np.maximum.reduce(maps)
    return whole


def _one_mask(
    mask: MaskFile, root: Path, shape: tuple[int, ...], structures: Sequence[str]
) -> NDArray[np.uint8] | None:
    data = read_bytes(root / mask.path)
    if hashlib.sha256(data).hexdigest() != mask.sha256:
        raise StudyError("changed", "the mask is not the file that was indexed")
    if mask.format == "nifti":
        return read_label_map(data, shape, structures)
    return read_segmentation(data, shape, mask.placed, structures)
