"""A mask's frame on a slice: highdicom says where each pixel lies in the patient, and so where it has to come back."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
from highdicom.spatial import ImageToReferenceTransformer, ReferenceToImageTransformer
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from fedward.dicom.placement import SAME, Planes, fitting_slices, grid_of, implied, place, same_voxels
from fedward.errors import StudyError

SHAPE, SPACING = (9, 7), (0.7, 0.9)


def plane(angles: tuple[float, float, float], shape: tuple[int, int] = SHAPE) -> Planes:
    axes = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    return Planes(((-31.5, 12.25, 80.0),), (*axes[0], *axes[1]), SPACING, shape)


def turned(image: Planes, *, swap: bool, rows: int, columns: int, box: tuple[int, int, int, int]) -> Planes:
    """The plane of a mask that stores a box (top, left, bottom, right) of the image, turned; positions by highdicom."""
    to_mm = ImageToReferenceTransformer(
        image_position=image.positions_mm[0], image_orientation=image.orientation, pixel_spacing=image.spacing_mm
    )
    top, left, bottom, right = box
    first = np.array([[left + 0.5 if columns > 0 else right - 0.5, top + 0.5 if rows > 0 else bottom - 0.5]])
    position = tuple(to_mm(first)[0])
    along_row = np.array(image.orientation[:3]) * columns
    along_column = np.array(image.orientation[3:]) * rows
    extent = (bottom - top, right - left)
    if swap:
        return Planes((position,), (*along_column, *along_row), image.spacing_mm[::-1], extent[::-1])
    return Planes((position,), (*along_row, *along_column), image.spacing_mm, extent)


@settings(max_examples=300, deadline=None)
@given(
    angles=st.tuples(*[st.floats(-180, 180)] * 3),
    swap=st.booleans(),
    rows=st.sampled_from([1, -1]),
    columns=st.sampled_from([1, -1]),
    corners=st.tuples(st.integers(0, 4), st.integers(0, 3), st.integers(5, 9), st.integers(4, 7)),
    noise=st.floats(-0.02, 0.02),
)
def test_marks_come_back_where_they_lie_in_the_patient(
    angles: tuple[float, float, float],
    swap: bool,
    rows: int,
    columns: int,
    corners: tuple[int, int, int, int],
    noise: float,
) -> None:
    image = plane(angles)
    mask = turned(image, swap=swap, rows=rows, columns=columns, box=corners)
    mask = Planes((tuple(np.add(mask.positions_mm[0], noise)),), mask.orientation, mask.spacing_mm, mask.shape)
    stored = np.random.default_rng(corners).random(mask.shape) < 0.5
    assert fitting_slices(mask, image) == {0: (0,)}
    found = place(stored, grid_of(mask, 0, image, 0), SHAPE)
    to_mm = ImageToReferenceTransformer(
        image_position=mask.positions_mm[0], image_orientation=mask.orientation, pixel_spacing=mask.spacing_mm
    )
    to_pixels = ReferenceToImageTransformer(
        image_position=image.positions_mm[0], image_orientation=image.orientation, pixel_spacing=image.spacing_mm
    )
    expected = np.zeros(SHAPE, dtype=bool)
    for row, column in np.argwhere(stored):
        across, down = to_pixels(to_mm(np.array([[column + 0.5, row + 0.5]])))[0][:2]
        expected[int(np.floor(down)), int(np.floor(across))] = True
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("shift", "scale", "shape", "says"),
    [
        ((0.35, 0, 0), 1.0, (9, 7), "lie between"),
        ((0, 0.2, 0), 1.0, (9, 7), "lie between"),
        ((0, 0, 0), 2.0, (4, 3), "another size or direction"),
        ((0, 0, 0), 1.03, (9, 7), "lie between|another size"),
        ((-0.9, 0, 0), 1.0, (9, 7), "reaches beyond"),
        ((0, 0.7, 0), 1.0, (9, 7), "reaches beyond"),
        ((0, 0, 0), 1.0, (9, 8), "reaches beyond"),
    ],
)
def test_what_fits_no_pixels_is_refused(
    shift: tuple[float, float, float], scale: float, shape: tuple[int, int], says: str
) -> None:
    image = implied(SPACING, SHAPE)
    mask = Planes((shift,), image.orientation, tuple(scale * mm for mm in SPACING), shape)
    with pytest.raises(StudyError, match=says) as refusal:
        grid_of(mask, 0, image, 0)
    assert refusal.value.reason == "mask-misfit"


def test_planes_that_are_not_parallel_or_not_square_are_refused() -> None:
    image = implied(SPACING, SHAPE)
    for orientation in ((1, 0, 0, 0, 0, 1), (1, 0, 0, 0.5, 0.87, 0), (0.5, 0, 0, 0, 1, 0)):
        with pytest.raises(StudyError) as refusal:
            fitting_slices(Planes(((0, 0, 0),), tuple(map(float, orientation)), SPACING, SHAPE), image)
        assert refusal.value.reason == "mask-misfit"


def test_a_frame_lies_in_the_slice_of_its_plane_and_in_no_other() -> None:
    positions = tuple((0.0, 0.0, 2.5 * number) for number in range(5))
    image = Planes(positions, (1.0, 0, 0, 0, 1.0, 0), SPACING, SHAPE)
    mask = Planes(((0, 0, 5.0), (0, 0, 5.1), (0, 0, 5.2), (0, 0, 11.0)), image.orientation, SPACING, SHAPE)
    assert fitting_slices(mask, image) == {0: (2,), 1: (2,)}
    tilted = (1.0, 0.0, 0.0, 0.0, float(np.cos(0.1)), float(np.sin(0.1)))
    assert fitting_slices(Planes(((0, 0, 5.0),), tilted, SPACING, SHAPE), image) == {}


def test_slices_closer_than_the_tolerance_are_told_apart() -> None:
    positions = tuple((0.0, 0.0, 0.05 * number) for number in range(3))
    image = Planes(positions, (1.0, 0, 0, 0, 1.0, 0), SPACING, SHAPE)
    assert fitting_slices(image, image) == {0: (0,), 1: (1,), 2: (2,)}


def test_a_mask_stored_as_its_image_is_moved_by_nothing() -> None:
    image = plane((10, 20, 30))
    assert grid_of(image, 0, image, 0) == SAME
    stored = np.random.default_rng(0).random(SHAPE) < 0.5
    np.testing.assert_array_equal(place(stored, SAME, SHAPE), stored)


def test_a_grid_that_leaves_the_slice_is_refused_and_never_wrapped() -> None:
    for grid in ((1, 0, 1, 0, 1, 0), (-1, 0, 7, 0, 1, 0), (1, 0, 0, 0, -1, 5), (0, 1, 0, 1, 0, 0)):
        with pytest.raises(StudyError, match="reaches beyond"):
            place(np.ones(SHAPE, dtype=bool), grid, SHAPE)


@settings(max_examples=100, deadline=None)
@given(
    angles=st.tuples(*[st.floats(-40, 40)] * 3),
    moved=st.tuples(*[st.floats(-3, 3)] * 3),
    scale=st.sampled_from([1.0, 1.0, 1.0, 1.01, 1.5]),
)
def test_two_affines_are_one_grid_if_no_corner_moves_by_a_tenth_of_a_voxel(
    angles: tuple[float, ...], moved: tuple[float, ...], scale: float
) -> None:
    turn = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() @ np.diag([0.5, 0.7, 2.0])
    image = nibabel.affines.from_matvec(turn, [1.0, 2.0, 3.0])
    mask = nibabel.affines.from_matvec(turn * scale, np.add([1.0, 2.0, 3.0], moved))
    shape = (20, 30, 10)
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(shape) - 1)
    there = nibabel.affines.apply_affine(np.linalg.inv(image) @ mask, corners)
    apart = float(np.abs(there - corners).max())
    if abs(apart - 0.1) > 1e-6:
        assert same_voxels(mask.ravel().tolist(), image.ravel().tolist(), shape) == (apart < 0.1)


def test_an_affine_that_is_none_is_no_grid() -> None:
    image = np.eye(4).ravel().tolist()
    for bad in (np.zeros((4, 4)), np.full((4, 4), np.nan), np.diag([1.0, 1.0, np.inf, 1.0])):
        assert not same_voxels(bad.ravel().tolist(), image, (3, 3, 3))
        assert not same_voxels(image, bad.ravel().tolist(), (3, 3, 3))
