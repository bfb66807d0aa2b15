"""AUC and its kin beside scikit-learn, a brute-force bootstrap and DeLong's variance."""

import time
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from fedward.validation.bootstrap import SEED, mean_interval, patient_interval, patient_intervals
from fedward.validation.ranking import auroc, auroc_interval, average_precision, drawn_areas

CASES = st.lists(st.tuples(st.booleans(), st.integers(-3, 3)), min_size=2, max_size=40).filter(
    lambda pairs: len({truth for truth, _ in pairs}) == 2
)


def test_hand_worked() -> None:
    # positives 3, 1; negatives 2, 1: pairs won 3>2, 3>1, tied 1=1, lost 1<2 -> 2.5 of 4
    assert auroc([1, 0, 1, 0], [3, 2, 1, 1]) == 0.625
    assert auroc([1, 0], [1, 0]) == 1.0
    assert auroc([1, 0], [0, 1]) == 0.0
    # recall 1/2 at precision 1, then recall 1 at precision 2/4
    assert average_precision([1, 0, 1, 0], [3, 2, 1, 1]) == 0.5 * 1 + 0.5 * 0.5


@settings(deadline=None)
@given(CASES)
def test_as_scikit_learn(pairs: list[tuple[bool, int]]) -> None:
    labels, scores = np.array([t for t, _ in pairs]), np.array([s for _, s in pairs], dtype=float)
    assert auroc(labels, scores) == pytest.approx(roc_auc_score(labels, scores))
    assert average_precision(labels, scores) == pytest.approx(average_precision_score(labels, scores))


@pytest.mark.parametrize("labels", [[1, 1], [0, 0], []])
def test_one_class_has_no_value(labels: list[int]) -> None:
    scores = [0.5] * len(labels)
    for measure in (auroc, average_precision):
        assert measure(labels, scores) is None
    assert auroc_interval(labels, scores, list("ab")[: len(labels)]) is None


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_scores_that_are_not_finite_have_no_value(bad: float) -> None:
    for measure in (auroc, average_precision):
        assert measure([0, 1, 1], [0.1, bad, 0.3]) is None


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="one length"):
        auroc([0, 1], [0.5])


def _cohort(seed: int, patients: int, images: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    sick = rng.random(patients) < 0.4
    owner = np.repeat(np.arange(patients), images)
    return sick[owner].astype(int), sick[owner] + rng.normal(size=len(owner)), owner


def test_interval_is_the_brute_force_one() -> None:
    labels, scores, owner = _cohort(3, patients=30, images=2)
    draws = np.random.default_rng(SEED).multinomial(30, np.full(30, 1 / 30), size=200)
    values = []
    for counts in draws:
        chosen = np.concatenate([np.flatnonzero(owner == p) for p in np.repeat(np.arange(30), counts)])
        values.append(roc_auc_score(labels[chosen], scores[chosen]))
    expected = np.quantile(values, [0.025, 0.975])
    assert auroc_interval(labels, scores, owner, resamples=200) == pytest.approx(tuple(expected))


def test_interval_is_as_wide_as_delong() -> None:
    labels, scores, owner = _cohort(1, patients=400)
    positive, negative = scores[labels == 1], scores[labels == 0]
    won = (positive[:, None] > negative[None, :]).astype(float)  # DeLong et al. 1988: variance of the placements
    deviation = np.sqrt(won.mean(1).var(ddof=1) / len(positive) + won.mean(0).var(ddof=1) / len(negative))
    low, high = auroc_interval(labels, scores, owner)
    assert low < won.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * deviation, rel=0.12)


def test_a_patients_images_stay_together() -> None:
    labels, scores, owner = _cohort(5, patients=60)
    once = auroc_interval(labels, scores, owner)
    assert auroc_interval(np.repeat(labels, 4), np.repeat(scores, 4), np.repeat(owner, 4)) == pytest.approx(once)
    as_strangers = auroc_interval(np.repeat(labels, 4), np.repeat(scores, 4), np.arange(240))
    assert as_strangers[1] - as_strangers[0] < 0.7 * (once[1] - once[0])


def test_interval_is_reproducible_quick_and_does_not_depend_on_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    labels, scores, owner = _cohort(7, patients=500)
    started = time.process_time()
    first = auroc_interval(labels, scores, owner)
    assert time.process_time() - started < 1.0
    monkeypatch.setattr("fedward.validation.bootstrap.CHUNK", 10_000)
    np.random.seed(99)
    assert auroc_interval(labels, scores, owner) == first


def test_too_little_for_an_interval() -> None:
    assert auroc_interval([0, 1], [0.1, 0.9], ["a", "a"]) is None  # one patient
    assert auroc_interval([0, 1, 0], [0.1, 0.9, 0.2], list("abc")) is None  # 3 of 10 draws lack the positive


def test_several_statistics_share_their_draws() -> None:
    labels, scores, owner = _cohort(2, patients=80)
    one, other = drawn_areas(labels, scores), drawn_areas(labels, -scores)
    found = patient_intervals(lambda counts: np.stack([one(counts), other(counts)], axis=1), owner)
    assert found == [auroc_interval(labels, scores, owner), auroc_interval(labels, -scores, owner)]
    assert patient_intervals(lambda counts: counts, ["a", "a"]) == []


# Hanley and McNeil 1982 (Radiology 143:29-36), table I: 109 CT images, ratings 1 (definitely normal) to 5 (definitely
# abnormal), 58 normal and 51 abnormal; area 0.893, standard error 0.032. The same table by DeLong's method: Stata Base
# Reference Manual, roctab, example 1: area 0.8932, standard error 0.0307, 95 % 0.83295 to 0.95339.
NORMAL, ABNORMAL = (33, 6, 6, 11, 2), (3, 2, 2, 11, 33)


def _ratings() -> tuple[np.ndarray, np.ndarray]:
    labels = np.repeat([0, 1], [58, 51])
    return labels, np.concatenate([np.repeat(np.arange(1, 6), counts) for counts in (NORMAL, ABNORMAL)]).astype(float)


def _delong_error(labels: np.ndarray, scores: np.ndarray) -> float:
    positive, negative = scores[labels == 1], scores[labels == 0]
    won = (positive[:, None] > negative[None, :]) + 0.5 * (positive[:, None] == negative[None, :])
    return float(np.sqrt(won.mean(1).var(ddof=1) / len(positive) + won.mean(0).var(ddof=1) / len(negative)))


def test_the_published_example() -> None:
    labels, ratings = _ratings()
    assert auroc(labels, ratings) == pytest.approx(0.8932, abs=5e-5)
    error = _delong_error(labels, ratings)
    assert error == pytest.approx(0.0307, abs=5e-5)
    assert auroc(labels, ratings) - 1.959964 * error == pytest.approx(0.83295, abs=5e-6)
    low, high = auroc_interval(labels, ratings, np.arange(109))
    assert (low, high) == pytest.approx((0.83295, 0.95339), abs=0.012)
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.08)


def test_mean_interval_leaves_out_what_is_missing() -> None:
    values = np.array([0.8, np.nan, 0.9, 0.7, 0.85])
    low, high = mean_interval(values, list("abcde"))
    assert 0.7 <= low < 0.8125 < high <= 0.9
    assert mean_interval(np.array([np.nan, np.nan]), list("ab")) is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert patient_interval(lambda counts: np.full(len(counts), np.nan), list("abc")) is None
