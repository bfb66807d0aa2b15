"""Calibration by hand and beside scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from fedward.validation.calibration import ece, reliability

# bin      scores             yes   n   mean  observed   gap
# 0.0      0.02 0.08          0     2   0.05  0          0.05
# 0.2      0.20 0.24 0.28     1     3   0.24  1/3        0.09333…
# 0.9      0.90 0.95 1.00     3     3   0.95  1          0.05
SCORES = [0.02, 0.08, 0.20, 0.24, 0.28, 0.90, 0.95, 1.00]
LABELS = [0, 0, 0, 1, 0, 1, 1, 1]


def test_a_table_by_hand() -> None:
    table = reliability(LABELS, SCORES)
    assert list(table) == ["0.0", "0.2", "0.9"]
    assert table["0.2"] == {"n": 3, "score": pytest.approx(0.24), "observed": pytest.approx(1 / 3)}
    assert table["0.9"] == {"n": 3, "score": pytest.approx(0.95), "observed": 1.0}
    assert ece(LABELS, SCORES) == pytest.approx((2 * 0.05 + 3 * (1 / 3 - 0.24) + 3 * 0.05) / 8)


def test_what_is_calibrated_has_no_error_and_what_is_sure_and_wrong_has_all_of_it() -> None:
    assert ece([1] * 8 + [0] * 2, [0.8] * 10) == pytest.approx(0.0)
    assert ece([0, 0, 1], [1.0, 1.0, 0.0]) == 1.0
    assert ece([0] * 10, [0.3] * 10) == pytest.approx(0.3)


def test_beside_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    scores = rng.random(500)
    labels = (rng.random(500) < scores**2).astype(int)
    observed, mean = calibration_curve(labels, scores, n_bins=10, strategy="uniform")
    table = reliability(labels, scores)
    assert [row["observed"] for row in table.values()] == pytest.approx(observed.tolist())
    assert [row["score"] for row in table.values()] == pytest.approx(mean.tolist())
    # Jensen: the squared error of calibration is within the Brier score, and ECE squared within that
    assert ece(labels, scores) ** 2 <= brier_score_loss(labels, scores)
    assert ece(labels, scores) == pytest.approx(np.mean(scores - scores**2), abs=0.05)


@pytest.mark.parametrize("edge", [0.1, 0.3, 0.6, 0.7, 0.9])
def test_a_score_on_an_edge_is_in_the_bin_above_it(edge: float) -> None:
    assert list(reliability([1], [edge])) == [f"{edge:.1f}"]
    assert list(reliability([1], [np.nextafter(edge, 0)])) == [f"{edge - 0.1:.1f}"]


@pytest.mark.parametrize("scores", [[], [0.5, np.nan], [0.5, 1.01], [-0.1, 0.2]])
def test_what_is_no_probability_has_no_error(scores: list[float]) -> None:
    assert ece([0, 1][: len(scores)], scores) is None and reliability([0, 1][: len(scores)], scores) is None
