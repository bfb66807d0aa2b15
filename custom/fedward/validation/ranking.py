"""How well scores rank the sick above the well: area under the ROC curve and its kin. NumPy only.

Labels are 0 and 1, shape (n,); scores are finite, shape (n,), higher for yes. What cannot be computed is None.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fedward.validation.bootstrap import Interval, patient_interval

Counts = NDArray[np.float64]


def auroc(labels: ArrayLike, scores: ArrayLike) -> float | None:
    """The chance that a positive scores above a negative, ties counting half (Hanley and McNeil 1982).

    Returns:
        0 to 1, or None with one class only or a score that is not finite.
    """
    pair = _checked(labels, scores)
    if pair is None:
        return None
    truth, score = pair
    return float(_areas(truth, score, np.ones((1, len(truth))))[0])


def auroc_interval(labels: ArrayLike, scores: ArrayLike, patients: Sequence[Any], **options: Any) -> Interval | None:
    """The 95 % interval of ``auroc`` by drawing patients anew; see ``bootstrap.patient_interval``.

    A draw with one class only gives no value; None when more than a tenth of the draws are such. Scores that separate
    the classes perfectly give (1, 1): read it with n and positives beside it.
    """
    pair = _checked(labels, scores)
    if pair is None:
        return None
    truth, score = pair
    return patient_interval(lambda counts: _areas(truth, score, counts), patients, **options)


def mean_auroc_interval(labels: ArrayLike, scores: ArrayLike, patients: Sequence[Any]) -> Interval | None:
    """The interval of the mean of several labels' areas, labels and scores (n, labels), all drawn together."""
    columns = [_checked(y, s) for y, s in zip(np.asarray(labels).T, np.asarray(scores).T, strict=True)]
    usable = [pair for pair in columns if pair is not None]
    if not usable:
        return None
    return patient_interval(
        lambda counts: np.mean([_areas(truth, score, counts) for truth, score in usable], axis=0), patients
    )


def average_precision(labels: ArrayLike, scores: ArrayLike) -> float | None:
    """Precision averaged over the steps of recall, without interpolation.

    Returns:
        0 to 1, or None without a positive, without a negative, or with a score that is not finite.
    """
    pair = _checked(labels, scores)
    if pair is None:
        return None
    truth, score = pair
    hits, false_alarms = _cumulated(truth, score)
    precision = hits / (hits + false_alarms)
    return float(np.sum(np.diff(hits, prepend=0) * precision) / hits[-1])


def sensitivity_at_specificity(labels: ArrayLike, scores: ArrayLike, *, specificity: float = 0.95) -> float | None:
    """The largest share of positives found by a threshold that clears at least ``specificity`` of the negatives.

    Returns:
        0 to 1, or None with one class only or a score that is not finite.
    """
    pair = _checked(labels, scores)
    if pair is None:
        return None
    truth, score = pair
    hits, false_alarms = _cumulated(truth, score)
    allowed = false_alarms <= (1 - specificity) * false_alarms[-1] + 1e-9
    return float(np.max(hits[allowed], initial=0.0) / hits[-1])


def _checked(labels: ArrayLike, scores: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.float64]] | None:
    truth, score = np.asarray(labels).astype(bool), np.asarray(scores, dtype=np.float64)
    if truth.shape != score.shape or truth.ndim != 1:
        raise ValueError(f"labels {truth.shape} and scores {score.shape} must be of one length")
    if not np.isfinite(score).all() or truth.all() or not truth.any():
        return None
    return truth, score


def _areas(truth: NDArray[np.bool_], score: NDArray[np.float64], counts: Counts) -> NDArray[np.float64]:
    """The area for each row of ``counts`` (draws, n); NaN where a draw holds one class only."""
    order = np.argsort(score, kind="stable")
    starts = np.flatnonzero(np.diff(score[order], prepend=-np.inf))
    drawn = counts[:, order]
    positive = np.add.reduceat(drawn * truth[order], starts, axis=1)
    negative = np.add.reduceat(drawn * ~truth[order], starts, axis=1)
    below = np.cumsum(negative, axis=1) - negative
    won = np.sum(positive * (below + 0.5 * negative), axis=1)
    pairs = positive.sum(axis=1) * negative.sum(axis=1)
    area: NDArray[np.float64] = np.divide(won, pairs, out=np.full(len(won), np.nan), where=pairs > 0)
    return area


def _cumulated(truth: NDArray[np.bool_], score: NDArray[np.float64]) -> tuple[Counts, Counts]:
    """True and false positives at each distinct threshold, from the highest down."""
    order = np.argsort(-score, kind="stable")
    last = np.flatnonzero(np.diff(score[order], append=-np.inf))
    hits = np.cumsum(truth[order])[last].astype(np.float64)
    return hits, (last + 1) - hits
