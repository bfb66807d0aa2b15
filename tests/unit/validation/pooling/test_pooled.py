"""One AUC from summed histograms: scikit-learn's area, DeLong's interval; copies of an image narrow nothing."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from fedward.errors import EncryptionError, JobError
from fedward.settings import Disclosure, JobSpec, parse
from fedward.validation.calibration import reliability
from fedward.validation.pooling.pooled import (
    BINS,
    bin_edges,
    histogram_layout,
    histogram_length,
    pooled_scores,
    score_histogram,
)
from fedward.validation.predictions import Predictions
from tests.conftest import tiny_job_content
from tests.support.disclosure import release


def job(**data: Any) -> JobSpec:
    content = tiny_job_content()
    content["data"] |= data
    return parse(JobSpec, content, where="test")


MULTILABEL = {"target": "multilabel", "labels": ["nodule", "effusion"]}
MULTICLASS = {"target": "multiclass", "labels": ["finding"], "classes": ["none", "nodule", "effusion"]}


def segmentation() -> JobSpec:
    content = tiny_job_content()
    content["job"]["task"] = "segmentation"
    content["data"] |= {"labels": [], "structures": ["1"]}
    content["training"]["loss"] = {"name": "DiceLoss"}
    return parse(JobSpec, content, where="test")


def predictions(labels: Any, scores: Any, patients: Any = None) -> Predictions:
    """Of one label (n,) or several (n, labels); by default each image is another patient's."""
    truth, values = np.asarray(labels, dtype=np.int64), np.asarray(scores, dtype=np.float64)
    if values.ndim == 1:
        truth, values = truth[:, np.newaxis], values[:, np.newaxis]
    names = tuple(map(str, range(len(values)) if patients is None else patients))
    return Predictions(patients=names, images=tuple(map(str, range(len(values)))), scores=values, labels=truth, loss=0)


def pooled(labels: Any, scores: Any, patients: Any = None) -> dict[str, Any]:
    return pooled_scores(job(), score_histogram(job(), predictions(labels, scores, patients)))


def centres() -> np.ndarray:
    edges = bin_edges()
    return (edges[:-1] + edges[1:]) / 2


def delong(labels: np.ndarray, scores: np.ndarray) -> tuple[float, float]:
    """Area and variance, pair by pair as the paper defines them."""
    positive, negative = scores[labels == 1], scores[labels == 0]
    wins = np.array([[1.0 if p > n else 0.5 if p == n else 0.0 for n in negative] for p in positive])
    by_positive, by_negative = wins.mean(axis=1), wins.mean(axis=0)
    variance = by_positive.var(ddof=1) / len(positive) + by_negative.var(ddof=1) / len(negative)
    return float(wins.mean()), float(variance)


def logit(value: float) -> float:
    return float(np.log(value / (1 - value)))


PAIRS = st.lists(st.tuples(st.booleans(), st.integers(0, BINS - 1)), min_size=4, max_size=40).filter(
    lambda pairs: len({truth for truth, _ in pairs}) == 2
)


@given(PAIRS)
def test_scores_on_bin_centres_have_scikit_learns_area(pairs: list[tuple[bool, int]]) -> None:
    labels = np.array([truth for truth, _ in pairs], dtype=int)
    scores = centres()[[place for _, place in pairs]]
    found = pooled(labels, scores)
    assert found["auc"] == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert (found["images"], found["positives"], found["patients"]) == (len(pairs), labels.sum(), len(pairs))


@given(PAIRS)
def test_the_interval_is_delongs_around_the_logit(pairs: list[tuple[bool, int]]) -> None:
    labels = np.array([truth for truth, _ in pairs], dtype=int)
    scores = centres()[[place for _, place in pairs]]
    found = pooled(labels, scores)
    if found["auc"] in (0.0, 1.0) or min(labels.sum(), (1 - labels).sum()) < 2 or found["auc_low"] is None:
        return
    area, variance = delong(labels, scores)
    half = 1.959964 * np.sqrt(variance) / (area * (1 - area))
    assert logit(found["auc_low"]) == pytest.approx(logit(area) - half, abs=1e-6)
    assert logit(found["auc_high"]) == pytest.approx(logit(area) + half, abs=1e-6)
    assert 0 <= found["auc_low"] < found["auc"] < found["auc_high"] <= 1


