"""Sort slices along their normal and measure the gap between them. Pure; lengths in millimetres."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydicom import Dataset

from fedward.dicom.header import item, items, numbers, whole
from fedward.errors import StudyError

EVEN_WITHIN = 0.05
"""Largest distance of a slice from its place on an even grid, as a fraction of the gap. A missing slice gives 0.5."""
_ROUNDED_MM = 0.06
"""The same, where it is larger, up to twice that fraction: headers round positions to 0.1 mm."""
SAME_WITHIN = 1e-3
"""Largest relative difference between two pixel spacings of one series: headers round them."""
_SAME_PLACE_MM = 1e-3
_SAME_DIRECTION = 1e-3


@dataclass(frozen=True, slots=True)
class Place:
    """Position of one slice, as its header states it.

    Attributes:
        position_mm: ImagePositionPatient (0020,0032), or () where absent.
        orientation: ImageOrientationPatient (0020,0037), six direction cosines, or ().
        number: InstanceNumber (0020,0013), or None.
        spacing_mm: for a frame of a multi-frame file, its PixelSpacing (0028,0030): row, column; or ().
    """

    position_mm: tuple[float, ...] = ()
    orientation: tuple[float, ...] = ()
    number: int | None = None
    spacing_mm: tuple[float, ...] = ()


def place_of(header: Dataset) -> Place:
    """Return the place of a single-frame image; an absent or malformed field stays empty."""
    position, orientation = numbers(header, "ImagePositionPatient"), numbers(header, "ImageOrientationPatient")
    return Place(
        position if len(position) == 3 else (),
        orientation if len(orientation) == 6 else (),
        whole(header, "InstanceNumber"),
    )


def frame_places(header: Dataset) -> list[Place]:
    """Return the places of a multi-frame file's frames; [] where the header lists no frames.

    A functional group of the frame goes before the one that all frames share (PS3.3 C.7.6.16).
    """
    shared = item(header, "SharedFunctionalGroupsSequence")
    common = (_position(shared), _orientation(shared), _spacing(shared))
    return [
        Place(_position(group) or common[0], _orientation(group) or common[1], index, _spacing(group) or common[2])
        for index, group in enumerate(items(header, "PerFrameFunctionalGroupsSequence"))
    ]


def one_plane(places: Sequence[Place], *, reason: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the orientation and the spacing of all frames, each () where a frame has none.

    Raises:
        StudyError: ``reason``, where two frames have different ones.
    """
    found = []
    for what, values in (
        ("orientations", [place.orientation for place in places]),
        ("pixel spacings", [place.spacing_mm for place in places]),
    ):
        stated = [one for one in values if one]
        if stated and not all(np.allclose(one, stated[0], rtol=SAME_WITHIN, atol=_SAME_DIRECTION) for one in stated):
            raise StudyError(reason, f"frames of different {what}")
        found.append(stated[0] if stated and len(stated) == len(values) else ())
    return found[0], found[1]


def drift_mm(positions_mm: Sequence[tuple[float, ...]], orientation: tuple[float, ...]) -> float:
    """Return by how much the slices of a volume lie beside each other, in their own plane: the gantry was tilted.

    Args:
        positions_mm: ImagePositionPatient of each slice.
        orientation: ImageOrientationPatient of all.

    Returns:
        Largest distance between the first pixels of the first slice and of another, seen along the normal; 0 where
        positions or orientation are unknown.
    """
    if len(orientation) != 6 or not all(len(position) == 3 for position in positions_mm):
        return 0.0
    axes = np.array(orientation, dtype=np.float64).reshape(2, 3)
    places = np.array(positions_mm, dtype=np.float64)
    return float(np.linalg.norm((places - places[0]) @ axes.T, axis=1).max())


def order_slices(places: Sequence[Place]) -> tuple[tuple[int, ...], float | None]:
    """Sort ``places`` along the slice normal; return their indices and the gap between neighbours in millimetres.

    The normal is row x column direction (PS3.3 C.7.6.2.1.1). Where no slice has a position, they are sorted by
    InstanceNumber and the gap is None.

    Raises:
        StudyError: "mixed-series" for slices that are not parallel; "incomplete-series" where a slice is missing;
            "uneven-spacing" for slices that lie at no even distances, or if no order is found.
    """
    if not places:
        raise StudyError("incomplete-series", "no slices")
    if not any(place.position_mm for place in places):
        return _by_number(places), None
    if not all(place.position_mm and place.orientation for place in places):
        raise StudyError("uneven-spacing", "some slices have no position, or no orientation")
    axes = np.array([place.orientation for place in places], dtype=np.float64)
    if np.abs(axes - axes[0]).max() > _SAME_DIRECTION:
        raise StudyError("mixed-series", "slices are not parallel")
    normal = np.cross(axes[0, :3], axes[0, 3:])
    length = float(np.linalg.norm(normal))
    if length < 0.5:
        raise StudyError("uneven-spacing", "row and column directions do not span a plane")
    along = np.array([place.position_mm for place in places], dtype=np.float64) @ (normal / length)
    order = np.argsort(along, kind="stable")
    if len(order) == 1:
        return (0,), None
    return tuple(int(index) for index in order), _even_gap(along[order])


