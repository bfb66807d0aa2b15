"""Match masks to the images that they belong to. Pure: works on findings alone.

A DICOM SEG belongs to the images whose SOPInstanceUID its frames refer to; if they refer to none of the cohort, to the
images of the series that it names. Positions then decide on which slice, and on which pixels of it, each frame lies
(``dicom.masks.place_frames``). A NIfTI mask belongs to the NIfTI image of the same path, or of the same file name.

An image may have several masks, one for each organ for example. If two of them describe marks of the same structure,
nobody can tell which one holds: the image then has no mask.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from fedward.dataset.manifest import MaskFile, Row
from fedward.dicom.masks import Slices, place_frames
from fedward.dicom.nifti import stem
from fedward.dicom.placement import SAME, Grid, Planes, same_voxels
from fedward.errors import StudyError
from fedward.indexing.quality import FileFacts
from fedward.indexing.quarantine import Quarantined

if TYPE_CHECKING:
    from fedward.indexing.volume import Volume

Placed = tuple[tuple[int, ...], tuple[Grid, ...]]
"""Slice and grid of each frame of a SEG on one image."""


def match_masks(volumes: Sequence[Volume], masks: Sequence[FileFacts]) -> tuple[list[Row], list[Quarantined]]:
    """Return the volumes' rows, in order, with the masks that fit; and every other mask, with the reason."""
    by_name = _by_name(volumes)
    aside: dict[str, Quarantined] = {}
    found: dict[int, list[MaskFile]] = defaultdict(list)
    for mask in sorted(masks, key=lambda one: one.path):
        try:
            for number, file in _fitting(mask, volumes, by_name).items():
                found[number].append(file)
        except StudyError as refusal:
            aside[mask.path] = Quarantined(mask.path, refusal.reason, refusal.detail)
    rows = []
    for number, volume in enumerate(volumes):
        kept, refused = _together(found[number])
        aside |= {one.file: one for one in refused}
        rows.append(replace(volume.row, masks=tuple(kept)))
    used = {file.path for row in rows for file in row.masks}
    return rows, [one for path, one in aside.items() if path not in used]


def _together(files: Sequence[MaskFile]) -> tuple[list[MaskFile], list[Quarantined]]:
    """Return the masks of one image, none if two of them mark the same structure; and the others, with the reason."""
    first: dict[str, str] = {}
    copies = [file for file in files if first.setdefault(file.sha256, file.path) != file.path]
    aside = [Quarantined(file.path, "duplicate-instance", f"of {first[file.sha256]}") for file in copies]
    kept = [file for file in files if file not in copies]
    marked = Counter(name for file in kept for name, there in file.structures.items() if there)
    if all(count == 1 for count in marked.values()):
        return kept, aside
    both = f"{kept[0].path} and {len(kept) - 1} more"
    return [], aside + [Quarantined(file.path, "second-mask", f"one of {both}") for file in kept]


def _by_name(volumes: Sequence[Volume]) -> dict[str, list[int]]:
    """Return the numbers of the images by each name that a mask may use for them."""
    by_name: dict[str, list[int]] = defaultdict(list)
    for number, volume in enumerate(volumes):
        first = volume.findings[0]
        names = {f"path:{first.path}", f"stem:{stem(first.path)}"} if first.format == "nifti" else set()
        names |= {one.instance for one in volume.findings} | ({first.series} if first.format == "dicom" else set())
        for name in names - {""}:
            by_name[name].append(number)
    return by_name


def _fitting(mask: FileFacts, volumes: Sequence[Volume], by_name: dict[str, list[int]]) -> dict[int, MaskFile]:
    """Return the images of a mask, by number, with the place of its frames on each."""
    if mask.format == "nifti":
        return _nifti(mask, volumes, by_name)
    named = {place.instance for place in mask.mask_frames} - {""}
    numbers = {number for name in named for number in by_name.get(name, [])} or set(by_name.get(mask.series, []))
    if not numbers:
        raise StudyError("orphan-mask", "refers to no image of the cohort")
    placed: dict[int, Placed] = {}
    refusals = []
    for number in sorted(numbers):
        try:
            placed[number] = _place(mask, volumes[number])
        except StudyError as refusal:
            refusals.append(refusal)
    strays = [
        index for index in range(len(mask.mask_frames)) if all(slices[index] < 0 for slices, _ in placed.values())
    ]
    if strays and refusals:
        raise refusals[0]
    of_a_volume = any(len(volumes[number].row.shape) == 3 for number in numbers)
    known = any(mask.mask_frames[index].instance in by_name for index in strays)
    if strays and (of_a_volume or known or len(strays) == len(mask.mask_frames)):
        raise StudyError("mask-misfit", "a frame belongs to no slice of its image")
    for number, (slices, grids) in placed.items():
        others = [other for other in placed if other != number]
        placed[number] = (_where_named(mask, number, slices, others, placed, volumes), grids)
    return {number: _file(mask, where) for number, where in placed.items() if max(where[0], default=-1) >= 0}


def _where_named(
    mask: FileFacts,
    number: int,
    slices: tuple[int, ...],
    others: Sequence[int],
    placed: dict[int, Placed],
    volumes: Sequence[Volume],
) -> tuple[int, ...]:
    """Return the slices of one image without the frames that lie there, but name another image at the same place."""
    own = {one.instance for one in volumes[number].findings}

    def elsewhere(index: int, name: str) -> bool:
        return any(
            placed[other][0][index] >= 0 and name in {one.instance for one in volumes[other].findings}
            for other in others
        )

    return tuple(
        -1 if slice_ >= 0 and place.instance not in own and elsewhere(index, place.instance) else slice_
        for index, (slice_, place) in enumerate(zip(slices, mask.mask_frames, strict=True))
    )


def _nifti(mask: FileFacts, volumes: Sequence[Volume], by_name: dict[str, list[int]]) -> dict[int, MaskFile]:
    numbers = by_name.get(f"path:{mask.path}") or by_name.get(f"stem:{stem(mask.path)}") or []
    if not numbers:
        raise StudyError("orphan-mask", "no image of the same name")
    if len(numbers) > 1:
        raise StudyError("mask-misfit", "several images have its name")
    image = volumes[numbers[0]].findings[0]
    if mask.shape != image.shape:
        raise StudyError("mask-misfit", f"mask {mask.shape}, image {image.shape}")
    if not same_voxels(mask.affine, image.affine, tuple(reversed(image.shape))):
        raise StudyError("mask-misfit", "mask and image lie at different places")
    structures = {name: True for _, name in mask.segments}
    return {
        numbers[0]: MaskFile(
            path=mask.path, format="nifti", slices=(), grids=(), structures=structures, sha256=mask.sha256
        )
    }


def _place(mask: FileFacts, volume: Volume) -> Placed:
    """Return the slice and the grid of each frame of a SEG on one image."""
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


def _file(mask: FileFacts, placed: Placed) -> MaskFile:
    """Return a SEG as one image's mask, with the structures that mark a pixel of this image."""
    slices, grids = placed
    frames = zip(mask.mask_frames, slices, strict=True)
    here = {number for place, slice_ in frames if slice_ >= 0 for number in place.marked}
    structures = {name: False for _, name in mask.segments}
    structures |= {name: True for number, name in mask.segments if number in here}
    return MaskFile(
        path=mask.path,
        format="dicom-seg",
        slices=slices,
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
