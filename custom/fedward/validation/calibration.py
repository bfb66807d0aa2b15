"""Whether a score of 0.8 means 8 of 10: the reliability table and the expected calibration error.

Scores are probabilities of yes, shape (n,), parted into ten bins of equal width; a score on an edge is in the bin above
it, and 1 in the last. Of several classes each counts as one yes-or-no question, as in the classwise error of Kull et
al. (2019, NeurIPS, section 3).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fedward.privacy.metric_table import RELIABILITY_BINS

Table = dict[str, dict[str, float | int]]

_EDGES = np.array([float(edge) for edge in RELIABILITY_BINS[1:]])


def ece(labels: ArrayLike, scores: ArrayLike) -> float | None:
    """Expected calibration error: |share of yes - mean score| of each bin, weighted by its images.

    Naeini, Cooper and Hauskrecht (2015, AAAI, equation 4 and after) and Guo et al. (2017, ICML, equation 3), of the
    probability of yes.

    Returns:
        0 to 1, or None without an image, or with a score that is not 0 to 1.
    """
    pair = _checked(labels, scores)
    if pair is None:
        return None
    table = binned(pair[1], no=1.0 - pair[0], yes=pair[0])
    whole = sum(row["images"] for row in table.values())
    return float(sum(row["images"] * abs(row["observed"] - row["score"]) for row in table.values()) / whole)


def reliability(labels: ArrayLike, scores: ArrayLike, patients: Sequence[Any]) -> Table | None:
    """The reliability table (DeGroot and Fienberg 1983, The Statistician 32:12-22).

    Args:
        labels, scores: as ``ece``.
        patients: whose image each of the n is.

    Returns:
        Lower edge of each bin that has an image -> ``images``, their mean ``score``, the share ``observed`` as yes; and
        ``patients`` and ``positives`` as ``counted_once`` gives them. None without an image, or with a score that is
        not 0 to 1.
    """
    pair = _checked(labels, scores)
    if pair is None:
        return None
    truth, score = pair
    table = binned(score, no=1.0 - truth, yes=truth)
    without, positives = counted_once(truth == 1, tenths(score), patients)
    return with_patients(table, without=without, positives=positives)


def binned(score: NDArray[np.float64], *, no: NDArray[np.float64], yes: NDArray[np.float64]) -> Table:
    """The table of how many images are no and yes at each score, without patients; all (n,), counts of 0 or more."""
    place, count = tenths(score), len(RELIABILITY_BINS)
    images = np.bincount(place, weights=no + yes, minlength=count)
    total, positive = (np.bincount(place, weights=w, minlength=count) for w in (score * (no + yes), yes))
    return {
        edge: {
            "images": round(images[i]),
            "score": float(total[i] / images[i]),
            "observed": float(positive[i] / images[i]),
        }
        for i, edge in enumerate(RELIABILITY_BINS)
        if images[i]
    }


def with_patients(table: Table, *, without: NDArray[np.int64], positives: NDArray[np.int64]) -> Table:
    """A table with its bins' patients beside their images; ``counted_once`` gives the counts."""
    places = {edge: i for i, edge in enumerate(RELIABILITY_BINS)}
    return {
        edge: {
            "patients": int(without[places[edge]] + positives[places[edge]]),
            "positives": int(positives[places[edge]]),
            **row,
        }
        for edge, row in table.items()
    }


def tenths(score: NDArray[np.float64]) -> NDArray[np.intp]:
    """The bin of each score, (n,), from 0."""
    return np.searchsorted(_EDGES, score, side="right")


def counted_once(
    truth: NDArray[np.bool_], place: NDArray[np.intp], patients: Sequence[Any]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Each patient in one bin alone, so that bins that are put together have the sum of their patients.

    A patient with yes in an image counts in the lowest bin of such an image, any other in the lowest bin of an image.
    In no bin, and in no neighbours together, are then more than there are patients with such an image.

    Args:
        truth: yes of each image, (n,).
        place: its bin, (n,), from 0.
        patients: whose image each is.

    Returns:
        Patients without yes, and with, in each bin: two of int64 (bins,), which add up to all patients.
    """
    count = len(RELIABILITY_BINS)
    names, owner = np.unique(np.asarray(patients), return_inverse=True)
    lowest = {}
    for kind in (False, True):
        lowest[kind] = np.full(len(names), count)
        np.minimum.at(lowest[kind], owner[truth == kind], place[truth == kind])
    sick = lowest[True] < count
    found = [
        np.bincount(lowest[kind][sick == kind], minlength=count)[:count].astype(np.int64) for kind in (False, True)
    ]
    return found[False], found[True]


def _checked(labels: ArrayLike, scores: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    truth, score = np.asarray(labels, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    if not score.size or not np.all((score >= 0) & (score <= 1)):
        return None
    return truth, score
