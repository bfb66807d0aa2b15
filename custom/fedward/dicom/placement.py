"""Place the frames of a mask on the slices of an image, by geometry. Pure; lengths in millimetres.

A plane gives a pixel's place in the patient (PS3.3 C.7.6.2.1.1): ``position + row * rows_mm * row_step + column *
columns_mm * column_step``. A mask's frame may be stored with its rows or columns reversed or exchanged, and may cover a
part of the image only. It fits a slice if both have the same plane and each pixel of the frame lies on a pixel of the
slice, within ``WITHIN_PIXEL``. Any other frame is refused: nothing is interpolated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedward.errors import StudyError

Grid = tuple[int, int, int, int, int, int]
"""``(a, b, t, c, d, u)``: pixel ``(r, k)`` of the mask is pixel ``(a r + b k + t, c r + d k + u)`` of the image."""
SAME: Grid = (1, 0, 0, 0, 1, 0)
"""Grid of a mask whose pixels are stored as the image's."""
WITHIN_PIXEL = 0.1
"""Largest distance between a mask's pixel and the image's, in pixels of the image: headers round positions."""
WITHIN_GAP = 0.05
"""Largest distance between a mask's plane and the slice's, as a fraction of the gap between slices."""
_ORTHONORMAL = 1e-3
_PARALLEL = 0.99


@dataclass(frozen=True, slots=True)
class Planes:
    """Parallel planes of one grid: the slices of an image, or the frames of a mask.

    Attributes:
        positions_mm: centre of the first pixel of each plane, ImagePositionPatient.
        orientation: ImageOrientationPatient: direction of a row, then of a column; or ().
        spacing_mm: distance between rows and between columns, PixelSpacing; or ().
        shape: rows and columns.
    """

    positions_mm: tuple[tuple[float, ...], ...]
    orientation: tuple[float, ...]
    spacing_mm: tuple[float, ...]
    shape: tuple[int, int]

    @property
    def known(self) -> bool:
        """True if every plane has a place in the patient."""
        placed = all(len(position) == 3 for position in self.positions_mm)
        return placed and len(self.orientation) == 6 and len(self.spacing_mm) == 2


def implied(spacing_mm: tuple[float, ...], shape: tuple[int, int]) -> Planes:
    """Return the plane of an image whose header has none: at the origin, rows and columns along x and y, as in ITK."""
    return Planes(((0.0, 0.0, 0.0),), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0), spacing_mm, shape)


def fitting_slices(mask: Planes, image: Planes) -> dict[int, tuple[int, ...]]:
    """Return the planes of ``mask`` that lie in a plane of ``image``, with those in which they lie.

    Raises:
        StudyError: "mask-misfit" for planes that are not parallel.
    """
    normal = _normal(image)
    if abs(float(normal @ _normal(mask))) < _PARALLEL:
        raise StudyError("mask-misfit", "its frames are not parallel to the slices of its image")
    along = np.array(image.positions_mm, dtype=np.float64) @ normal
    rows, columns = _steps(mask)
    corners = [(r * rows + k * columns) @ normal for r in (0, mask.shape[0] - 1) for k in (0, mask.shape[1] - 1)]
    frames = (np.array(mask.positions_mm, dtype=np.float64) @ normal)[:, None] + np.array(corners)
    apart = np.abs(frames[:, None, :] - along[None, :, None]).max(axis=2)
    within = apart <= _tolerance_mm(image, along)
    found: dict[int, tuple[int, ...]] = {}
    for plane, slice_ in np.argwhere(within).tolist():
        found[plane] = (*found.get(plane, ()), slice_)
    return found


