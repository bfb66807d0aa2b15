"""What a demo measures over all hospitals' images has the interval of their patients, also for several classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fedward.demo.compare import measured_everywhere, score_everywhere
from fedward.settings import JobSpec, parse
from fedward.validation.predictions import Predictions
from fedward.validation.scores import score_classes, score_labels
from tests.conftest import tiny_job_content

TARGETS: dict[str, dict[str, Any]] = {
    "one label": {"labels": ["lesion"]},
    "several labels": {"labels": ["lesion", "nodule", "mass"], "target": "multilabel"},
    "several classes": {"labels": ["kind"], "target": "multiclass", "classes": ["a", "b", "c"]},
}


class Hospital:
    """A trainer with these predictions."""

    def __init__(self, found: Predictions) -> None:
        self._found = found

    def predict(self, weights: Any) -> Predictions:
        return self._found


def job(target: str) -> JobSpec:
    content = tiny_job_content()
    content["data"] |= TARGETS[target]
    return parse(JobSpec, content, where="compare")


def drawn(spec: JobSpec, seed: int, count: int = 60) -> Predictions:
    """Two images a patient; patients of two hospitals have the same names and are not the same."""
    rng, outputs = np.random.default_rng(seed), len(spec.scored_names)
    if spec.data.target == "multiclass":
        labels = rng.integers(0, outputs, count)
        scores = rng.random((count, outputs)) + 0.5 * (labels[:, None] == np.arange(outputs))
    else:
        labels = rng.integers(0, 2, (count, outputs))
        scores = rng.random((count, outputs)) + 0.5 * labels
    names = tuple(f"P{number // 2}" for number in range(count))
    return Predictions(patients=names, images=names, scores=scores / 2, labels=labels.astype(np.int64), loss=0.5)


@pytest.mark.parametrize("target", TARGETS)
def test_the_value_over_all_hospitals_has_the_interval_of_all_their_patients(target: str) -> None:
    spec = job(target)
    found = [drawn(spec, seed) for seed in (1, 2)]
    sites: Any = {f"s{number}": Hospital(one) for number, one in enumerate(found)}
    at, over_all = measured_everywhere(spec, sites, {})
    score = score_classes if target == "several classes" else score_labels
    patients = [f"{number}/{name}" for number, one in enumerate(found) for name in one.patients]
    labels, scores = np.concatenate([one.labels for one in found]), np.concatenate([one.scores for one in found])
    expected = score(labels, scores, names=spec.scored_names, patients=patients)
    assert expected.auc_low is not None and expected.auc is not None and expected.auc_high is not None
    assert (over_all.value, over_all.low, over_all.high) == pytest.approx(
        (expected.auc, expected.auc_low, expected.auc_high)
    )
    assert over_all.n == 60, "the patients of both hospitals, none counted as the other's"
    assert set(at) == set(sites) and score_everywhere(spec, sites, {}) == (at, over_all.value)


def test_a_class_that_is_absent_everywhere_leaves_no_value_and_a_reason() -> None:
    spec = job("one label")
    one = drawn(spec, 3)
    alone = Predictions(
        patients=one.patients, images=one.images, scores=one.scores, labels=np.zeros_like(one.labels), loss=0.0
    )
    sites: Any = {"s": Hospital(alone)}
    at, over_all = measured_everywhere(spec, sites, {})
    assert at == {"s": None} and over_all.value is None and over_all.why
