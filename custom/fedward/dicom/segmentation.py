"""Read a DICOM SEG: its segments, and the pixels of each frame that a segment marks (PS3.3 A.51, C.8.20).

SEG files are read with pydicom: ``highdicom.seg.segread`` (0.28) refuses a SEG of a radiograph, even one that highdicom
wrote, because its PixelMeasuresSequence has no SliceThickness. highdicom writes and checks them in the tests.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from fedward.dicom.geometry import frame_places, one_plane
from fedward.dicom.header import item, items, text, whole
from fedward.dicom.pixels import decode
from fedward.errors import StudyError
from fedward.structures import structure_key

SEGMENTATION_CLASSES = frozenset({"1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"})
"""Segmentation Storage and Label Map Segmentation Storage."""
_KINDS = ("BINARY", "FRACTIONAL", "LABELMAP")


@dataclass(frozen=True, slots=True)
class FramePlace:
    """Position of one SEG frame, as its header states it, and the segments that mark a pixel of it.

    Attributes:
        instance: the source image's SOPInstanceUID (0008,1155), or "".
        frame: the source image's frame, from 1 (0008,1160), or None.
        position_mm: ImagePositionPatient of the frame, or ().
        marked: numbers of the segments with a pixel on this frame.
    """

    instance: str
    frame: int | None
    position_mm: tuple[float, ...]
    marked: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Segmentation:
    """Decoded DICOM SEG.

    Attributes:
        frames: ``(frames, rows, columns)``, as stored.
        labels: segment number -> ``structure_key`` of its label; several segments may have one label.
        numbers: the segment of each frame; () for LABELMAP, whose pixels are segment numbers.
        kind: SegmentationType.
        greatest: MaximumFractionalValue; 1 unless FRACTIONAL.
        places: position of each frame.
        orientation, spacing_mm: of all frames; () where absent.
    """

    frames: NDArray[Any]
    labels: dict[int, str]
    numbers: tuple[int, ...]
    kind: str
    greatest: int
    places: tuple[FramePlace, ...]
    orientation: tuple[float, ...]
    spacing_mm: tuple[float, ...]

    def marks(self) -> Iterator[tuple[int, int, NDArray[np.bool_]]]:
        """Yield frame, segment number, and bool (rows, columns): the pixels of that frame that the segment marks.

        A fractional segment marks a pixel from half its greatest value (PS3.3 C.8.20.2.3.1).
        """
        for index, frame in enumerate(self.frames):
            if self.kind == "LABELMAP":
                present = np.flatnonzero(np.bincount(frame.reshape(-1)))
                yield from ((index, int(number), frame == number) for number in present if number != 0)
            else:
                yield index, self.numbers[index], frame >= self.greatest / 2


def read_segments(header: Dataset) -> Segmentation:
    """Read all of a SEG whose header is parsed.

    Raises:
        StudyError: "no-pixels", "truncated" and "undecodable" for pixels or segments that cannot be read, among them a
            frame of a segment that is not described; "mask-misfit" where not every frame is described, or the frames
            have several orientations or spacings.
    """
    kind, labels = text(header, "SegmentationType").upper(), _labels(header)
    if kind not in _KINDS:
        raise StudyError("undecodable", f"SegmentationType is none of {', '.join(_KINDS)}")
    frames = _stored(header)
    planes = frame_places(header)
    if len(planes) != len(frames):
        raise StudyError("mask-misfit", f"{len(frames)} frames, {len(planes)} of them described")
    shared = item(header, "SharedFunctionalGroupsSequence")
    groups = items(header, "PerFrameFunctionalGroupsSequence")
    numbers = () if kind == "LABELMAP" else tuple(_segment(group, shared, labels) for group in groups)
    orientation, spacing = one_plane(planes, reason="mask-misfit")
    made = Segmentation(
        frames=_without_background(frames, header) if kind == "LABELMAP" else frames,
        labels=labels,
        numbers=numbers,
        kind=kind,
        greatest=_greatest(header, kind, frames),
        places=(),
        orientation=orientation,
        spacing_mm=spacing,
    )
    marked: list[set[int]] = [set() for _ in groups]
    for index, number, there in made.marks():
        if number not in labels:
            raise StudyError("undecodable", "it has pixels of a segment that it does not describe")
        if there.any():
            marked[index].add(number)
    only = _only_source(header)
    places = [
        _frame_place(group, shared, only, plane.position_mm, tuple(sorted(on_it)))
        for group, plane, on_it in zip(groups, planes, marked, strict=True)
    ]
    if not all(place.position_mm for place in places) and not _keeps_geometry(groups, shared):
        raise StudyError("mask-misfit", "it states no positions, and that those of its source are not kept (0028,135A)")
    return replace(made, places=tuple(places))


def _stored(header: Dataset) -> NDArray[Any]:
    """Return the stored values, (frames, rows, columns); a label map's palette (PS3.3 A.51.6) is for display only."""
    plain = Dataset(header)
    plain.file_meta = header.file_meta
    plain.PhotometricInterpretation = "MONOCHROME2"
    decoded = decode(plain)
    if decoded.colour or decoded.values.dtype.kind not in "ui":
        raise StudyError("undecodable", "a segmentation whose pixels are no whole numbers")
    return decoded.values.reshape(-1, *decoded.values.shape[-2:])


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


