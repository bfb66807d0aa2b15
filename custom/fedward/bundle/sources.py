"""Find the images in files, and read them: a file each, or for a model of volumes the slices of a DICOM series."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydicom import Dataset

from fedward.dicom.geometry import SAME_WITHIN, in_plane_mm, order_slices, place_of
from fedward.dicom.header import parse, quiet, read_bytes, text, whole
from fedward.dicom.image import Image, colour_image, dicom_image, frame_order, nifti_image, series_image
from fedward.dicom.nifti import is_nifti
from fedward.dicom.pixels import has_pixels
from fedward.dicom.segmentation import is_segmentation
from fedward.errors import StudyError

_ONCE = ("PatientID", "StudyInstanceUID", "Modality", "FrameOfReferenceUID", "ImageType", "RescaleType", "EchoTime")
"""What the slices of one volume share."""


def images_in(files: Sequence[Path], *, volumes: bool) -> list[tuple[Path, ...]]:
    """Return the files of each image, in order of the images' first files.

    Args:
        files: all files.
        volumes: True if the slices of one DICOM series are one image, wherever they lie.
    """
    if not volumes:
        return [(file,) for file in files]
    groups: dict[str, list[Path]] = {}
    for file in files:
        groups.setdefault(_series(file) or f"file {file}", []).append(file)
    return [tuple(group) for group in groups.values()]


def read_image(files: Sequence[Path], *, colour: bool = False) -> Image:
    """Read an image as the index does; with ``colour``, red, green and blue.

    Raises:
        StudyError: it cannot be used; the reason is from ``fedward.indexing.reasons.REASONS``.
    """
    with quiet():
        contents = [read_bytes(file) for file in files]
        if is_nifti(files[0].name):
            return nifti_image(contents[0])
        headers = [parse(content) for content in contents]
        if any(is_segmentation(header) for header in headers):
            raise StudyError("not-an-image", "DICOM SEG")
        if not all(has_pixels(header) for header in headers):
            raise StudyError("no-pixels")
        if len(files) == 1:
            return colour_image(contents[0]) if colour else dicom_image(contents[0])
        _require_one_volume(headers)
        return series_image(contents)


def read_headers(files: Sequence[Path]) -> tuple[list[Dataset], tuple[int, ...]]:
    """Return the headers of a DICOM image, and which of its slices each of their frames is.

    Returns:
        Headers in order of the slices; for one file, the slice of each stored frame, and for a series 0, 1, ….

    Raises:
        StudyError: as of ``read_image``.
    """
    with quiet():
        headers = [parse(read_bytes(file)) for file in files]
        if len(headers) > 1:
            order, _ = order_slices([place_of(header) for header in headers])
            return [headers[index] for index in order], tuple(range(len(order)))
        frames = whole(headers[0], "NumberOfFrames") or 1
        order, _ = frame_order(headers[0], frames) if frames > 1 else ((0,), None)
        return headers, tuple(int(place) for place in np.argsort(order))


def _series(file: Path) -> str:
    """Return the series of a DICOM slice; "" for any other file."""
    try:
        if is_nifti(file.name):
            return ""
        with quiet():
            header = parse(read_bytes(file))
            slice_ = has_pixels(header) and not is_segmentation(header) and (whole(header, "NumberOfFrames") or 1) == 1
            return text(header, "SeriesInstanceUID") if slice_ else ""
    except StudyError:
        return ""


def _require_one_volume(headers: Sequence[Dataset]) -> None:
    for keyword in _ONCE:
        if len({text(header, keyword) for header in headers}) > 1:
            raise StudyError("mixed-series", f"slices of different {keyword}")
    planes = [in_plane_mm(header) for header in headers]
    if not all(len(one) == len(planes[0]) and np.allclose(one, planes[0], rtol=SAME_WITHIN) for one in planes):
        raise StudyError("mixed-series", "slices of different pixel spacings")
