"""Measure the ranking of positives above negatives: area under the ROC curve and average precision. NumPy only.

Labels are 0 and 1, shape (n,); scores are finite, shape (n,), higher for yes. A value that cannot be computed is None.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fedward.validation.bootstrap import Interval, patient_interval

Counts = NDArray[np.float64]


def auroc(labels: ArrayLike, scores: ArrayLike) -> float | None:
    """Return the probability that a positive scores above a negative; ties count half (Hanley and McNeil 1982).

    Returns:
        0 to 1, or None with one class only or a score that is not finite.
    """
    areas = drawn_areas(labels, scores)
    return None if areas is None else float(areas(np.ones((1, np.size(labels))))[0])


def auroc_interval(labels: ArrayLike, scores: ArrayLike, patients: Sequence[Any], **options: Any) -> Interval | None:
    """Compute the 95 % interval of ``auroc`` by resampling patients; see ``bootstrap.patient_interval``.

    A draw with one class only gives no value; the result is None if this holds for more than a tenth of the draws.
    Scores that separate the classes perfectly give (1, 1): read it together with n and positives.
    """
    areas = drawn_areas(labels, scores)
    return None if areas is None else patient_interval(areas, patients, **options)


def drawn_areas(labels: ArrayLike, scores: ArrayLike) -> Callable[[Counts], NDArray[np.float64]] | None:
    """Return ``auroc`` as a function of the draws of each image, (draws, n) -> (draws,), for ``bootstrap``.

    Returns:
        A function, which gives NaN for a draw with one class only; or None if ``auroc`` is None.
    """
    pair = checked(labels, scores)
    if pair is None:
        return None
    truth, score = pair
    order = np.argsort(score, kind="stable")
    starts = np.flatnonzero(np.diff(score[order], prepend=-np.inf))
    yes = truth[order].astype(np.float64)

    def areas(counts: Counts) -> NDArray[np.float64]:
        drawn = counts[:, order]
        positive = np.add.reduceat(drawn * yes, starts, axis=1)
        negative = np.add.reduceat(drawn, starts, axis=1) - positive
        below = np.cumsum(negative, axis=1) - negative / 2
        pairs = positive.sum(axis=1) * negative.sum(axis=1)
        won = np.einsum("ij,ij->i", positive, below)
        area: NDArray[np.float64] = np.divide(won, pairs, out=np.full(len(won), np.nan), where=pairs > 0)
        return area

    return areas


def average_precision(labels: ArrayLike, scores: ArrayLike) -> float | None:
    """Compute the precision averaged over the steps of recall, without interpolation.

    Returns:
        0 to 1, or None without a positive, without a negative, or with a score that is not finite.
    """
    pair = checked(labels, scores)
    if pair is None:
        return None
    _, hits, false_alarms = cumulated(*pair)
    precision = hits / (hits + false_alarms)
    return float(np.sum(np.diff(hits, prepend=0) * precision) / hits[-1])


def checked(labels: ArrayLike, scores: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.float64]] | None:
    """Return truth and scores as arrays, or None with one class only or a score that is not finite.

    Raises:
        ValueError: their lengths differ.
    """
    truth, score = np.asarray(labels).astype(bool), np.asarray(scores, dtype=np.float64)
    if truth.shape != score.shape or truth.ndim != 1:
        raise ValueError(f"labels {truth.shape} and scores {score.shape} must be of one length")
    if not np.isfinite(score).all() or truth.all() or not truth.any():
        return None
    return truth, score


def cumulated(
    truth: NDArray[np.bool_], score: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the distinct scores from the highest down, and the true and false positives at each as threshold."""
    order = np.argsort(-score, kind="stable")
    last = np.flatnonzero(np.diff(score[order], append=-np.inf))
    hits = np.cumsum(truth[order])[last].astype(np.float64)
    return score[order][last], hits, (last + 1) - hits
