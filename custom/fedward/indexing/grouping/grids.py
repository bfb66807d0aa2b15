"""Say which images of a study share a grid, so that they can be channels of one image. Pure; lengths in millimetres."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import replace

import numpy as np

from fedward.dicom.geometry import SAME_WITHIN
from fedward.dicom.placement import same_voxels
from fedward.indexing.grouping.sequences import Rules, without_sequence
from fedward.indexing.grouping.volume import Volume
from fedward.indexing.quality import FileFacts

SAME_PLACE_MM = 0.01
"""Largest distance between the places of two sequences' pixels: headers round."""


def with_grids(volumes: Sequence[Volume], rules: Rules) -> list[Volume]:
    """Return the volumes with the name of the grid that the sequences of each study share.

    Two images share a grid if they have one shape and their pixels lie at the same places, within ``SAME_PLACE_MM``. A
    DICOM image without a place shares none.
    """
    studies: dict[Hashable, list[list[Volume]]] = defaultdict(list)
    names = {}
    for volume in volumes:
        first, row = volume.findings[0], volume.row
        if not row.sequence:
            continue
        study = without_sequence(first.path, rules) if first.format == "nifti" else row.study
        grids = studies[row.patient, study, row.format == "nifti"]
        grid = next((one for one in grids if _one_grid(one[0], volume)), None)
        if grid is None:
            grids.append(grid := [])
        grid.append(volume)
        names[row.image] = grid[0].row.image
    return [
        replace(volume, row=replace(volume.row, grid=names[volume.row.image])) if volume.row.sequence else volume
        for volume in volumes
    ]


def _one_grid(one: Volume, other: Volume) -> bool:
    first, second = one.findings[0], other.findings[0]
    if one.row.shape != other.row.shape:
        return False
    if first.format == "nifti":
        return same_voxels(first.affine, second.affine, tuple(reversed(one.row.shape)))
    places, others = _positions(one.findings), _positions(other.findings)
    if not all(len(place) == 3 for place in (*places, *others)) or not first.orientation or not first.in_plane_mm:
        return False
    return (
        np.shape(places) == np.shape(others)
        and _close(first.orientation, second.orientation, 1e-3)
        and _close(first.in_plane_mm, second.in_plane_mm, SAME_WITHIN * max(first.in_plane_mm))
        and _close(places, others, SAME_PLACE_MM)
    )


def _positions(findings: Sequence[FileFacts]) -> list[tuple[float, ...]]:
    return [position for one in findings for position in one.positions_mm]


def _close(ours: object, theirs: object, within: float) -> bool:
    a, b = np.asarray(ours, dtype=np.float64), np.asarray(theirs, dtype=np.float64)
    return a.shape == b.shape and bool(np.abs(a - b).max() <= within)
