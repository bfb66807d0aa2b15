"""Decode the bytes of DICOM or NIfTI files into an image: pixels and their spacing in millimetres.

A file that cannot be used raises ``StudyError`` with a reason from ``fedward.indexing.reasons.REASONS``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from fedward.dicom.geometry import between_slices_mm, frame_places, in_plane_mm, order_slices, place_of
from fedward.dicom.geometry import volume_spacing_mm as volume_spacing
from fedward.dicom.header import parse
from fedward.dicom.nifti import parse_nifti
from fedward.dicom.pixels import decode, to_grey, to_rgb, with_background, without_background
from fedward.errors import StudyError


@dataclass(frozen=True, slots=True)
class Image:
    """Image as training uses it.

    Attributes:
        pixels: float32, ``(rows, columns)`` or ``(slices, rows, columns)``; bright is dense. A colour image, or one of
            several sequences, has its channels before these axes.
        spacing_mm: one number for each of these axes, or None where the header has none.
    """

    pixels: NDArray[np.float32]
    spacing_mm: tuple[float, ...] | None


def dicom_image(data: bytes) -> Image:
    """Decode one DICOM file: an image, or a volume where the file has several grey frames."""
    header = parse(data)
    pixels = to_grey(header, decode(header))
    plane = in_plane_mm(header)
    if pixels.ndim == 2:
        return Image(pixels, plane or None)
    order, gap = frame_order(header, pixels.shape[0])
    return Image(pixels[list(order)], volume_spacing(gap, plane))


def colour_image(data: bytes) -> Image:
    """Decode one DICOM file in colour: red, green and blue, ``(3, rows, columns)``."""
    header = parse(data)
    return Image(to_rgb(header), in_plane_mm(header) or None)


def series_image(files: Sequence[bytes]) -> Image:
    """Decode several DICOM files of one series into one volume, in order of position.

    Background, such as padding, becomes the least of all other values of the volume.
    """
    headers = [parse(data) for data in files]
    order, gap = order_slices([place_of(header) for header in headers])
    slices = [without_background(headers[index], decode(headers[index])) for index in order]
    if any(one.shape != slices[0].shape or one.ndim != 2 for one in slices):
        raise StudyError("mixed-series", "slices of different shapes")
    first = headers[order[0]]
    return Image(with_background(np.stack(slices)), volume_spacing(gap, in_plane_mm(first)))


def nifti_image(data: bytes) -> Image:
    """Decode one NIfTI file; voxels that are not finite become the least finite value."""
    image = parse_nifti(data)
    finite = np.isfinite(image.values)
    if not finite.any():
        raise StudyError("blank-image", "no finite pixel")
    values = image.values if finite.all() else np.where(finite, image.values, image.values[finite].min())
    return Image(values, image.spacing_mm)


def frame_order(header: Dataset, frames: int) -> tuple[tuple[int, ...], float | None]:
    """Return the order of a multi-frame file's frames and the gap between them in millimetres.

    Frames are sorted by position. They stay as stored where positions are absent (a cine loop) or repeat (time phases).
    """
    places = frame_places(header)
    stored = tuple(range(frames))
    if len(places) != frames or not all(place.position_mm and place.orientation for place in places):
        return stored, between_slices_mm(header)
    if len({place.position_mm for place in places}) < frames:
        return stored, None
    return order_slices(places)
