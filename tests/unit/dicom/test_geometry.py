"""Slices in order along their normal, with the gap between them, or a reason why not."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from fedward.dicom.geometry import Place, in_plane_mm, order_slices, place_of, volume_spacing_mm
from fedward.errors import StudyError
from tests.support.images.dicom_files import image

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def places(positions: list[float], rotation: Rotation | None = None) -> list[Place]:
    """Slices at these places along the normal of a rotated plane,."""
    turn = Rotation.identity() if rotation is None else rotation
    row, column, normal = turn.as_matrix().T
    return [
        Place(tuple(normal * at + [5.0, -7.0, 11.0]), (*row, *column), number) for number, at in enumerate(positions)
    ]


@given(
    order=st.permutations(range(7)),
    angles=st.tuples(*[st.floats(-180, 180)] * 3),
    gap=st.floats(0.2, 12),
    start=st.floats(-500, 500),
)
def test_any_order_and_any_tilt_are_undone(
    order: list[int], angles: tuple[float, float, float], gap: float, start: float
) -> None:
    found, spacing = order_slices(places([start + gap * k for k in order], Rotation.from_euler("xyz", angles, True)))
    assert [order[index] for index in found] == list(range(7))
    assert spacing == pytest.approx(gap, rel=1e-6)


@given(noise=st.lists(st.floats(-0.01, 0.01), min_size=6, max_size=6))
def test_rounded_positions_are_even(noise: list[float]) -> None:
    assert order_slices(places([k + shift for k, shift in enumerate(noise)]))[0] == (0, 1, 2, 3, 4, 5)


@pytest.mark.parametrize(
    ("reason", "positions"),
    [
        ("incomplete-series", [0, 1, 2, 4, 5]),
        ("incomplete-series", [0, 1, 2, 5, 6]),
        ("uneven-spacing", [0, 1, 2, 3.5, 4.5]),
        ("uneven-spacing", [0, 1, 1, 2]),
        ("incomplete-series", []),
    ],
)
def test_gaps_are_named(reason: str, positions: list[float]) -> None:
    with pytest.raises(StudyError) as refusal:
        order_slices(places(positions))
    assert refusal.value.reason == reason


def test_slices_that_are_not_parallel_are_no_volume() -> None:
    with pytest.raises(StudyError) as refusal:
        order_slices([*places([0, 1]), *places([2], Rotation.from_euler("x", 5, True))])
    assert refusal.value.reason == "mixed-series"


def test_without_positions_the_instance_number_orders_and_the_gap_is_unknown() -> None:
    assert order_slices([Place(number=3), Place(number=1), Place(number=2)]) == ((1, 2, 0), None)


@pytest.mark.parametrize("numbers", [(1, 1), (1, None), (None, None)])
def test_without_positions_or_numbers_there_is_no_order(numbers: tuple[int | None, int | None]) -> None:
    with pytest.raises(StudyError) as refusal:
        order_slices([Place(number=number) for number in numbers])
    assert refusal.value.reason == "uneven-spacing"


def test_directions_that_span_no_plane_are_refused() -> None:
    bad = [Place((0.0, 0.0, float(k)), (1.0, 0.0, 0.0, 1.0, 0.0, 0.0), k) for k in range(3)]
    with pytest.raises(StudyError):
        order_slices(bad)


def test_one_slice_has_no_gap() -> None:
    assert order_slices(places([3.0])) == ((0,), None)


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({"PixelSpacing": [0.5, 0.6], "ImagerPixelSpacing": [9, 9]}, (0.5, 0.6)),
        ({"ImagerPixelSpacing": [0.2, 0.3]}, (0.2, 0.3)),
        ({"NominalScannedPixelSpacing": [0.4, 0.4]}, (0.4, 0.4)),
        ({"PixelSpacing": [0, 0.6]}, ()),
        ({}, ()),
    ],
)
def test_spacing_in_the_plane(tags: dict[str, object], expected: tuple[float, ...]) -> None:
    assert in_plane_mm(image(**tags)) == expected


def test_spacing_of_a_volume_needs_all_three() -> None:
    assert volume_spacing_mm(2.0, (0.5, 0.6)) == (2.0, 0.5, 0.6)
    assert volume_spacing_mm(None, (0.5, 0.6)) is None
    assert volume_spacing_mm(2.0, ()) is None


def test_a_malformed_position_is_as_good_as_none(tmp_path: Path) -> None:
    assert place_of(image(ImagePositionPatient=[1.0, 2.0], InstanceNumber=4)) == Place((), (), 4)


@pytest.mark.parametrize("gap", [1.25, 0.625, 2.5, 0.7])
@pytest.mark.parametrize("start", [0.0, -73.15, 12.34])
def test_positions_that_a_header_rounds_to_a_tenth_of_a_millimetre_are_even(gap: float, start: float) -> None:
    places = [Place((0.0, 0.0, round(start + gap * n, 1)), AXIAL, n) for n in range(60)]
    assert order_slices(places)[1] == pytest.approx(gap, rel=2e-3)


def test_a_slice_without_a_position_among_others_makes_no_volume() -> None:
    places = [Place((0.0, 0.0, 2.0 * n), AXIAL, n) for n in range(4)]
    for odd in (Place((), AXIAL, 4), Place((0.0, 0.0, 8.0), (), 4)):
        with pytest.raises(StudyError, match="no position, or no orientation"):
            order_slices([*places, odd])


def test_one_missing_slice_is_found_wherever_it_is() -> None:
    for lost in range(1, 39):
        places = [Place((0.0, 0.0, 1.25 * n), AXIAL, n) for n in range(40) if n != lost]
        with pytest.raises(StudyError, match="1 slice is missing"):
            order_slices(places)
