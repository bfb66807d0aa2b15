"""The median of each value: NumPy's own as the oracle, and a minority that cannot move it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fedward.aggregation.median import coordinate_median
from fedward.errors import JobError

FLOATS = st.floats(-1e6, 1e6, width=32)
ARRAYS = hnp.arrays(np.float32, (3, 2), elements=FLOATS)


def of(arrays: list[np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    return {f"site-{i}": {"w": array} for i, array in enumerate(arrays)}


def test_hand_worked() -> None:
    arrays = [np.float32([1, 10, -3]), np.float32([2, 30, -1]), np.float32([9, 20, -2])]
    np.testing.assert_array_equal(coordinate_median(of(arrays))["w"], np.float32([2, 20, -2]))
    np.testing.assert_array_equal(coordinate_median(of(arrays[:2]))["w"], np.float32([1.5, 20, -2]))


def test_scalars_empty_tensors_and_names_sorted() -> None:
    one = {"z": np.array(1.0, np.float32), "a": np.zeros((0, 3), np.float32)}
    median = coordinate_median({"one": one, "two": {**one, "z": np.array(2.0, np.float32)}})
    assert list(median) == ["a", "z"]
    assert median["z"].shape == () and median["z"] == np.float32(1.5)
    assert median["a"].shape == (0, 3)


def test_counts_stay_whole_numbers() -> None:
    median = coordinate_median(of([np.array([2, 3], np.int64), np.array([3, 3], np.int64)]))["w"]
    np.testing.assert_array_equal(median, [2, 3])  # 2.5 rounds to the even 2
    assert median.dtype == np.int64


@given(st.lists(ARRAYS, min_size=1, max_size=7))
def test_it_is_numpys_median_and_inputs_stay(arrays: list[np.ndarray]) -> None:
    before = [array.copy() for array in arrays]
    median = coordinate_median(of(arrays))["w"]
    oracle = np.median(np.array(arrays, np.float64), axis=0).astype(np.float32)
    np.testing.assert_array_equal(median, oracle)
    assert median.dtype == np.float32
    for array, copy in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array, copy)


@given(st.lists(ARRAYS, min_size=2, max_size=6), st.randoms(use_true_random=False))
def test_order_of_arrival_changes_no_bit(arrays: list[np.ndarray], random) -> None:
    updates = list(of(arrays).items())
    median = coordinate_median(dict(updates))["w"]
    random.shuffle(updates)
    assert coordinate_median(dict(updates))["w"].tobytes() == median.tobytes()


@given(honest=st.lists(ARRAYS, min_size=2, max_size=6), wrong=st.lists(ARRAYS, min_size=0, max_size=5))
def test_fewer_than_half_cannot_move_it_beyond_the_others(honest: list[np.ndarray], wrong: list[np.ndarray]) -> None:
    wrong = [np.float32(1e30) * (array + np.float32(0.5)) for array in wrong[: len(honest) - 1]]
    median = coordinate_median(of([*wrong, *honest]))["w"]
    assert (median >= np.min(honest, axis=0)).all()
    assert (median <= np.max(honest, axis=0)).all()


ONE = {"w": np.ones(2, np.float32)}


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"v": np.ones(2, np.float32)}, "only one of a and b"),
        ({"w": np.ones(3, np.float32)}, "shape"),
        ({"w": np.ones(2, np.float64)}, "dtype"),
        ({"w": np.array([1, np.nan], np.float32)}, "not finite"),
        ({"w": np.array([1, np.inf], np.float32)}, "not finite"),
    ],
)
def test_refuses_what_the_mean_refuses(other: dict[str, np.ndarray], says: str) -> None:
    with pytest.raises(JobError, match=says) as caught:
        coordinate_median({"a": ONE, "b": other})
    assert "b" in str(caught.value) and "\n" not in str(caught.value)


def test_refuses_nobody() -> None:
    with pytest.raises(JobError, match="no site"):
        coordinate_median({})
