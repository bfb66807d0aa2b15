"""Read a DICOM SEG: its segments, and the pixels of each frame that a segment marks (PS3.3 A.51, C.8.20).

SEG files are read with pydicom: ``highdicom.seg.segread`` (0.28) refuses a SEG of a radiograph, even one that highdicom
wrote, because its PixelMeasuresSequence has no SliceThickness. highdicom writes and checks them in the tests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from fedward.dicom.geometry import frame_places, one_plane
from fedward.dicom.header import item, items, numbers, text, whole
from fedward.dicom.pixels import frame_reader
from fedward.errors import StudyError
from fedward.structures import structure_key

_CLASSES = frozenset({"1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"})
"""Segmentation Storage and Label Map Segmentation Storage."""
_KINDS = ("BINARY", "FRACTIONAL", "LABELMAP")


@dataclass(frozen=True, slots=True)
class FramePlace:
    """Position of one SEG frame, as its header states it, and the segments that mark a pixel of it.

    Attributes:
        sources: source images that it names: SOPInstanceUID (0008,1155), and frame (0008,1160), from 1, or None.
        position_mm: ImagePositionPatient of the frame, or ().
        marked: numbers of the segments with a pixel on this frame.
    """

    sources: tuple[tuple[str, int | None], ...]
    position_mm: tuple[float, ...]
    marked: tuple[int, ...] = ()

    @property
    def instances(self) -> frozenset[str]:
        """SOPInstanceUIDs of the source images."""
        return frozenset(instance for instance, _ in self.sources)


@dataclass(frozen=True, slots=True)
class Segmentation:
    """DICOM SEG whose header is read; its frames are decoded one by one.

    Attributes:
        count: number of frames.
        shape: rows and columns.
        labels: segment number -> ``structure_key`` of its label; several segments may have one label.
        numbers: the segment of each frame; () for LABELMAP, whose pixels are segment numbers.
        kind: SegmentationType.
        greatest: MaximumFractionalValue; 1 unless FRACTIONAL.
        background: value of a LABELMAP that is background besides 0, PixelPaddingValue (0028,0120).
        read: decodes a frame, as stored.
    """

    count: int
    shape: tuple[int, int]
    labels: dict[int, str]
    numbers: tuple[int, ...]
    kind: str
    greatest: int
    background: int
    read: Callable[[int], NDArray[Any]]

    def marks(self, frames: Iterable[int]) -> Iterator[tuple[int, int, NDArray[np.bool_]]]:
        """Yield frame, segment number, and bool (rows, columns): the pixels of that frame that the segment marks.

        A fractional segment marks a pixel from half its greatest value (PS3.3 C.8.20.2.3.1).

        Raises:
            StudyError: "undecodable" for values that the kind of segmentation cannot hold, and as ``frame_reader``.
        """
        for index in frames:
            frame = self.read(index)
            if frame.dtype.kind not in "ui" and frame.dtype != np.bool_:
                raise StudyError("undecodable", "a segmentation whose pixels are no whole numbers")
            if self.kind == "LABELMAP":
                yield from ((index, number, frame == number) for number in self._present(frame))
            else:
                self._check(frame)
                yield index, self.numbers[index], frame > 0 if self.kind == "BINARY" else frame >= self.greatest / 2

    def _present(self, frame: NDArray[Any]) -> list[int]:
        found = [int(one) for one in np.flatnonzero(np.bincount(frame.reshape(-1))) if one not in (0, self.background)]
        if not set(found) <= self.labels.keys():
            raise StudyError("undecodable", "it has pixels of a segment that it does not describe")
        return found

    def _check(self, frame: NDArray[Any]) -> None:
        highest = int(frame.max(initial=0))
        if self.kind == "BINARY" and highest > 1 and ((frame != 0) & (frame != highest)).any():
            raise StudyError("undecodable", "a BINARY segmentation with more than two values")
        if self.kind == "FRACTIONAL" and highest > self.greatest:
            raise StudyError("undecodable", f"a FRACTIONAL segmentation up to {highest}, of at most {self.greatest}")


def is_segmentation(header: Dataset) -> bool:
    """True for a DICOM SEG, by its SOPClassUID."""
    return text(header, "SOPClassUID") in _CLASSES


def read_segments(header: Dataset) -> Segmentation:
    """Read the segments of a SEG whose header is parsed; ``Segmentation.marks`` decodes the frames.

    Raises:
        StudyError: "no-pixels", "truncated" and "undecodable" for pixels or segments that cannot be read, among them a
            frame of a segment that is not described; "mask-misfit" where not every frame is described.
    """
    kind, labels = text(header, "SegmentationType").upper(), _labels(header)
    if kind not in _KINDS:
        raise StudyError("undecodable", f"SegmentationType is none of {', '.join(_KINDS)}")
    plain = Dataset(header)  # a label map's palette (PS3.3 A.51.6) is for display only
    plain.file_meta = header.file_meta
    plain.PhotometricInterpretation = "MONOCHROME2"
    count, read = frame_reader(plain)
    groups = items(header, "PerFrameFunctionalGroupsSequence")
    if len(groups) != count:
        raise StudyError("mask-misfit", f"{count} frames, {len(groups)} of them described")
    greatest = whole(header, "MaximumFractionalValue") or 0 if kind == "FRACTIONAL" else 1
    if greatest < 1:
        raise StudyError("undecodable", f"a FRACTIONAL segmentation of at most {greatest}")
    shared = item(header, "SharedFunctionalGroupsSequence")
    return Segmentation(
        count=count,
        shape=(int(header.Rows), int(header.Columns)),
        labels=labels,
        numbers=() if kind == "LABELMAP" else tuple(_segment(group, shared, labels) for group in groups),
        kind=kind,
        greatest=greatest,
        background=whole(header, "PixelPaddingValue") or 0,
        read=read,
    )


def read_places(
    header: Dataset, found: Segmentation
) -> tuple[tuple[FramePlace, ...], tuple[float, ...], tuple[float, ...]]:
    """Return the place of each frame with the segments that mark it, and the orientation and spacing of all.

    Decodes every frame. Orientation and spacing are () where a frame has none.

    Raises:
        StudyError: "mask-misfit" for frames of several orientations or spacings, or that do not lie where their sources
            lie and have no position; and as ``Segmentation.marks``.
    """
    planes = frame_places(header)
    orientation, spacing = one_plane(planes, reason="mask-misfit")
    marked: list[set[int]] = [set() for _ in planes]
    for index, number, there in found.marks(range(found.count)):
        if there.any():
            marked[index].add(number)
    shared = item(header, "SharedFunctionalGroupsSequence")
    groups = items(header, "PerFrameFunctionalGroupsSequence")
    only = _only_source(header)
    places = tuple(
        FramePlace(_sources(group, shared) or only, plane.position_mm, tuple(sorted(on_it)))
        for group, plane, on_it in zip(groups, planes, marked, strict=True)
    )
    if not all(place.position_mm for place in places) and not _keeps_geometry(groups, shared):
        raise StudyError("mask-misfit", "it states no positions, and that those of its source are not kept (0028,135A)")
    return places, orientation, spacing


def referenced_series(header: Dataset) -> tuple[str, ...]:
    """Return the SeriesInstanceUIDs of the images that a SEG refers to."""
    named = (text(series, "SeriesInstanceUID") for series in items(header, "ReferencedSeriesSequence"))
    return tuple(sorted({name for name in named if name}))


def referenced_instances(header: Dataset) -> tuple[str, ...]:
    """Return the SOPInstanceUIDs of the images that a SEG, or any of its frames, refers to."""
    shared = item(header, "SharedFunctionalGroupsSequence")
    groups = items(header, "PerFrameFunctionalGroupsSequence")
    by_frame = {instance for group in groups for instance, _ in _sources(group, shared)}
    return tuple(sorted(by_frame | _listed(header)))


def _labels(header: Dataset) -> dict[int, str]:
    found: dict[int, str] = {}
    for segment in items(header, "SegmentSequence"):
        number, label = whole(segment, "SegmentNumber"), text(segment, "SegmentLabel")
        if number is None or number in found or not label:
            raise StudyError("undecodable", "a segment without number or label, or two of one number")
        found[number] = structure_key(label)
    return found


def _segment(group: Dataset, shared: Dataset | None, labels: dict[int, str]) -> int:
    holder = item(group, "SegmentIdentificationSequence")
    holder = holder or (item(shared, "SegmentIdentificationSequence") if shared is not None else None)
    number = whole(holder, "ReferencedSegmentNumber") if holder is not None else None
    if number is None or number not in labels:
        raise StudyError("undecodable", "a frame of a segment that is not described")
    return number


def _only_source(header: Dataset) -> tuple[tuple[str, None], ...]:
    """Return the source of every frame without a reference of its own, if the SEG names exactly one image; else ()."""
    referenced = _listed(header)
    return ((referenced.pop(), None),) if len(referenced) == 1 else ()


def _listed(header: Dataset) -> set[str]:
    return {
        text(instance, "ReferencedSOPInstanceUID")
        for series in items(header, "ReferencedSeriesSequence")
        for instance in items(series, "ReferencedInstanceSequence")
    } - {""}


def _source_items(group: Dataset, shared: Dataset | None) -> list[Dataset]:
    derivations = items(group, "DerivationImageSequence") or items(shared, "DerivationImageSequence")
    return [source for derivation in derivations for source in items(derivation, "SourceImageSequence")]


def _sources(group: Dataset, shared: Dataset | None) -> tuple[tuple[str, int | None], ...]:
    found: list[tuple[str, int | None]] = []
    for source in _source_items(group, shared):
        instance = text(source, "ReferencedSOPInstanceUID")
        frames = [int(one) for one in numbers(source, "ReferencedFrameNumber")]
        found += [(instance, frame) for frame in frames] or [(instance, None)]
    return tuple((instance, frame) for instance, frame in found if instance)


def _keeps_geometry(groups: Sequence[Dataset], shared: Dataset | None) -> bool:
    """False if a frame states that its pixels do not lie where those of its source image lie (PS3.3 C.7.6.16.2.6)."""
    stated = {text(source, "SpatialLocationsPreserved") for group in groups for source in _source_items(group, shared)}
    return stated <= {"", "YES"}