@pytest.mark.parametrize(
    ("spread", "near"), [(0.02, 0.01), (1.0, 0.001), (6.0, 0.001)], ids=["unsure", "usual", "very sure"]
)
def test_the_area_of_any_scores_differs_by_half_the_ties_at_most(spread: float, near: float) -> None:
    rng = np.random.default_rng(5)
    labels = (rng.random(3000) < 0.2).astype(int)
    scores = 1 / (1 + np.exp(-spread * (rng.normal(size=3000) + 1.2 * labels - 1)))
    counts = score_histogram(job(), predictions(labels, scores))
    negative, positive = counts[:-2].reshape(2, -1)[:, :BINS]
    bound = 0.5 * float(negative @ positive) / (negative.sum() * positive.sum())
    found = pooled_scores(job(), counts)
    assert abs(found["auc"] - roc_auc_score(labels, scores)) <= bound + 1e-12
    assert found["auc"] == pytest.approx(roc_auc_score(labels, scores), abs=near)


def test_the_sum_over_hospitals_is_the_histogram_of_all_their_patients() -> None:
    rng = np.random.default_rng(1)
    labels, scores = rng.integers(0, 2, 90), rng.random(90)
    owner = np.arange(90) // 2
    parts = [
        score_histogram(job(), predictions(labels[i : i + 30], scores[i : i + 30], owner[i : i + 30]))
        for i in (0, 30, 60)
    ]
    whole = score_histogram(job(), predictions(labels, scores, owner))
    assert np.array_equal(sum(parts), whole)
    assert whole.dtype == np.int64 and whole.shape == (histogram_length(job()),) and whole[-1] == 45


def test_images_of_a_patient_that_are_copies_narrow_nothing() -> None:
    rng = np.random.default_rng(2)
    labels = np.arange(400) % 2
    scores = np.clip(0.5 + 0.15 * (rng.normal(size=400) + labels - 0.5), 0, 1)
    once = pooled(labels, scores)
    copies = pooled(np.repeat(labels, 4), np.repeat(scores, 4), np.repeat(np.arange(400), 4))
    thought_independent = pooled(np.repeat(labels, 4), np.repeat(scores, 4))
    assert copies["auc"] == pytest.approx(once["auc"])
    assert (copies["patients"], copies["images"]) == (400, 1600)
    width, copied = once["auc_high"] - once["auc_low"], copies["auc_high"] - copies["auc_low"]
    assert copied == pytest.approx(width, rel=0.01)
    assert thought_independent["auc_high"] - thought_independent["auc_low"] == pytest.approx(width / 2, rel=0.01)