def grid_of(mask: Planes, frame: int, image: Planes, slice_: int) -> Grid:
    """Return the grid by which a frame's pixels lie on a slice's, where both are in one plane.

    Raises:
        StudyError: "mask-misfit" where the pixels have another size or direction, lie between those of the image, or
            reach beyond it.
    """
    rows, columns = _steps(image)
    mask_rows, mask_columns = _steps(mask)
    exact = np.array([[step @ axis / (axis @ axis) for step in (mask_rows, mask_columns)] for axis in (rows, columns)])
    turn = np.rint(exact).astype(int)
    if sorted(np.abs(turn).ravel()) != [0, 0, 1, 1] or abs(round(float(np.linalg.det(turn)))) != 1:
        raise StudyError("mask-misfit", "its pixels have another size or direction than those of its image")
    shift = np.subtract(mask.positions_mm[frame], image.positions_mm[slice_])
    first = np.array([shift @ axis / (axis @ axis) for axis in (rows, columns)])
    offset = np.rint(first).astype(int)
    corners = np.array([(r, k) for r in (0, mask.shape[0] - 1) for k in (0, mask.shape[1] - 1)])
    placed = corners @ turn.T + offset
    if np.abs(corners @ exact.T + first - placed).max() > WITHIN_PIXEL:
        raise StudyError("mask-misfit", "its pixels lie between those of its image, or have another size")
    if placed.min() < 0 or (placed.max(axis=0) >= image.shape).any():
        raise StudyError("mask-misfit", "it reaches beyond its image")
    (a, b), (c, d) = turn.tolist()
    return (a, b, int(offset[0]), c, d, int(offset[1]))


def place(frame: NDArray[np.bool_], grid: Grid, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return a frame's marks on a slice of ``shape``; False where the frame has no pixel.

    Args:
        frame: bool (rows, columns).
        grid: from ``grid_of``.
        shape: rows and columns of the slice.

    Raises:
        StudyError: "mask-misfit" where the frame reaches beyond the slice.
    """
    a, b, top, c, d, left = grid
    turned, row_step, column_step = (frame, a, d) if a else (frame.T, b, c)
    turned = turned[::row_step, ::column_step]
    top -= turned.shape[0] - 1 if row_step < 0 else 0
    left -= turned.shape[1] - 1 if column_step < 0 else 0
    bottom, right = top + turned.shape[0], left + turned.shape[1]
    if top < 0 or left < 0 or bottom > shape[0] or right > shape[1]:
        raise StudyError("mask-misfit", "it reaches beyond its image")
    out = np.zeros(shape, dtype=np.bool_)
    out[top:bottom, left:right] = turned
    return out


def same_voxels(mask: Sequence[float], image: Sequence[float], shape: tuple[int, ...]) -> bool:
    """True if two affines put each corner of a volume at one place, within ``WITHIN_PIXEL`` of a voxel.

    Args:
        mask, image: 4 x 4 affines, row by row: voxel indices to millimetres.
        shape: number of voxels along the affines' axes, one to three.
    """
    ours, theirs = (np.array(one, dtype=np.float64).reshape(4, 4) for one in (image, mask))
    if not np.isfinite(theirs).all() or not np.isfinite(ours).all() or abs(np.linalg.det(ours[:3, :3])) < 1e-12:
        return False
    last = [*(side - 1 for side in shape), 0, 0, 0][:3]
    corners = np.array([(*corner, 1.0) for corner in np.ndindex(2, 2, 2)]) * [*last, 1.0]
    moved = corners @ (np.linalg.inv(ours) @ theirs).T
    return bool(np.abs(moved - corners).max() <= WITHIN_PIXEL)


def _steps(planes: Planes) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the vectors from a row to the next, and from a column to the next."""
    along_row, along_column = np.array(planes.orientation, dtype=np.float64).reshape(2, 3)
    return along_column * planes.spacing_mm[0], along_row * planes.spacing_mm[1]


def _normal(planes: Planes) -> NDArray[np.float64]:
    along_row, along_column = np.array(planes.orientation, dtype=np.float64).reshape(2, 3)
    lengths = (along_row @ along_row, along_column @ along_column)
    if max(abs(length - 1) for length in lengths) > 10 * _ORTHONORMAL or abs(along_row @ along_column) > _ORTHONORMAL:
        raise StudyError("mask-misfit", "directions of rows and columns are not at right angles")
    return np.cross(along_row, along_column)


def _tolerance_mm(image: Planes, along: NDArray[np.float64]) -> float:
    in_plane, gaps = WITHIN_PIXEL * min(image.spacing_mm), np.diff(np.unique(np.round(along, 3)))
    if not gaps.size:
        return in_plane
    return min(max(in_plane, WITHIN_GAP * float(gaps.min())), float(gaps.min()) / 4)
