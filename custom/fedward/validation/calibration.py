"""Measure calibration (a score of 0.8 should mean yes in 8 of 10): expected calibration error and reliability table.

Scores are probabilities of yes, shape (n,), in ten bins of equal width; a score on an edge is in the bin above it, and
1 in the last. If there are several classes, each counts as one yes-or-no question, as in the classwise error of Kull et
al. (2019, NeurIPS, section 3).

The error is over images. The table shows the counts of each bin, so it is over patients, to which the hospital's
minimum count applies: a patient's score is the highest score of the patient's images, and the patient is positive with
yes in any image. If each patient has one image, these are the image's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fedward.privacy.disclosure.categories import RELIABILITY_BINS

Table = dict[str, dict[str, float | int]]

_EDGES = np.array([float(edge) for edge in RELIABILITY_BINS[1:]])


def ece(labels: ArrayLike, scores: ArrayLike) -> float | None:
    """Compute the expected calibration error: |share of yes - mean score| of each bin, weighted by its images.

    Naeini, Cooper and Hauskrecht (2015, AAAI, equation 4 and after) and Guo et al. (2017, ICML, equation 3), of the
    probability of yes.

    Returns:
        0 to 1, or None without an image, or with a score that is not from 0 to 1.
    """
    pair = _checked(labels, scores)
    if pair is None:
        return None
    truth, score = pair
    yes, predicted = by_tenth(tenths(score), truth), by_tenth(tenths(score), score)
    return float(np.abs(yes - predicted).sum() / len(score))


def reliability(labels: ArrayLike, scores: ArrayLike, patients: Sequence[Any]) -> Table | None:
    """Compute the reliability table of patients (DeGroot and Fienberg 1983, The Statistician 32:12-22).

    Args:
        labels, scores: as in ``ece``.
        patients: patient of each of the n images.

    Returns:
        As in ``table_of``; None without an image, or with a score that is not from 0 to 1.
    """
    pair = _checked(labels, scores)
    if pair is None:
        return None
    positive, highest = of_patients(pair[0] == 1, pair[1], patients)
    place = tenths(highest)
    counted = by_tenth(place, np.ones(len(place))).astype(np.int64)
    return table_of(counted, by_tenth(place, positive.astype(float)).astype(np.int64), by_tenth(place, highest))


def of_patients(
    truth: NDArray[np.bool_], score: NDArray[np.float64], patients: Sequence[Any]
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Return each patient's label and score.

    Args:
        truth: True for each image with yes, (n,).
        score: score of each image, (n,).
        patients: patient of each image.

    Returns:
        True for a patient with yes in any image, and the patient's highest score; both (patients,), in one order.
    """
    names, owner = np.unique(np.asarray(patients), return_inverse=True)
    positive, highest = np.zeros(len(names), dtype=np.bool_), np.full(len(names), -np.inf)
    np.logical_or.at(positive, owner, truth)
    np.maximum.at(highest, owner, score)
    return positive, highest


def table_of(patients: NDArray[np.int64], positives: NDArray[np.int64], scores: NDArray[np.float64]) -> Table:
    """Return the reliability table from counts.

    Args:
        patients, positives: patients in each bin, and those of them with yes, (bins,).
        scores: the sum of the patients' scores, (bins,).

    Returns:
        Lower edge of each bin that has a patient -> ``patients``, ``positives``, and the patients' mean ``score``. The
        observed share of yes is positives / patients.
    """
    return {
        edge: {"patients": int(n), "positives": int(p), "score": float(s / n)}
        for edge, n, p, s in zip(RELIABILITY_BINS, patients, positives, scores, strict=True)
        if n
    }


def tenths(score: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the bin of each score, (n,), from 0."""
    return np.searchsorted(_EDGES, score, side="right")


def by_tenth(place: NDArray[np.intp], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sum of values in each bin, (bins,); place and values are (n,)."""
    return np.asarray(np.bincount(place, weights=values, minlength=len(RELIABILITY_BINS)), dtype=np.float64)


def _checked(labels: ArrayLike, scores: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    truth, score = np.asarray(labels, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    if not score.size or not np.all((score >= 0) & (score <= 1)):
        return None
    return truth, score
