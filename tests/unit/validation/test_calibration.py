"""Calibration by hand and beside scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
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
    table = reliability(LABELS, SCORES, list("abbcdefg"))
    assert list(table) == ["0.0", "0.2", "0.9"]
    # b has an image in 0.0 and one in 0.2, and so a score of 0.20
    assert table["0.0"] == {"patients": 1, "positives": 0, "score": pytest.approx(0.02)}
    assert table["0.2"] == {"patients": 3, "positives": 1, "score": pytest.approx(0.24)}
    assert table["0.9"] == {"patients": 3, "positives": 3, "score": pytest.approx(0.95)}
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
    table = reliability(labels, scores, range(500))
    assert [row["positives"] / row["patients"] for row in table.values()] == pytest.approx(observed.tolist())
    assert [row["score"] for row in table.values()] == pytest.approx(mean.tolist())
    # Jensen: the squared error of calibration is within the Brier score, and ECE squared within that
    assert ece(labels, scores) ** 2 <= brier_score_loss(labels, scores)
    assert ece(labels, scores) == pytest.approx(np.mean(scores - scores**2), abs=0.05)


@pytest.mark.parametrize("edge", [0.1, 0.3, 0.6, 0.7, 0.9])
def test_a_score_on_an_edge_is_in_the_bin_above_it(edge: float) -> None:
    assert list(reliability([1], [edge], ["a"])) == [f"{edge:.1f}"]
    assert list(reliability([1], [np.nextafter(edge, 0)], ["a"])) == [f"{edge - 0.1:.1f}"]


@pytest.mark.parametrize("scores", [[], [0.5, np.nan], [0.5, 1.01], [-0.1, 0.2]])
def test_what_is_no_probability_has_no_error(scores: list[float]) -> None:
    assert (
        ece([0, 1][: len(scores)], scores) is None
        and reliability([0, 1][: len(scores)], scores, list("ab")[: len(scores)]) is None
    )


FILMS = st.lists(st.tuples(st.integers(0, 5), st.booleans(), st.floats(0, 1)), min_size=1, max_size=40)


@given(FILMS)
def test_the_table_is_that_of_each_patients_highest_score_and_any_yes(films: list[tuple[int, bool, float]]) -> None:
    owner, truth, score = (list(column) for column in zip(*films, strict=True))
    people = sorted(set(owner))
    alone = [any(yes for who, yes, _ in films if who == one) for one in people]
    highest = [max(value for who, _, value in films if who == one) for one in people]
    assert reliability(truth, score, owner) == reliability(alone, highest, people)
