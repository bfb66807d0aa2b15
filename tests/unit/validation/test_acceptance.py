"""Pass, fail, undecided, insufficient support; and what changed between two models."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedward.validation.acceptance import judge, supported
from fedward.validation.comparison.paired_difference import auc_change, dice_change
from fedward.validation.ranking import auroc


@pytest.mark.parametrize(
    ("value", "interval", "verdict"),
    [
        (0.90, (0.85, 0.95), "pass"),
        (0.85, (0.80, 0.90), "pass"),
        (0.82, (0.79999, 0.90), "undecided"),
        (0.78, (0.70, 0.80), "undecided"),
        (0.70, (0.60, 0.79999), "fail"),
        (None, None, "insufficient support"),
        (0.99, None, "insufficient support"),
    ],
)
def test_the_whole_interval_decides(value: float | None, interval: tuple[float, float] | None, verdict: str) -> None:
    found = judge(value, interval, patients=100, threshold=0.8)
    assert found.verdict == verdict
    assert (found.more_patients is not None) == (verdict == "undecided")


def test_how_many_more_would_decide() -> None:
    """0.85 with a low end of 0.75 against 0.80: the half of 0.10 has to shrink to 0.05, so four times the patients."""
    assert judge(0.85, (0.75, 0.93), patients=50, threshold=0.8).more_patients == 150
    below = judge(0.75, (0.65, 0.85), patients=50, threshold=0.8)
    assert below.more_patients == 150
    assert "150 more" in below.why
    near = judge(0.8, (0.7, 0.9), patients=50, threshold=0.8)
    assert near.more_patients is None
    assert "no number" in near.why


@given(
    low=st.floats(0, 1),
    high=st.floats(0, 1),
    value=st.floats(0, 1),
    threshold=st.floats(0, 1),
    n=st.integers(2, 10_000),
)
def test_so_many_more_would_decide_it(low: float, high: float, value: float, threshold: float, n: int) -> None:
    low, value, high = sorted((low, value, high))
    found = judge(value, (low, high), patients=n, threshold=threshold)
    if found.more_patients is not None:
        shrink = math.sqrt(n / (n + found.more_patients))
        half = value - low if value >= threshold else high - value
        assert half * shrink <= abs(value - threshold) * (1 + 1e-6)


def test_a_perfect_area_of_few_patients_is_no_pass() -> None:
    """Three of three pairs won: 0.025^(1/3) = 0.292 is not refuted; with 50 of each kind it is 0.929."""
    assert supported(1.0, (1.0, 1.0), positive_patients=3, negative_patients=90) == pytest.approx(
        (0.2924, 1.0), abs=1e-4
    )
    assert supported(1.0, (1.0, 1.0), positive_patients=50, negative_patients=90)[0] == pytest.approx(0.9289, abs=1e-4)
    assert supported(0.0, (0.0, 0.0), positive_patients=3, negative_patients=3) == pytest.approx(
        (0.0, 0.7076), abs=1e-4
    )
    assert supported(0.9, (0.8, 0.95), positive_patients=3, negative_patients=3) == (0.8, 0.95)
    few = supported(1.0, (1.0, 1.0), positive_patients=3, negative_patients=3)
    assert judge(1.0, few, patients=6, threshold=0.8).verdict == "undecided"


def test_the_bound_of_a_perfect_area_is_clopper_and_pearsons() -> None:
    from scipy.stats import binomtest

    wanted = binomtest(12, 12).proportion_ci(0.95, method="exact").low
    assert supported(1.0, (1.0, 1.0), positive_patients=12, negative_patients=40)[0] == pytest.approx(wanted)


def two_models(*, gain: float, patients: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
    rng = np.random.default_rng(5)
    labels = (np.arange(2 * patients) // 2 % 2)[:, np.newaxis]
    hard = rng.normal(0, 1, labels.shape)
    before = hard + labels
    return labels, before, before + gain * labels, [f"p{i // 2}" for i in range(2 * patients)]


def test_a_change_is_told_on_the_same_draws() -> None:
    """Both intervals overlap widely, and yet the difference is clear: both models err on the same hard images."""
    labels, before, after, patients = two_models(gain=0.5)
    found = auc_change(labels, before, after, patients)
    wanted = auroc(labels[:, 0], after[:, 0]), auroc(labels[:, 0], before[:, 0])
    assert wanted[0] is not None
    assert wanted[1] is not None
    assert found.value == pytest.approx(wanted[0] - wanted[1])
    assert found.low is not None
    assert found.low > 0


def test_no_change_is_none_and_worse_is_worse() -> None:
    labels, before, _, patients = two_models(gain=0.0)
    same = auc_change(labels, before, before, patients)
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)
    worse = auc_change(labels, before, -before, patients)
    assert worse.high is not None
    assert worse.high < 0
    assert auc_change(np.ones_like(labels), before, before, patients).value is None


def test_dice_changes_by_patient_and_skips_what_has_no_structure() -> None:
    before = np.array([0.5, 0.6, np.nan, 0.7])
    found = dice_change(before, before + 0.1)
    assert (found.value, found.low, found.high) == pytest.approx((0.1, 0.1, 0.1))
    assert dice_change(np.full(2, np.nan), np.full(2, np.nan)).value is None
