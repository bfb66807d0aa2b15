"""Curves beside scikit-learn, and those from counts beside those from scores."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import auc, roc_auc_score, roc_curve

from fedward.privacy.disclosure.categories import FALSE_POSITIVE_RATES
from fedward.validation.calibration import reliability
from fedward.validation.curves import counted_curves, curves, roc
from fedward.validation.pooling.pooled import BINS, bin_edges
from fedward.validation.ranking import auroc

CASES = st.lists(st.tuples(st.booleans(), st.integers(-3, 3)), min_size=2, max_size=40).filter(
    lambda pairs: len({truth for truth, _ in pairs}) == 2
)


def test_a_curve_by_hand() -> None:
    # thresholds 3, 2, 1: (0, 1/2), (1/2, 1/2), (1, 1)
    found = roc([1, 0, 1, 0], [3, 2, 1, 1])
    assert list(found) == list(FALSE_POSITIVE_RATES) and list(found)[0::10] == ["0.00", "0.50", "1.00"]
    assert [found[rate] for rate in ("0.00", "0.25", "0.50", "0.75", "1.00")] == pytest.approx([0.5, 0.5, 0.5, 0.75, 1])


@settings(deadline=None)
@given(CASES)
def test_a_curve_is_on_scikit_learns(pairs: list[tuple[bool, int]]) -> None:
    labels, scores = np.array([t for t, _ in pairs]), np.array([s for _, s in pairs], dtype=float)
    found = roc(labels, scores)
    false_alarms, hits, _ = roc_curve(labels, scores, drop_intermediate=False)
    for rate, value in found.items():
        at = np.flatnonzero(false_alarms == float(rate))
        expected = hits[at[-1]] if len(at) else np.interp(float(rate), false_alarms, hits)
        assert value == pytest.approx(expected)
    assert list(found.values()) == sorted(found.values()) and found["1.00"] == 1.0


def test_21_points_hold_the_area() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 2000)
    scores = labels + rng.normal(size=2000)
    found = roc(labels, scores)
    assert auc([float(rate) for rate in found], list(found.values())) == pytest.approx(auroc(labels, scores), abs=0.01)


def test_counts_give_the_same_curves_as_scores() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 3000)
    scores = np.clip(0.35 * labels + 0.65 * rng.random(3000), 0, 1)
    edges = bin_edges()
    places = np.clip(np.searchsorted(edges, scores, side="right") - 1, 0, BINS - 1)
    no, yes = (np.bincount(places[labels == value], minlength=BINS) for value in (0, 1))
    owner = list(range(3000))
    exact = curves({"tb": labels}, {"tb": scores}, owner)["tb"]
    counted = counted_curves(no, yes, reliability(labels, scores, owner) or {})
    for rate, value in exact["roc"].items():
        assert counted["roc"][rate] == pytest.approx(value, abs=0.01)
    assert counted["reliability"] == exact["reliability"]
    assert sum(row["patients"] for row in counted["reliability"].values()) == 3000
    whole = auc([float(rate) for rate in counted["roc"]], list(counted["roc"].values()))
    assert whole == pytest.approx(roc_auc_score(labels, scores), abs=0.01)
    json.dumps(counted, allow_nan=False)


def test_one_class_has_no_curve_and_nobody_has_none() -> None:
    assert roc([1, 1], [0.2, 0.4]) is None
    assert set(curves({"tb": np.array([1, 1])}, {"tb": np.array([0.2, 0.4])}, list("ab"))["tb"]) == {"reliability"}
    nobody = np.zeros(BINS, dtype=np.int64)
    assert counted_curves(nobody, nobody, {}) == {}
