"""Scores of a site: what stands beside each number, None where there is none, and JSON."""

import json

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from fedward.validation.scores import score_classes, score_labels

RNG = np.random.default_rng(0)
N = 60
PATIENTS = [f"p{i // 2}" for i in range(N)]


def test_binary() -> None:
    labels, scores = RNG.integers(0, 2, (N, 1)), RNG.random((N, 1))
    plain = score_labels(labels, scores, names=("tb",), patients=PATIENTS, loss=0.7).plain()
    assert set(plain) == {
        *("auc", "auc_low", "auc_high", "average_precision", "sensitivity_at_95_specificity"),
        *("n", "positives", "patients", "loss"),
    }
    assert plain["auc"] == pytest.approx(roc_auc_score(labels[:, 0], scores[:, 0]))
    assert plain["auc_low"] < plain["auc"] < plain["auc_high"]
    assert (plain["n"], plain["patients"], plain["positives"]) == (N, N // 2, labels.sum())
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain


def test_one_class_only_is_none_and_keeps_its_support() -> None:
    plain = score_labels(np.zeros((4, 1)), np.zeros((4, 1)), names=("tb",), patients=list("abcd"), loss=np.nan).plain()
    assert [plain[k] for k in ("auc", "auc_low", "auc_high", "average_precision", "loss")] == [None] * 5
    assert (plain["n"], plain["positives"]) == (4, 0)


def test_several_labels_each_and_the_mean_of_those_that_have_a_value() -> None:
    labels, scores = RNG.integers(0, 2, (N, 3)), RNG.random((N, 3))
    labels[:, 2] = 0
    plain = score_labels(labels, scores, names=("a", "b", "absent"), patients=PATIENTS, loss=1).plain()
    areas = [roc_auc_score(labels[:, i], scores[:, i]) for i in range(2)]
    assert [plain["labels"][k]["auc"] for k in ("a", "b")] == pytest.approx(areas)
    assert plain["labels"]["absent"]["auc"] is None
    assert plain["auc"] == pytest.approx(np.mean(areas))
    assert plain["positives"] == np.count_nonzero(labels[:, 0] | labels[:, 1])
    json.dumps(plain, allow_nan=False)


def test_classes_one_against_the_rest() -> None:
    labels, scores = RNG.integers(0, 3, N), RNG.dirichlet(np.ones(3), N)
    plain = score_classes(labels, scores, names=("x", "y", "z"), patients=PATIENTS).plain()
    assert plain["auc"] == pytest.approx(roc_auc_score(labels, scores, multi_class="ovr", average="macro"))
    assert plain["labels"]["y"]["positives"] == np.count_nonzero(labels == 1)
    assert plain["positives"] == np.count_nonzero(labels)
    assert plain["loss"] is None
