"""Match masks to the images that they belong to. Pure: works on findings alone.

A DICOM SEG belongs to the images whose SOPInstanceUID its frames refer to. Where a frame refers to none of the cohort,
it belongs to the images that its header lists or, if none of them is here, to those of the series that it names.
Positions then decide on which slice, and on which pixels of it, each frame lies (``dicom.masks.place_frames``). A NIfTI
mask belongs to the NIfTI image of the same name (``indexing.grouping.nifti_names``).

An image may have several masks, one for each organ for example. If two of them mark the same structure, or one of them
cannot be used, nobody can tell what the image shows: it then has no mask.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from fedward.dataset.manifest import MaskFile, Row
from fedward.dicom.masks import Slices, place_frames
from fedward.dicom.placement import SAME, Grid, Planes, same_voxels
from fedward.errors import StudyError
from fedward.indexing.grouping.nifti_names import NiftiNames
from fedward.indexing.grouping.sequences import Rules, without_sequence
from fedward.indexing.quality import FileFacts
from fedward.indexing.quarantine import Quarantined

if TYPE_CHECKING:
    from fedward.indexing.grouping.volume import Volume

Placed = dict[int, tuple[int, Grid]]
"""Slice and grid of each frame of a SEG that lies on one image."""


def match_masks(
    volumes: Sequence[Volume], masks: Sequence[FileFacts], images: Sequence[FileFacts], *, rules: Rules
) -> tuple[list[Row], list[Quarantined]]:
    """Return the volumes' rows, in order, with the masks that fit; and every other mask, with the reason.

    Args:
        volumes: images of the cohort.
        masks: all masks, those that were refused among them.
        images: all image files, those in quarantine among them: a mask may belong to one of these.
        rules: of the hospital's sequences. A NIfTI mask may have the name that the sequences of one patient share; it
            is then the first one's, by path.
    """
    owners = _Owners(volumes, images, rules)
    aside: dict[str, Quarantined] = {}
    found: dict[int, list[MaskFile]] = defaultdict(list)
    unusable: dict[int, str] = {}
    for mask in sorted(masks, key=lambda one: one.path):
        candidates: set[int] = set()
        try:
            candidates = owners.of(mask)
            if mask.reason:
                raise StudyError(mask.reason, mask.detail)
            fitting = _nifti(mask, volumes, candidates) if mask.format == "nifti" else _seg(mask, volumes, candidates)
            for number, file in fitting.items():
                found[number].append(file)
        except StudyError as refusal:
            aside[mask.path] = Quarantined(mask.path, mask.reason or refusal.reason, mask.detail or refusal.detail)
            unusable |= dict.fromkeys(candidates, mask.path)
    rows = []
    for number, volume in enumerate(volumes):
        kept, refused = _together(found[number], beside=unusable.get(number))
        aside |= {one.file: one for one in refused}
        rows.append(replace(volume.row, masks=tuple(kept)) if kept else volume.row)
    used = {file.path for row in rows for file in row.masks}
    return rows, [one for path, one in aside.items() if path not in used]


class _Owners:
    """Images of the cohort by each name that a mask may use for them."""

    def __init__(self, volumes: Sequence[Volume], images: Sequence[FileFacts], rules: Rules) -> None:
        self._by_uid: dict[str, set[int]] = defaultdict(set)
        for number, volume in enumerate(volumes):
            for one in volume.findings:
                self._by_uid[one.instance].add(number)
                if one.format == "dicom":
                    self._by_uid[one.series].add(number)
        self._by_uid.pop("", None)
        paths = sorted(one.path for one in images if one.format == "nifti")
        self._names = NiftiNames(paths)
        self._first: dict[str, str] = {}
        for path in paths:
            self._first.setdefault(without_sequence(path, rules), path)
        self._shared = NiftiNames(self._first)
        self._by_path = {volume.findings[0].path: number for number, volume in enumerate(volumes)}

    def of(self, mask: FileFacts) -> set[int]:
        """Return the numbers of the images that a mask may belong to.

        Raises:
            StudyError: "orphan-mask" for none in the cohort; "mask-misfit" for a NIfTI name that several images have.
        """
        if mask.format == "nifti":
            paths = self._names.of(mask.path) or [self._first[path] for path in self._shared.of(mask.path)]
            if len(paths) > 1:
                raise StudyError("mask-misfit", "several images have its name")
            if not paths:
                raise StudyError("orphan-mask", "no image of the same name, in the same folder or in none")
            if paths[0] not in self._by_path:
                raise StudyError("orphan-mask", "the image of the same name is in quarantine")
            return {self._by_path[paths[0]]}
        found = self._numbers(name for place in mask.mask_frames for name in place.instances)
        if not all(self._numbers(place.instances) for place in mask.mask_frames) or not mask.mask_frames:
            found |= self._numbers(mask.referenced_instances) or self._numbers(mask.referenced_series)
        if not found and not mask.reason:
            raise StudyError("orphan-mask", "refers to no image of the cohort")
        return found

    def _numbers(self, names: Iterable[str]) -> set[int]:
        return {number for name in names for number in self._by_uid.get(name, ())}


def _together(files: Sequence[MaskFile], *, beside: str | None) -> tuple[list[MaskFile], list[Quarantined]]:
    """Return the masks of one image and the others, with the reason; no masks if they contradict each other.

    Args:
        files: masks that fit the image.
        beside: another mask of the image, which cannot be used; None if there is none.
    """
    if not files:
        return [], []
    first: dict[str, str] = {}
    copies = [file for file in files if first.setdefault(file.sha256, file.path) != file.path]
    aside = [Quarantined(file.path, "duplicate-instance", f"of {first[file.sha256]}") for file in copies]
    kept = [file for file in files if file not in copies]
    if beside is not None:
        return [], aside + [Quarantined(file.path, "incomplete-mask", f"beside {beside}") for file in kept]
    marked = Counter(name for file in kept for name, there in file.structures.items() if there)
    twice = {name for name, count in marked.items() if count > 1}
    if not twice:
        return kept, aside
    those = ", ".join(file.path for file in kept if any(file.structures.get(name) for name in twice))
    return [], aside + [Quarantined(file.path, "second-mask", f"one structure is marked by {those}") for file in kept]


def _nifti(mask: FileFacts, volumes: Sequence[Volume], candidates: set[int]) -> dict[int, MaskFile]:
    (number,) = candidates
    image = volumes[number].findings[0]
    if mask.shape != image.shape:
        raise StudyError("mask-misfit", f"mask {mask.shape}, image {image.shape}")
    if not same_voxels(mask.affine, image.affine, tuple(reversed(image.shape))):
        raise StudyError("mask-misfit", "mask and image lie at different places")
    structures = {name: True for _, name in mask.segments}
    return {number: MaskFile(path=mask.path, format="nifti", structures=structures, sha256=mask.sha256)}


def _seg(mask: FileFacts, volumes: Sequence[Volume], candidates: set[int]) -> dict[int, MaskFile]:
    """Return the images on which frames of a SEG lie, with these frames."""
    placed: dict[int, Placed] = {}
    refusals = []
    for number in sorted(candidates):
        try:
            placed[number] = _place(mask, volumes[number])
        except StudyError as refusal:
            refusals.append(refusal)
    on: dict[int, set[int]] = defaultdict(set)
    for number, frames in placed.items():
        for index in frames:
            on[index].add(number)
    instances = {number: {one.instance for one in volumes[number].findings} for number in candidates}
    strays = [index for index in range(len(mask.mask_frames)) if index not in on]
    if strays and refusals:
        raise refusals[0]
    known = frozenset().union(*instances.values())
    of_a_volume = any(len(volumes[number].row.shape) == 3 for number in candidates)
    named = any(mask.mask_frames[index].instances & known for index in strays)
    if strays and (of_a_volume or named or len(strays) == len(mask.mask_frames)):
        raise StudyError("mask-misfit", "a frame belongs to no slice of its image")
    for index, numbers in on.items():
        if len(numbers) == 1:
            continue
        owners = {number for number in numbers if instances[number] & mask.mask_frames[index].instances}
        if not owners:
            raise StudyError("mask-misfit", "several images lie at the place of one frame, and it names none of them")
        for number in numbers - owners:  # at one place, and the frame names the other image
            del placed[number][index]
    return {number: _file(mask, frames) for number, frames in placed.items() if frames}


def _place(mask: FileFacts, volume: Volume) -> Placed:
    """Return the slice and the grid of each frame of a SEG that lies on one image."""
    return place_frames(
        mask.mask_frames,
        Planes(
            tuple(place.position_mm for place in mask.mask_frames),
            mask.orientation,
            mask.in_plane_mm,
            (mask.shape[0], mask.shape[1]),
        ),
        _slices(volume),
        frame_of_reference=mask.frame_of_reference,
    )


def _file(mask: FileFacts, placed: Mapping[int, tuple[int, Grid]]) -> MaskFile:
    """Return a SEG as one image's mask, with the structures that mark a pixel of this image."""
    here = {number for index in placed for number in mask.mask_frames[index].marked}
    structures = {name: False for _, name in mask.segments}
    structures |= {name: True for number, name in mask.segments if number in here}
    frames = tuple(sorted(placed))
    grids = tuple(placed[index][1] for index in frames)
    return MaskFile(
        path=mask.path,
        format="dicom-seg",
        frames=frames,
        slices=tuple(placed[index][0] for index in frames),
        grids=() if all(grid == SAME for grid in grids) else grids,
        structures=structures,
        sha256=mask.sha256,
    )


def _slices(volume: Volume) -> Slices:
    first = volume.findings[0]
    if first.frames:
        names: list[tuple[str, int | None]] = [(first.instance, frame + 1) for frame in first.frames]
        positions = first.positions_mm
    else:
        names = [(one.instance, None) for one in volume.findings]
        positions = tuple(one.positions_mm[0] if one.positions_mm else () for one in volume.findings)
    rows, columns = volume.row.shape[-2:]
    return Slices(
        tuple(names),
        Planes(positions, first.orientation, first.in_plane_mm, (rows, columns)),
        first.frame_of_reference,
    )
