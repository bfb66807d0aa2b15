"""The weighted mean: hand-worked, independent of the order of arrival, and refusing what cannot be averaged."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fedward.aggregation.fedavg import site_weight, weighted_mean
from fedward.errors import JobError

FLOATS = st.floats(-1e6, 1e6, width=32)


def test_hand_worked() -> None:
    mean = weighted_mean({"b": ({"w": np.array([4.0, 8.0], np.float32)}, 2), "a": ({"w": np.float32([1, 2])}, 1)})
    np.testing.assert_array_equal(mean["w"], np.float32([3, 6]))
    assert mean["w"].dtype == np.float32


def test_scalars_and_names_sorted() -> None:
    site = {"z": np.array(1.0, np.float32), "a": np.zeros((0, 3), np.float32)}
    mean = weighted_mean({"one": (site, 1.0), "two": ({**site, "z": np.array(2.0, np.float32)}, 3.0)})
    assert list(mean) == ["a", "z"]
    assert mean["z"].shape == () and mean["z"] == np.float32(1.75)
    assert mean["a"].shape == (0, 3)


def test_counts_stay_whole_numbers() -> None:
    counts = {"n": np.array([2, 3, 0], np.int64)}
    mean = weighted_mean({"a": (counts, 1), "b": ({"n": np.array([3, 3, 0], np.int64)}, 1)})
    np.testing.assert_array_equal(mean["n"], [2, 3, 0])  # 2.5 rounds to the even 2
    assert mean["n"].dtype == np.int64


def test_a_site_of_weight_zero_counts_nothing() -> None:
    mean = weighted_mean({"a": ({"w": np.float32([1])}, 5), "b": ({"w": np.float32([1e30])}, 0)})
    np.testing.assert_array_equal(mean["w"], np.float32([1]))


@given(
    arrays=st.lists(hnp.arrays(np.float32, (3, 2), elements=FLOATS), min_size=2, max_size=5),
    weights=st.lists(st.floats(0.1, 1e4), min_size=5, max_size=5),
    random=st.randoms(use_true_random=False),
)
def test_order_of_arrival_changes_no_bit(arrays: list, weights: list[float], random) -> None:
    updates = [(f"site-{i}", ({"w": array}, weights[i])) for i, array in enumerate(arrays)]
    mean = weighted_mean(dict(updates))["w"]
    random.shuffle(updates)
    assert weighted_mean(dict(updates))["w"].tobytes() == mean.tobytes()


@given(
    arrays=st.lists(hnp.arrays(np.float32, (4,), elements=FLOATS), min_size=1, max_size=4),
    weights=st.lists(st.floats(0.1, 1e4), min_size=4, max_size=4),
)
def test_mean_lies_between_the_sites_and_inputs_stay(arrays: list, weights: list[float]) -> None:
    before = [array.copy() for array in arrays]
    mean = weighted_mean({str(i): ({"w": a}, weights[i]) for i, a in enumerate(arrays)})["w"]
    slack = 1e-6 * np.abs(arrays).max(axis=0)
    assert (mean >= np.min(arrays, axis=0) - slack).all()
    assert (mean <= np.max(arrays, axis=0) + slack).all()
    for array, copy in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array, copy)


ONE = {"w": np.ones(2, np.float32)}


@pytest.mark.parametrize(
    ("other", "weight", "says"),
    [
        ({"v": np.ones(2, np.float32)}, 1.0, "only one of a and b"),
        ({**ONE, "v": np.ones(2, np.float32)}, 1.0, "tensor v"),
        ({"w": np.ones(3, np.float32)}, 1.0, "shape"),
        ({"w": np.ones(2, np.float64)}, 1.0, "dtype"),
        ({"w": np.array([1, np.nan], np.float32)}, 1.0, "not finite"),
        ({"w": np.array([1, np.inf], np.float32)}, 1.0, "not finite"),
        (ONE, -1.0, "number of patients"),
        (ONE, float("nan"), "number of patients"),
        (ONE, float("inf"), "number of patients"),
    ],
)
def test_refuses(other: dict, weight: float, says: str) -> None:
    with pytest.raises(JobError, match=says) as caught:
        weighted_mean({"a": (ONE, 1.0), "b": (other, weight)})
    assert "b" in str(caught.value) and "\n" not in str(caught.value)


def test_refuses_nobody_and_no_weight() -> None:
    with pytest.raises(JobError, match="no site"):
        weighted_mean({})
    with pytest.raises(JobError, match="sum to nothing"):
        weighted_mean({"a": (ONE, 0.0), "b": (ONE, 0.0)})


def test_needs_numpy_only() -> None:
    code = (
        "import sys, fedward.aggregation.fedavg; sys.exit(any(m in sys.modules for m in ('torch', 'monai', 'scipy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@given(patients=st.integers(min_value=1, max_value=10**6))
def test_a_site_counts_by_its_patients_or_as_much_as_any_other(patients: int) -> None:
    assert site_weight("patients", patients=patients) == patients
    assert site_weight("equal", patients=patients) == site_weight("equal", patients=1)