def in_plane_mm(header: Dataset) -> tuple[float, ...]:
    """Return ``(row, column)`` spacing from PixelSpacing, else from the detector; () where the header has none."""
    shared = item(header, "SharedFunctionalGroupsSequence")
    first = item(header, "PerFrameFunctionalGroupsSequence")
    for holder, keyword in (
        (header, "PixelSpacing"),
        (_measures(shared), "PixelSpacing"),
        (_measures(first), "PixelSpacing"),
        (header, "ImagerPixelSpacing"),
        (header, "NominalScannedPixelSpacing"),
    ):
        spacing = numbers(holder, keyword) if holder is not None else ()
        if len(spacing) == 2 and min(spacing) > 0:
            return spacing
    return ()


def between_slices_mm(header: Dataset) -> float | None:
    """Return SpacingBetweenSlices (0018,0088), or None where the header has none; SliceThickness is not the same."""
    for holder in (header, _measures(item(header, "SharedFunctionalGroupsSequence"))):
        stated = numbers(holder, "SpacingBetweenSlices") if holder is not None else ()
        if stated and stated[0] != 0:
            return abs(stated[0])
    return None


def volume_spacing_mm(gap_mm: float | None, plane_mm: tuple[float, ...]) -> tuple[float, ...] | None:
    """Return ``(slice, row, column)`` spacing, or None unless all three are known."""
    return (gap_mm, *plane_mm) if gap_mm is not None and len(plane_mm) == 2 else None


def _even_gap(along: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
    """Return the gap between slices at these places, in order; each lies within ``EVEN_WITHIN`` of an even grid."""
    gaps = np.diff(along)
    if gaps.min() < _SAME_PLACE_MM:
        raise StudyError("uneven-spacing", "two slices lie at one position")
    number = np.arange(len(along)) - (len(along) - 1) / 2
    gap = float(number @ along / (number @ number))  # least squares
    off = float(np.ptp(along - gap * number)) / 2
    if off <= max(EVEN_WITHIN * gap, min(_ROUNDED_MM, 2 * EVEN_WITHIN * gap)):
        return gap
    steps = gaps / float(np.median(gaps))
    if np.abs(steps - np.rint(steps)).max() <= 2 * EVEN_WITHIN and np.rint(steps).min() >= 1:
        lost = int(np.rint(steps).sum()) - len(steps)
        raise StudyError("incomplete-series", f"{lost} slice{' is' if lost == 1 else 's are'} missing")
    raise StudyError("uneven-spacing", f"gaps from {gaps.min():.3f} to {gaps.max():.3f} mm")


def _by_number(places: Sequence[Place]) -> tuple[int, ...]:
    order = [place.number for place in places]
    if len(places) > 1 and (None in order or len(set(order)) < len(order)):
        raise StudyError("uneven-spacing", "slices have neither positions nor distinct instance numbers")
    return tuple(sorted(range(len(order)), key=lambda index: order[index] or 0))


def _position(group: Dataset | None) -> tuple[float, ...]:
    holder = None if group is None else item(group, "PlanePositionSequence")
    position = numbers(holder, "ImagePositionPatient") if holder is not None else ()
    return position if len(position) == 3 else ()


def _orientation(group: Dataset | None) -> tuple[float, ...]:
    holder = None if group is None else item(group, "PlaneOrientationSequence")
    orientation = numbers(holder, "ImageOrientationPatient") if holder is not None else ()
    return orientation if len(orientation) == 6 else ()


def _spacing(group: Dataset | None) -> tuple[float, ...]:
    holder = _measures(group)
    spacing = numbers(holder, "PixelSpacing") if holder is not None else ()
    return spacing if len(spacing) == 2 and min(spacing) > 0 else ()


def _measures(group: Dataset | None) -> Dataset | None:
    return None if group is None else item(group, "PixelMeasuresSequence")