def _greatest(header: Dataset, kind: str, frames: NDArray[Any]) -> int:
    """Return the value that means wholly present; refuse values that the kind of segmentation cannot hold."""
    if kind == "LABELMAP":
        return 1
    highest = int(frames.max(initial=0))
    if kind == "BINARY":
        if highest > 1 and ((frames != 0) & (frames != highest)).any():
            raise StudyError("undecodable", "a BINARY segmentation with more than two values")
        return max(highest, 1)
    greatest = whole(header, "MaximumFractionalValue") or 0
    if not 0 < highest <= greatest and not (highest == 0 < greatest):
        raise StudyError("undecodable", f"a FRACTIONAL segmentation up to {highest}, of at most {greatest}")
    return greatest


def _without_background(frames: NDArray[Any], header: Dataset) -> NDArray[Any]:
    """Return a label map in which 0 alone is background: PixelPaddingValue (0028,0120) is background too."""
    background = whole(header, "PixelPaddingValue")
    return frames if not background else np.where(frames == background, 0, frames)


def _only_source(header: Dataset) -> str:
    """Return the source of every frame without a reference of its own, if the SEG names exactly one image; else ""."""
    referenced = {
        text(instance, "ReferencedSOPInstanceUID")
        for series in items(header, "ReferencedSeriesSequence")
        for instance in items(series, "ReferencedInstanceSequence")
    }
    return referenced.pop() if len(referenced) == 1 else ""


def _source(group: Dataset, shared: Dataset | None) -> Dataset | None:
    derivation = item(group, "DerivationImageSequence")
    derivation = derivation or (item(shared, "DerivationImageSequence") if shared is not None else None)
    return item(derivation, "SourceImageSequence") if derivation is not None else None


def _keeps_geometry(groups: Sequence[Dataset], shared: Dataset | None) -> bool:
    """False if a frame states that its pixels do not lie where those of its source image lie (PS3.3 C.7.6.16.2.6)."""
    stated = {text(source, "SpatialLocationsPreserved") for g in groups if (source := _source(g, shared)) is not None}
    return stated <= {"", "YES"}


def _frame_place(
    group: Dataset, shared: Dataset | None, only: str, position_mm: tuple[float, ...], marked: tuple[int, ...]
) -> FramePlace:
    source = _source(group, shared)
    return FramePlace(
        (text(source, "ReferencedSOPInstanceUID") if source is not None else "") or only,
        whole(source, "ReferencedFrameNumber") if source is not None else None,
        position_mm,
        marked,
    )
