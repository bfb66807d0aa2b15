"""Sensitivity and specificity at a threshold that other patients chose: by hand, by brute force, no optimism."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import roc_curve

from fedward.validation.operating_point import (
    OperatingPoint,
    at_threshold,
    choose_threshold,
    cross_fitted_calls,
    deal,
    exact_interval,
)
from tests.support.operating_point import cross_fitted

CASES = st.lists(st.tuples(st.booleans(), st.integers(-3, 3)), min_size=2, max_size=40).filter(
    lambda pairs: len({truth for truth, _ in pairs}) == 2
)


def test_a_threshold_by_hand() -> None:
    # 20 negatives 1 … 20: one of them is 5 %, so 20 may be called and 19 not; the lowest score that does is 19.5
    labels, scores = [0] * 20 + [1] * 3, [*range(1, 21), 10, 19.5, 25]
    assert choose_threshold(labels, scores) == 19.5
    assert choose_threshold(labels, scores, specificity=0.9) == 19
    # the highest score has one of two negatives: nothing of what was seen is called
    nothing = choose_threshold([0, 0, 1], [1.0, 0.5, 1.0])
    assert nothing is not None and nothing > 1.0 and np.isfinite(nothing)
    assert choose_threshold([1, 1], [0.1, 0.2]) is None and choose_threshold([0, 1], [0.1, np.nan]) is None


@settings(deadline=None)
@given(CASES)
def test_a_threshold_is_as_lax_as_scikit_learns_curve_allows(pairs: list[tuple[bool, int]]) -> None:
    labels, scores = np.array([t for t, _ in pairs]), np.array([s for _, s in pairs], dtype=float)
    threshold = choose_threshold(labels, scores)
    point = at_threshold(labels, scores, range(len(labels)), threshold=threshold)
    false_alarms, hits, _ = roc_curve(labels, scores, drop_intermediate=False)
    assert point.specificity >= 0.95 - 1e-9
    assert point.sensitivity == pytest.approx(hits[false_alarms <= 0.05 + 1e-12].max())


def test_a_given_threshold_by_hand() -> None:
    labels, scores = [1, 1, 1, 0, 0, 0, 0], [0.9, 0.5, 0.2, 0.5, 0.1, 0.1, 0.3]
    found = at_threshold(labels, scores, list("abcdefg"), threshold=0.5)
    assert (found.sensitivity, found.specificity) == (pytest.approx(2 / 3), pytest.approx(3 / 4))
    assert found.sensitivity_low <= 2 / 3 <= found.sensitivity_high
    only_well = at_threshold([0, 0], [0.1, 0.2], ["a", "b"], threshold=0.5)
    assert only_well.sensitivity is None and only_well.specificity == 1.0 and only_well.specificity_low < 0.5
    assert at_threshold([], [], [], threshold=0.5) == OperatingPoint()
    assert at_threshold([0, 1], [0.5, np.inf], ["a", "b"], threshold=0.5) == OperatingPoint()


def test_patients_are_dealt_whole_and_always_alike() -> None:
    patients = [f"{i % 17:02d}" for i in range(68)]
    labels = [int(i % 17 < 4 and i < 17) for i in range(68)]
    fold = deal(labels, patients)
    assert all(len({int(fold[i]) for i in range(68) if patients[i] == name}) == 1 for name in patients)
    # 00 to 03 have a positive and are dealt first, to folds 0, 1, 2, 3; the next card is fold 4's
    assert [int(fold[patients.index(f"{i:02d}")]) for i in range(7)] == [0, 1, 2, 3, 4, 0, 1]
    order = np.random.default_rng(0).permutation(68)
    assert np.array_equal(deal(np.array(labels)[order], np.array(patients)[order]), fold[order])


def test_no_image_is_called_by_a_threshold_that_its_own_patient_helped_to_choose() -> None:
    rng = np.random.default_rng(1)
    owner = np.repeat(np.arange(30), 2)
    labels, scores = (owner % 3 == 0).astype(int), rng.random(60)
    called, fold = cross_fitted_calls(labels, scores, owner), deal(labels, owner)
    for number in range(5):
        there = fold == number
        threshold = choose_threshold(labels[~there], scores[~there])
        assert np.array_equal(called[there], scores[there] >= threshold)
    # whatever an image's own score and label are, the thresholds that judge it stay
    bold = scores.copy()
    bold[owner == 7] = 99.0
    changed = cross_fitted_calls(labels, bold, owner)
    same_fold = (fold == fold[owner == 7][0]) & (owner != 7)
    assert np.array_equal(called[same_fold], changed[same_fold])


def test_noise_has_no_skill_where_the_same_patients_would_show_some() -> None:
    honest, flattering = [], []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        labels, scores, owner = np.repeat([1, 0], [20, 20]), rng.random(40), np.arange(40)
        for skill, point in (
            (honest, cross_fitted(labels, scores, owner)),
            (flattering, at_threshold(labels, scores, owner, threshold=choose_threshold(labels, scores))),
        ):
            skill.append(point.sensitivity + point.specificity - 1)  # Youden's index, 0 for noise
    assert abs(np.mean(honest)) < 0.02
    assert np.mean(flattering) > 0.04


@pytest.mark.parametrize(("labels", "patients"), [([1, 1, 1], "abc"), ([1, 0, 0, 0], "abcd"), ([1, 0], "aa")])
def test_where_others_lack_a_class_there_is_no_value(labels: list[int], patients: str) -> None:
    assert cross_fitted(labels, np.linspace(0, 1, len(labels)), list(patients)) == OperatingPoint()


def test_two_of_each_are_enough_and_the_interval_says_how_little_that_is() -> None:
    found = cross_fitted([1, 1, 0, 0], [0.9, 0.8, 0.2, 0.1], list("abcd"))
    # a is judged by b's 0.8 and found; b by a's 0.9 and missed; c and d by 0.8 and left alone
    assert (found.sensitivity, found.specificity) == (0.5, 1.0)
    assert found.sensitivity_high - found.sensitivity_low > 0.8 and found.specificity_low < 0.2


def test_perfect_calls_have_clopper_and_pearsons_interval_over_patients() -> None:
    labels = np.repeat([1, 0], [30, 60])
    found = at_threshold(labels, labels * 0.8, np.arange(90) // 3, threshold=0.5)  # 10 sick patients, 20 well
    assert (found.sensitivity, found.sensitivity_high) == (1.0, 1.0)
    assert found.sensitivity_low == pytest.approx(0.025 ** (1 / 10))
    assert found.specificity_low == pytest.approx(0.025 ** (1 / 20))


@pytest.mark.parametrize(("won", "trials"), [(0, 5), (5, 5), (3, 10), (1, 1), (47, 50)])
def test_exact_interval_beside_scipy(won: int, trials: int) -> None:
    expected = binomtest(won, trials).proportion_ci(0.95, method="exact")
    assert exact_interval(won / trials, trials) == pytest.approx((expected.low, expected.high))


def test_the_interval_covers_what_is_true() -> None:
    covered = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        labels = np.repeat([1, 0], [30, 70])
        scores = rng.normal(size=100) + labels * 1.5
        found = at_threshold(labels, scores, np.arange(100), threshold=1.0)
        covered += found.sensitivity_low <= 0.6914625 <= found.sensitivity_high  # P(N(1.5, 1) >= 1)
    assert 0.88 <= covered / 200 <= 0.99
