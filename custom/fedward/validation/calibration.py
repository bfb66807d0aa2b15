"""Whether a score of 0.8 means 8 of 10: the reliability table and the expected calibration error.

Scores are probabilities of yes, shape (n,), parted into ten bins of equal width; a score on an edge is in the bin above
it, and 1 in the last. Of several classes each counts as one yes-or-no question, as in the classwise error of Kull et
al. (2019, NeurIPS, section 3).
"""

from __future__ import annotations

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
    table = reliability(labels, scores)
    if table is None:
        return None
    whole = sum(row["n"] for row in table.values())
    return float(sum(row["n"] * abs(row["observed"] - row["score"]) for row in table.values()) / whole)


def reliability(labels: ArrayLike, scores: ArrayLike) -> Table | None:
    """The reliability table (DeGroot and Fienberg 1983, The Statistician 32:12-22).

    Returns:
        Lower edge of each bin that has an image -> ``n`` images, their mean ``score``, the share ``observed`` as yes;
        None without an image, or with a score that is not 0 to 1.
    """
    truth, score = np.asarray(labels, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    if not score.size or not np.all((score >= 0) & (score <= 1)):
        return None
    return binned(score, no=1.0 - truth, yes=truth)


def binned(score: NDArray[np.float64], *, no: NDArray[np.float64], yes: NDArray[np.float64]) -> Table:
    """The reliability table of how many are no and yes at each score; all (n,), counts of 0 or more."""
    place, count = np.searchsorted(_EDGES, score, side="right"), len(RELIABILITY_BINS)
    images = np.bincount(place, weights=no + yes, minlength=count)
    total, positive = (np.bincount(place, weights=w, minlength=count) for w in (score * (no + yes), yes))
    return {
        edge: {"n": round(images[i]), "score": float(total[i] / images[i]), "observed": float(positive[i] / images[i])}
        for i, edge in enumerate(RELIABILITY_BINS)
        if images[i]
    }
