"""Scores of a site: what stands beside each number, None where there is none, and JSON."""

import json
import time
from dataclasses import asdict

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from fedward.validation.ranking import auroc_interval
from fedward.validation.scores import score_classes, score_labels
from tests.support.operating_point import cross_fitted

RNG = np.random.default_rng(0)
N = 60
PATIENTS = [f"p{i // 2}" for i in range(N)]


def people(chosen: np.ndarray) -> int:
    """Patients, of whom each has the 2k-th and the next image, with an image that is chosen."""
    return int(chosen.reshape(-1, 2).any(axis=1).sum())


def test_binary() -> None:
    labels, scores = RNG.integers(0, 2, (N, 1)), RNG.random((N, 1))
    plain = score_labels(labels, scores, names=("tb",), patients=PATIENTS, loss=0.7).plain()
    assert set(plain) == {
        *("auc", "auc_low", "auc_high", "average_precision", "ece"),
        *("sensitivity", "sensitivity_low", "sensitivity_high"),
        *("specificity", "specificity_low", "specificity_high"),
        *("patients", "positives", "images", "loss"),
    }
    assert plain["auc"] == pytest.approx(roc_auc_score(labels[:, 0], scores[:, 0]))
    for name in ("auc", "sensitivity", "specificity"):
        assert plain[f"{name}_low"] < plain[name] < plain[f"{name}_high"]
    assert (plain["auc_low"], plain["auc_high"]) == auroc_interval(labels[:, 0], scores[:, 0], PATIENTS)
    point = asdict(cross_fitted(labels[:, 0], scores[:, 0], PATIENTS))
    assert {name: plain[name] for name in point} == point, "drawn together as they are drawn alone"
    assert (plain["images"], plain["patients"], plain["positives"]) == (N, N // 2, people(labels[:, 0] == 1))
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain


def test_one_class_only_is_none_and_keeps_its_support() -> None:
    plain = score_labels(np.zeros((4, 1)), np.zeros((4, 1)), names=("tb",), patients=list("abcd"), loss=np.nan).plain()
    assert [plain[k] for k in ("auc", "auc_low", "auc_high", "average_precision", "loss")] == [None] * 5
    assert (plain["patients"], plain["images"], plain["positives"]) == (4, 4, 0)


def test_several_labels_each_and_their_mean() -> None:
    labels, scores = np.repeat(RNG.integers(0, 2, (N // 2, 2)), 2, axis=0), RNG.random((N, 2))
    plain = score_labels(labels, scores, names=("a", "b"), patients=PATIENTS, loss=1).plain()
    areas = [roc_auc_score(labels[:, i], scores[:, i]) for i in range(2)]
    assert [plain["labels"][k]["auc"] for k in ("a", "b")] == pytest.approx(areas)
    assert plain["auc"] == pytest.approx(np.mean(areas))
    assert plain["ece"] == pytest.approx(np.mean([plain["labels"][k]["ece"] for k in ("a", "b")]))
    assert plain["positives"] == people(labels.any(axis=1))
    assert plain["labels"]["a"]["positives"] == people(labels[:, 0] == 1) and "images" not in plain["labels"]["a"]
    json.dumps(plain, allow_nan=False)


def test_the_mean_of_labels_is_drawn_together() -> None:
    labels = np.repeat(np.repeat(RNG.integers(0, 2, (N // 2, 1)), 2, axis=0), 2, axis=1)
    scores = np.repeat(RNG.random((N, 1)), 2, axis=1)
    plain = score_labels(labels, scores, names=("a", "b"), patients=PATIENTS).plain()
    assert (plain["auc_low"], plain["auc_high"]) == pytest.approx(auroc_interval(labels[:, 0], scores[:, 0], PATIENTS))


@pytest.mark.parametrize(("rare", "there"), [(0, False), (1, False), (4, False), (5, True), (56, False), (60, False)])
def test_a_label_that_is_too_rare_leaves_no_mean_to_rank_hospitals_by(rare: int, there: bool) -> None:
    labels, scores = RNG.integers(0, 2, (N, 2)), RNG.random((N, 2))
    labels[:, 1] = np.arange(N) < rare
    plain = score_labels(labels, scores, names=("common", "rare"), patients=list(map(str, range(N)))).plain()
    for name in ("auc", "auc_low", "auc_high", "average_precision", "ece"):
        assert (plain[name] is not None) == there, name
    assert plain["labels"]["common"]["auc"] is not None and plain["patients"] == N


@pytest.mark.parametrize("sick", [1, 4, 5])
def test_ten_images_of_few_patients_are_few(sick: int) -> None:
    labels, scores = np.zeros((N, 2), dtype=np.int64), RNG.random((N, 2))
    labels[:, 0] = np.arange(N) < 30
    labels[:10, 1] = 1
    patients = [str(i % sick) if i < 10 else f"p{i}" for i in range(N)]
    plain = score_labels(labels, scores, names=("common", "rare"), patients=patients).plain()
    assert plain["labels"]["rare"]["positives"] == sick and plain["labels"]["rare"]["auc"] is not None
    assert (plain["auc"] is not None) == (sick >= 5)


def test_classes_one_against_the_rest() -> None:
    labels, scores = np.repeat(RNG.integers(0, 3, N // 2), 2), RNG.dirichlet(np.ones(3), N)
    plain = score_classes(labels, scores, names=("x", "y", "z"), patients=PATIENTS).plain()
    assert plain["auc"] == pytest.approx(roc_auc_score(labels, scores, multi_class="ovr", average="macro"))
    assert plain["labels"]["y"]["positives"] == people(labels == 1)
    assert plain["positives"] == people(labels != 0)
    assert plain["loss"] is None


def test_a_round_of_many_labels_takes_no_time_to_speak_of() -> None:
    labels, scores = RNG.integers(0, 2, (1000, 14)), RNG.random((1000, 14))
    started = time.process_time()
    score_labels(labels, scores, names=[f"l{i}" for i in range(14)], patients=list(map(str, range(1000))))
    assert time.process_time() - started < 4.0
