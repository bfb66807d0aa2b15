"""Match masks to the images that they belong to. Pure: works on findings alone.

A DICOM SEG belongs to the images whose SOPInstanceUID its frames refer to; if they refer to none, to the images of the
series that it names. A NIfTI mask belongs to the NIfTI image of the same path, or of the same file name.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from fedward.dataset.manifest import Row
from fedward.dicom.masks import place_frames
from fedward.dicom.nifti import stem
from fedward.errors import StudyError
from fedward.indexing.quality import FileFacts
from fedward.indexing.quarantine import Quarantined

if TYPE_CHECKING:
    from fedward.indexing.volume import Volume

_AFFINE_WITHIN_MM = 0.01


def match_masks(volumes: Sequence[Volume], masks: Sequence[FileFacts]) -> tuple[list[Row], list[Quarantined]]:
    """Return the volumes' rows, in order, with the masks that fit; and the masks that fit none, with the reason."""
    rows = [volume.row for volume in volumes]
    by_name: dict[str, list[int]] = defaultdict(list)
    for number, volume in enumerate(volumes):
        first = volume.findings[0]
        names = {f"path:{first.path}", f"stem:{stem(first.path)}"} if first.format == "nifti" else set()
        names |= {one.instance for one in volume.findings} | ({first.series} if first.format == "dicom" else set())
        for name in names - {""}:
            by_name[name].append(number)
    aside = []
    for mask in sorted(masks, key=lambda one: one.path):
        try:
            for number, slices in _fitting(mask, volumes, by_name).items():
                if rows[number].mask is not None:
                    raise StudyError("second-mask", f"beside {rows[number].mask}")
                rows[number] = replace(
                    rows[number],
                    mask=mask.path,
                    mask_format="dicom-seg" if mask.format == "dicom" else "nifti",
                    mask_slices=slices,
                )
        except StudyError as refusal:
            aside.append(Quarantined(mask.path, refusal.reason, refusal.detail))
    return rows, aside


def _fitting(mask: FileFacts, volumes: Sequence[Volume], by_name: dict[str, list[int]]) -> dict[int, tuple[int, ...]]:
    """Return the images of a mask, by number, with the slice of each of its frames."""
    if mask.format == "nifti":
        numbers = by_name.get(f"path:{mask.path}") or by_name.get(f"stem:{stem(mask.path)}") or []
        if not numbers:
            raise StudyError("orphan-mask", "no image of the same name")
        if len(numbers) > 1:
            raise StudyError("mask-misfit", "several images have its name")
        _same_grid(mask, volumes[numbers[0]].findings[0])
        return {numbers[0]: ()}
    named = {place.instance for place in mask.mask_frames} - {""}
    numbers = sorted({number for name in named or {mask.series} for number in by_name.get(name, [])})
    if not numbers:
        raise StudyError("orphan-mask", "refers to no image of the cohort")
    placed = {number: _place(mask, volumes[number]) for number in numbers}
    stray = any(max(slices) < 0 for slices in zip(*placed.values(), strict=True))
    if stray and (all(max(slices) < 0 for slices in placed.values()) or len(volumes[numbers[0]].row.shape) == 3):
        raise StudyError("mask-misfit", "a frame belongs to no slice of its image")
    return {number: slices for number, slices in placed.items() if max(slices, default=-1) >= 0}


def _place(mask: FileFacts, volume: Volume) -> tuple[int, ...]:
    if volume.row.shape[-2:] != mask.shape:
        raise StudyError("mask-misfit", f"mask {mask.shape}, image {volume.row.shape[-2:]}")
    first = volume.findings[0]
    if first.frames:
        slices: list[tuple[str, int | None]] = [(first.instance, frame + 1) for frame in first.frames]
        return place_frames(mask.mask_frames, slices, first.positions_mm)
    return place_frames(
        mask.mask_frames,
        [(one.instance, None) for one in volume.findings],
        [one.positions_mm[0] if one.positions_mm else () for one in volume.findings],
    )


def _same_grid(mask: FileFacts, image: FileFacts) -> None:
    if mask.shape != image.shape:
        raise StudyError("mask-misfit", f"mask {mask.shape}, image {image.shape}")
    apart = float(np.abs(np.subtract(mask.affine, image.affine)).max())
    if apart > _AFFINE_WITHIN_MM:
        raise StudyError("mask-misfit", f"mask and image lie {apart:.2f} mm apart")
