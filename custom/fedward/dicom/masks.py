"""Match the frames of a DICOM SEG to slices, and read masks into the label map that training uses.

A SEG omits slices without marks and may store its frames in any order. Each frame is therefore matched by the source
image that it refers to, or by its position. This is done once, when the cohort is indexed; the manifest keeps only
slice numbers (``Row.mask_slices``).

SEG files are read with pydicom: ``highdicom.seg.segread`` (0.28) refuses a SEG of a radiograph, even one that highdicom
wrote, because its PixelMeasuresSequence has no SliceThickness. highdicom writes and checks them in the tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from fedward.dicom.header import item, items, numbers, parse, refusing, text, whole
from fedward.dicom.nifti import parse_nifti
from fedward.dicom.pixels import decode
from fedward.errors import StudyError

SEGMENTATION_CLASSES = frozenset({"1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"})
"""Segmentation Storage and Label Map Segmentation Storage."""
_SAME_PLACE_MM = 0.01


@dataclass(frozen=True, slots=True)
class FramePlace:
    """Position of one SEG frame, as its header states it.

    Attributes:
        instance: the source image's SOPInstanceUID (0008,1155), or "".
        frame: the source image's frame, from 1 (0008,1160), or None.
        position_mm: ImagePositionPatient of the frame, or ().
    """

    instance: str
    frame: int | None
    position_mm: tuple[float, ...]


def frame_places(header: Dataset) -> tuple[FramePlace, ...]:
    """Return the position of each SEG frame, in stored order.

    A frame without its own reference takes the reference of the whole SEG, if that names exactly one image.
    """
    referenced = {
        text(instance, "ReferencedSOPInstanceUID")
        for series in items(header, "ReferencedSeriesSequence")
        for instance in items(series, "ReferencedInstanceSequence")
    }
    only = referenced.pop() if len(referenced) == 1 else ""
    shared = item(header, "SharedFunctionalGroupsSequence")
    groups = items(header, "PerFrameFunctionalGroupsSequence")
    return tuple(_frame_place(group, shared, only) for group in groups)


def place_frames(
    frames: Sequence[FramePlace],
    slices: Sequence[tuple[str, int | None]],
    positions_mm: Sequence[tuple[float, ...]],
) -> tuple[int, ...]:
    """Return the slice, from 0, of each frame; -1 for a frame that lies on none of the slices.

    Args:
        frames: as ``frame_places`` gives them.
        slices: instance and frame number of each slice of the image, in its order.
        positions_mm: position of each slice, () where unknown.
    """
    index: dict[tuple[str, int | None], int] = {key: number for number, key in enumerate(slices)}
    for number, (instance, frame) in enumerate(slices):
        if frame is None or len(slices) == 1:
            index.setdefault((instance, 1), number)
            index.setdefault((instance, None), number)
    known = [number for number, position in enumerate(positions_mm) if len(position) == 3]
    grid = np.array([positions_mm[number] for number in known], dtype=np.float64).reshape(-1, 3)
    placed = []
    for place in frames:
        found = index.get((place.instance, place.frame)) if place.instance else None
        if found is None and known and len(place.position_mm) == 3:
            apart = np.abs(grid - place.position_mm).max(axis=1)
            found = known[int(apart.argmin())] if apart.min() < _SAME_PLACE_MM else None
        placed.append(-1 if found is None else found)
    return tuple(placed)


def read_segmentation(
    data: bytes, shape: tuple[int, ...], mask_slices: Sequence[int], structures: Sequence[str]
) -> NDArray[np.uint8]:
    """Read a SEG as a label map: 0 background, i + 1 for ``structures[i]``; where two overlap, the later one wins.

    Case is ignored in segment labels. A structure that the SEG does not describe counts as absent, if the SEG describes
    at least one of the others. A fractional segment is present from half its greatest value.

    Args:
        data: the file.
        shape: shape of the image.
        mask_slices: slice of each frame, -1 for none; empty for a two-dimensional image, on which all frames lie.
        structures: segment labels in order.

    Raises:
        StudyError: "mask-misfit", "missing-structure", "undecodable".
    """
    mask = parse(data)
    with refusing("undecodable", "DICOM SEG"):
        by_label = {
            text(segment, "SegmentLabel").casefold(): whole(segment, "SegmentNumber")
            for segment in items(mask, "SegmentSequence")
        }
        frames = decode(mask).values
        frames = frames.reshape(-1, *frames.shape[-2:])
        segments = _segments(mask, len(frames))
        kind, greatest = text(mask, "SegmentationType"), whole(mask, "MaximumFractionalValue") or 1
    wanted = [by_label.get(structure.strip().casefold()) for structure in structures]
    if all(number is None for number in wanted):
        raise StudyError("missing-structure", "the mask describes none of the structures that are asked for")
    if frames.shape[-2:] != shape[-2:]:
        raise StudyError("mask-misfit", f"mask {frames.shape[-2:]}, image {shape[-2:]}")
    slices = list(mask_slices) if mask_slices or len(shape) == 3 else [0] * len(frames)
    depth = shape[0] if len(shape) == 3 else 1
    if len(slices) != len(frames) or max(slices, default=0) >= depth:
        raise StudyError("mask-misfit", "its frames are not those that were indexed")
    out = np.zeros((depth, *shape[-2:]), dtype=np.uint8)
    for value, number in enumerate(wanted, start=1):
        for frame, segment, slice_ in zip(frames, segments, slices, strict=True):
            if number is None or slice_ < 0 or segment not in (number, None):
                continue
            there = frame == number if segment is None else _present(frame, kind, greatest)
            out[slice_][there] = value
    return out.reshape(shape)


def read_label_map(data: bytes, shape: tuple[int, ...], structures: Sequence[str]) -> NDArray[np.uint8]:
    """Read a NIfTI label map in the image's order: 0 background, i + 1 where its value is ``int(structures[i])``.

    Raises:
        StudyError: "mask-misfit" for another shape, "missing-structure" for a structure that is not a whole number.
    """
    values = np.rint(parse_nifti(data).values)
    if values.shape != shape:
        raise StudyError("mask-misfit", f"mask {values.shape}, image {shape}")
    out = np.zeros(shape, dtype=np.uint8)
    for index, structure in enumerate(structures, start=1):
        if not structure.strip().isdecimal():
            raise StudyError("missing-structure", f"a NIfTI mask holds whole numbers, not {structure!r}")
        out[values == int(structure)] = index
    return out


def _frame_place(group: Dataset, shared: Dataset | None, only: str) -> FramePlace:
    derivation = item(group, "DerivationImageSequence") or (shared and item(shared, "DerivationImageSequence"))
    source = item(derivation, "SourceImageSequence") if derivation else None
    plane = item(group, "PlanePositionSequence")
    return FramePlace(
        (text(source, "ReferencedSOPInstanceUID") if source else "") or only,
        whole(source, "ReferencedFrameNumber") if source else None,
        numbers(plane, "ImagePositionPatient") if plane else (),
    )


def _segments(mask: Any, frames: int) -> list[int | None]:
    """Return the segment of each frame; None where the pixels are segment numbers (SegmentationType LABELMAP)."""
    if text(mask, "SegmentationType") == "LABELMAP":
        return [None] * frames
    shared = item(mask, "SharedFunctionalGroupsSequence")
    found: list[int | None] = []
    for group in items(mask, "PerFrameFunctionalGroupsSequence"):
        holder = item(group, "SegmentIdentificationSequence")
        holder = holder or (shared and item(shared, "SegmentIdentificationSequence"))
        if holder is None:
            raise StudyError("undecodable", "a frame that names no segment")
        found.append(whole(holder, "ReferencedSegmentNumber"))
    return found


def _present(frame: NDArray[Any], kind: str, greatest: int) -> NDArray[np.bool_]:
    present: NDArray[np.bool_] = frame >= greatest / 2 if kind == "FRACTIONAL" else frame > 0
    return present