def test_a_patient_with_most_of_the_images_counts_for_more_than_the_mean() -> None:
    rng = np.random.default_rng(2)
    labels, scores = np.arange(100) % 2, np.clip(rng.normal(0.5, 0.2, 100) + 0.1 * (np.arange(100) % 2), 0, 1)
    even = pooled(labels, scores, np.arange(100) // 4 * 2 + labels)
    skewed = pooled(labels, scores, np.where(np.arange(100) < 52, labels, np.arange(100)))
    assert even["patients"] == skewed["patients"] == 50
    assert skewed["auc_high"] - skewed["auc_low"] > even["auc_high"] - even["auc_low"]


def test_the_interval_holds_the_true_area_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(9)
    truth, hits = 0.76025, 0  # P(N(1, 1) > N(0, 1)) = Phi(1 / sqrt 2)
    for _ in range(400):
        labels = (np.arange(160) % 4 == 0).astype(int)
        scores = 1 / (1 + np.exp(-(rng.normal(size=160) + labels)))
        found = pooled(labels, scores)
        hits += found["auc_low"] <= truth <= found["auc_high"]
    assert 0.92 <= hits / 400 <= 0.985


@pytest.mark.parametrize("alike", [0.0, 0.9])
def test_the_interval_holds_the_true_area_however_alike_a_patients_images_are(alike: float) -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        owner = np.repeat(np.arange(90), rng.geometric(0.4, size=90))
        labels = (owner % 3 == 0).astype(int)
        noise = np.sqrt(alike) * rng.normal(size=90)[owner] + np.sqrt(1 - alike) * rng.normal(size=len(owner))
        found = pooled(labels, 1 / (1 + np.exp(-(noise + labels))), owner)
        hits += found["auc_low"] <= 0.76025 <= found["auc_high"]
    assert hits / 200 >= 0.93


def test_perfectly_apart_is_no_certainty() -> None:
    few = pooled([0, 0, 0, 1, 1], [0.1, 0.2, 0.3, 0.8, 0.9])
    assert (few["auc"], few["auc_high"]) == (1.0, 1.0)
    assert few["auc_low"] == pytest.approx(0.025 ** (1 / 2)), "two independent pairs, both won"
    many = pooled([0] * 100 + [1] * 50, [0.1] * 100 + [0.9] * 50)
    assert many["auc_low"] == pytest.approx(0.025 ** (1 / 50))
    wrong = pooled([1, 1, 0, 0, 0], [0.1, 0.2, 0.3, 0.8, 0.9])
    assert (wrong["auc"], wrong["auc_low"]) == (0.0, 0.0)
    assert wrong["auc_high"] == pytest.approx(1 - few["auc_low"])
    clustered = pooled([0] * 100 + [1] * 50, [0.1] * 100 + [0.9] * 50, np.arange(150) // 10)
    assert clustered["auc_low"] == pytest.approx(0.025 ** (1 / 5))


def test_what_cannot_be_had_is_none() -> None:
    one_class = pooled([1, 1], [0.2, 0.4])
    assert "roc" not in one_class.pop("curves")["lesion"]
    assert one_class == {"auc": None, "auc_low": None, "auc_high": None, "images": 2, "positives": 2, "patients": 2}
    single = pooled([0, 0, 0, 1], [0.1, 0.5, 0.9, 0.6])
    assert single["auc"] == pytest.approx(2 / 3) and single["auc_low"] is None and single["auc_high"] is None
    tied = pooled([0, 0, 1, 1], [0.5] * 4)
    assert tied["auc"] == 0.5 and tied["auc_low"] is None
    nobody = pooled_scores(job(), np.zeros(histogram_length(job()), dtype=np.int64))
    assert nobody["auc"] is None and nobody["images"] == nobody["patients"] == 0


def test_several_labels_have_each_their_own_and_their_mean() -> None:
    rng = np.random.default_rng(4)
    labels, scores = rng.integers(0, 2, (60, 2)), centres()[rng.integers(0, BINS, (60, 2))]
    spec = job(**MULTILABEL)
    found = pooled_scores(spec, score_histogram(spec, predictions(labels, scores)))
    each = [pooled(labels[:, i], scores[:, i]) for i in (0, 1)]
    for name, one in zip(MULTILABEL["labels"], each, strict=True):
        assert found["labels"][name] == {key: value for key, value in one.items() if key not in ("images", "curves")}
    for name in ("auc", "auc_low", "auc_high"):
        assert found[name] == pytest.approx((each[0][name] + each[1][name]) / 2)
    assert found["positives"] == np.count_nonzero(labels.any(axis=1))
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_classes_count_each_against_the_rest() -> None:
    rng = np.random.default_rng(6)
    truth = rng.integers(0, 3, 80)
    scores = centres()[rng.integers(0, BINS, (80, 3))]
    spec = job(**MULTICLASS)
    given_ = Predictions(
        patients=tuple(map(str, range(80))), images=tuple(map(str, range(80))), scores=scores, labels=truth, loss=0
    )
    found = pooled_scores(spec, score_histogram(spec, given_))
    for index, name in enumerate(MULTICLASS["classes"]):
        assert found["labels"][name]["auc"] == pytest.approx(roc_auc_score(truth == index, scores[:, index]))
        assert found["labels"][name]["positives"] == np.count_nonzero(truth == index)
    assert found["positives"] == np.count_nonzero(truth)


def test_a_label_without_an_area_leaves_no_mean() -> None:
    labels = np.stack([np.arange(40) % 2, np.zeros(40, dtype=int)], axis=1)
    spec = job(**MULTILABEL)
    found = pooled_scores(spec, score_histogram(spec, predictions(labels, np.tile(centres()[100:140, None], 2))))
    assert found["labels"]["effusion"]["auc"] is None
    assert found["labels"]["nodule"]["auc"] is not None and found["auc"] is None


def test_the_ends_of_the_scale_are_in_bins() -> None:
    edges = bin_edges()
    assert (edges[0], edges[-1], len(edges)) == (0.0, 1.0, BINS + 1) and np.all(np.diff(edges) > 0)
    counts = score_histogram(job(), predictions([0, 1], [0.0, 1.0]))[:-2].reshape(2, -1)
    assert counts[0, 0] == counts[1, BINS - 1] == 1


@pytest.mark.parametrize("bad", [np.nan, np.inf, -0.01, 1.01])
def test_a_score_off_the_scale_is_refused(bad: float) -> None:
    with pytest.raises(JobError, match="not 0 to 1"):
        score_histogram(job(), predictions([0, 1], [0.5, bad]))


def test_scores_of_another_shape_are_refused() -> None:
    with pytest.raises(JobError, match="another shape"):
        score_histogram(job(**MULTILABEL), predictions([0, 1], [0.5, 0.6]))


def test_a_segmentation_has_none() -> None:
    assert histogram_length(segmentation()) == 0
    with pytest.raises(JobError, match="segmentation"):
        score_histogram(segmentation(), predictions([0, 1], [0.5, 0.6]))
    with pytest.raises(EncryptionError, match="segmentation"):
        pooled_scores(segmentation(), np.zeros(0, dtype=np.int64))


def test_a_sum_has_the_reliability_table_of_all_patients() -> None:
    rng = np.random.default_rng(3)
    owner = np.sort(rng.integers(0, 150, 300))
    labels, scores = rng.integers(0, 2, 300), rng.random(300) ** 2
    half = int(np.searchsorted(owner, 75))
    parts = [
        score_histogram(job(), predictions(labels[here], scores[here], owner[here]))
        for here in (slice(half), slice(half, None))
    ]
    told = pooled_scores(job(), sum(parts))["curves"]["lesion"]["reliability"]
    exact = reliability(labels, scores, owner.tolist())
    assert list(told) == list(exact)
    assert [row["patients"] for row in told.values()] == pytest.approx(
        [row["patients"] for row in exact.values()], abs=1
    ), "an edge of the table divides a bin of the histogram"
    same = {edge: row for edge, row in exact.items() if told[edge]["patients"] == row["patients"]}
    assert len(same) >= 8
    for edge, row in same.items():
        assert told[edge] == row | {"score": pytest.approx(row["score"], abs=5e-5)}


def _with(place: int, value: int) -> np.ndarray:
    counts = score_histogram(job(**MULTILABEL), predictions(np.eye(2), np.full((2, 2), 0.5)))
    counts[place] = value
    return counts


def _moved(place: int, to: int) -> np.ndarray:
    counts = _with(place, 0)
    counts[to] += 1
    return counts


@pytest.mark.parametrize(
    "counts",
    [
        np.zeros(7, dtype=np.int64),
        _with(0, 0).astype(np.float64),
        _with(0, -1),
        _with(0, 5),
        _with(-1, 3),
        _with(-2, 3),
        _with(-2, 0),
        _with(BINS + 1, 1),
        _with(BINS + 1 + 5, 0),
        _moved(BINS + 1 + 5, BINS + 1 + 6),
        _with(BINS + 11 + 5, 6_100),
        _with(BINS + 11 + 5, 0),
        _with(BINS + 11 + 6, 1),
    ],
    ids=[
        *("length", "type", "negative", "images", "patients", "positives", "fewer than a label's", "one patient more"),
        *("one patient fewer", "a patient without an image there"),
        *("a score above its tenth", "a score below its tenth", "a score of nobody"),
    ],
)
def test_numbers_that_no_histogram_has_are_refused(counts: np.ndarray) -> None:
    with pytest.raises(EncryptionError):
        pooled_scores(job(**MULTILABEL), counts)


def test_a_layout_is_that_of_what_is_counted_and_of_nothing_else() -> None:
    layouts = [histogram_layout(one) for one in (job(), job(**MULTILABEL), job(**MULTICLASS), job(labels=["other"]))]
    assert len(set(layouts)) == 4 and all(len(layout) == 64 for layout in layouts)
    assert histogram_layout(job(size=[48, 48])) == layouts[0]


# ---------------------------------------------------------------- the floor is on patients


FILMS = st.lists(
    st.tuples(st.integers(0, 9), st.tuples(st.booleans(), st.booleans()), st.floats(0, 1), st.floats(0, 1)),
    min_size=1,
    max_size=60,
)


@given(FILMS, st.integers(1, 3))
def test_a_sum_counts_each_patient_once_by_label_and_by_tenth(films: list[Any], sites: int) -> None:
    spec = job(**MULTILABEL)
    parts = [films[k::sites] for k in range(sites)]
    summed = sum(
        score_histogram(spec, predictions([f[1] for f in part], [f[2:] for f in part], [f"{k}-{f[0]}" for f in part]))
        for k, part in enumerate(parts)
        if part
    )
    found, people = pooled_scores(spec, summed), {(k, f[0]) for k, part in enumerate(parts) for f in part}
    assert (found["patients"], found["images"]) == (len(people), len(films))
    assert found["positives"] == len({(k, f[0]) for k, part in enumerate(parts) for f in part if any(f[1])})
    for i, name in enumerate(MULTILABEL["labels"]):
        sick = {(k, f[0]) for k, part in enumerate(parts) for f in part if f[1][i]}
        assert found["labels"][name]["positives"] == len(sick)
        assert found["labels"][name]["patients"] == len(people)
        bins = found["curves"][name]["reliability"].values()
        assert sum(row["positives"] for row in bins) == len(sick)
        assert sum(row["patients"] for row in bins) == len(people)


def test_five_positive_films_of_one_patient_give_nothing_at_a_floor_of_five() -> None:
    """The same for one hospital as for three with one such patient each: one, or three, patients with yes."""
    rng, rule = np.random.default_rng(0), Disclosure(metrics=("pooled",), decimals=3, min_count=5)
    for sites in (1, 3):
        parts = [
            score_histogram(
                job(),
                predictions([1] * 5 + [0] * 60, rng.random(65), [f"{k}-sick"] * 5 + [f"{k}-{i}" for i in range(60)]),
            )
            for k in range(sites)
        ]
        made = pooled_scores(job(), sum(parts))
        assert made["auc"] is not None and "roc" in made["curves"]["lesion"]
        found = release({"pooled": made}, rule, private=True, names=job().names)["pooled"]
        curves = found.pop("curves")["lesion"]
        told = {"patients": 61 * sites, "images": 65 * sites}
        assert {name: value for name, value in found.items() if value is not None} == told | {"suppressed": True}
        assert set(curves["roc"].values()) == {None}
        assert {value for row in curves["reliability"].values() for value in row.values()} == {None, True}
