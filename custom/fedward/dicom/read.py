"""A manifest row -> pixels and mask, as training sees them.

Image and mask of a row have the same shape and the same order of axes. Everything that is wrong with a file is one
``StudyRefused`` with a reason from ``fedward.dicom.quality.REASONS``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from fedward.dataset.manifest import Row
from fedward.dicom.geometry import between_slices_mm, frame_places, in_plane_mm, order_slices, place_of
from fedward.dicom.geometry import volume_spacing_mm as volume_spacing
from fedward.dicom.masks import read_label_map, read_segmentation
from fedward.dicom.nifti import parse_nifti
from fedward.dicom.pixels import decode, to_grey
from fedward.dicom.source import parse, quiet, read_bytes
from fedward.errors import StudyRefused


@dataclass(frozen=True, slots=True)
class Image:
    """Pixels as training sees them.

    Attributes:
        pixels: float32, ``(rows, columns)`` or ``(slices, rows, columns)``; bright is dense.
        spacing_mm: one number an axis of ``pixels``, or None where the header has none.
    """

    pixels: NDArray[np.float32]
    spacing_mm: tuple[float, ...] | None


def load_image(row: Row, root: Path) -> Image:
    """Read the image of ``row`` from its files below ``root``.

    Values are rescaled (Hounsfield units in CT), windowed where a projection radiograph has a window, and turned round
    where MONOCHROME1 stored them inverted; see ``fedward.dicom.pixels``.

    Raises:
        StudyRefused: with a reason from ``fedward.dicom.quality.REASONS``.
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
        StudyRefused: "missing-mask", "mask-misfit", "missing-structure", "unreadable", "undecodable".
    """
    if row.mask is None:
        raise StudyRefused("missing-mask")
    with quiet():
        data = read_bytes(root / row.mask)
        if row.mask_format == "nifti":
            return read_label_map(data, row.shape, structures)
        return read_segmentation(data, row.shape, row.mask_slices, structures)


def dicom_image(data: bytes) -> Image:
    """One DICOM file: an image, or a volume where it has several grey frames."""
    header = parse(data)
    pixels = to_grey(header, decode(header))
    plane = in_plane_mm(header)
    if pixels.ndim == 2:
        return Image(pixels, plane or None)
    order, gap = frame_order(header, pixels.shape[0])
    return Image(pixels[list(order)], volume_spacing(gap, plane))


def series_image(files: Sequence[bytes]) -> Image:
    """Several DICOM files of one series as one volume, in order of position."""
    headers = [parse(data) for data in files]
    order, gap = order_slices([place_of(header) for header in headers])
    slices = [to_grey(headers[index], decode(headers[index])) for index in order]
    if any(one.shape != slices[0].shape or one.ndim != 2 for one in slices):
        raise StudyRefused("mixed-series", "slices of different shapes")
    first = headers[order[0]]
    return Image(np.stack(slices), volume_spacing(gap, in_plane_mm(first)))


def nifti_image(data: bytes) -> Image:
    """One NIfTI file; voxels that are not finite become the least finite value."""
    image = parse_nifti(data)
    finite = np.isfinite(image.values)
    if not finite.any():
        raise StudyRefused("blank-image", "no finite pixel")
    values = image.values if finite.all() else np.where(finite, image.values, image.values[finite].min())
    return Image(values, image.spacing_mm)


def frame_order(header: Dataset, frames: int) -> tuple[tuple[int, ...], float | None]:
    """The order of a multi-frame file's frames and the gap between them in millimetres.

    By position where every frame has one; as stored where they have none (a cine loop) or share one (phases of time).
    """
    places = frame_places(header)
    stored = tuple(range(frames))
    if len(places) != frames or not all(place.position_mm and place.orientation for place in places):
        return stored, between_slices_mm(header)
    if len({place.position_mm for place in places}) < frames:
        return stored, None
    return order_slices(places)
