"""Sensitivity and specificity at a threshold that was chosen on other patients than those it is judged by.

A threshold that is chosen and judged on the same patients looks better than it is, the more so the fewer they are
(Leeflang et al. 2008, Clinical Chemistry 54:729-737). So a hospital's patients are dealt into folds; each fold is
judged by the threshold that the other folds choose, and the decisions are counted together (cross-validatory choice,
Stone 1974, JRSS B 36:111-147). The wanted specificity is then aimed at, and what was reached is told beside it.

The 95 % interval draws patients anew, the decisions being as they are. Where that says nothing, since all decisions of
a class were alike or too few patients have it, it is Clopper and Pearson's (1934, Biometrika 26:404-413) with as many
trials as patients have an image of the class: images of one patient then count as one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fedward.validation.bootstrap import LEVEL, Interval, patient_intervals
from fedward.validation.ranking import checked, cumulated

SPECIFICITY = 0.95
"""Share of the well that a threshold is to leave alone."""
FOLDS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatingPoint:
    """What a threshold's decisions came to.

    Attributes:
        sensitivity, specificity: share of positives called yes, and of negatives called no; None without any.
        sensitivity_low, sensitivity_high, specificity_low, specificity_high: 95 % intervals over patients.
    """

    sensitivity: float | None = None
    sensitivity_low: float | None = None
    sensitivity_high: float | None = None
    specificity: float | None = None
    specificity_low: float | None = None
    specificity_high: float | None = None


def choose_threshold(labels: ArrayLike, scores: ArrayLike, *, specificity: float = SPECIFICITY) -> float | None:
    """The lowest score that, where it and all above are called yes, leaves ``specificity`` of the negatives alone.

    Args:
        labels: 0 and 1, (n,).
        scores: finite, (n,), higher for yes.
        specificity: 0 to 1.

    Returns:
        One of the scores; the next number above all of them where no score does; None with one class only or a score
        that is not finite.
    """
    pair = checked(labels, scores)
    if pair is None:
        return None
    thresholds, _, false_alarms = cumulated(*pair)
    allowed = np.flatnonzero(false_alarms <= (1 - specificity) * false_alarms[-1] + 1e-9)
    return float(thresholds[allowed[-1]] if len(allowed) else np.nextafter(thresholds[0], np.inf))


def at_threshold(labels: ArrayLike, scores: ArrayLike, patients: Sequence[Any], *, threshold: float) -> OperatingPoint:
    """What a threshold that comes from elsewhere, such as from another hospital, reaches here.

    Args:
        labels, scores: as ``choose_threshold``; one class may be absent, and its share is then None.
        patients: whose image each of the n is.
        threshold: scores of it and above are called yes.
    """
    score = np.asarray(scores, dtype=np.float64)
    if not score.size or not np.isfinite(score).all():
        return OperatingPoint()
    return judged(labels, score >= threshold, patients)


def cross_fitted_calls(
    labels: ArrayLike,
    scores: ArrayLike,
    patients: Sequence[Any],
    *,
    specificity: float = SPECIFICITY,
    folds: int = FOLDS,
) -> NDArray[np.bool_] | None:
    """Each image's yes or no, (n,), by the threshold that the other folds' patients choose.

    Returns:
        None with one class only, a score that is not finite, or where a fold's others lack a class: it takes two
        patients with a positive image and two with a negative one.
    """
    pair = checked(labels, scores)
    if pair is None:
        return None
    truth, score = pair
    fold = deal(truth, patients, folds=folds)
    called = np.zeros(len(truth), dtype=bool)
    for number in np.unique(fold):
        here = fold == number
        threshold = choose_threshold(truth[~here], score[~here], specificity=specificity)
        if threshold is None:
            return None
        called[here] = score[here] >= threshold
    return called


def deal(labels: ArrayLike, patients: Sequence[Any], *, folds: int = FOLDS) -> NDArray[np.int64]:
    """The fold of each image, (n,): patients in the order of their ids, those with a positive first, dealt like cards.

    The same patients and labels always fall the same way, and no patient is in two folds. Ids are keyed hashes and so
    in no order of their own.
    """
    names, owner = np.unique(np.asarray(patients), return_inverse=True)
    sick = np.bincount(owner, weights=np.asarray(labels).astype(np.float64), minlength=len(names)) > 0
    place = np.empty(len(names), dtype=np.int64)
    place[np.argsort(~sick, kind="stable")] = np.arange(len(names))
    fold: NDArray[np.int64] = (place % folds)[owner]
    return fold


def judged(labels: ArrayLike, called: ArrayLike, patients: Sequence[Any]) -> OperatingPoint:
    """Shares and intervals of decisions that were made.

    Args:
        labels: 0 and 1, (n,).
        called: whether each image was called yes, (n,).
        patients: whose image each is.
    """
    truth, yes = np.asarray(labels).astype(bool), np.asarray(called).astype(bool)
    return point_of(truth, yes, patients, patient_intervals(drawn_shares(truth, yes), patients))


def drawn_shares(
    truth: NDArray[np.bool_], called: NDArray[np.bool_]
) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """Sensitivity and specificity as a function of how often each image was drawn, (draws, n) -> (draws, 2)."""
    right = np.stack([truth & called, ~truth & ~called], axis=1).astype(np.float64)
    each = np.stack([truth, ~truth], axis=1).astype(np.float64)

    def shares(counts: NDArray[np.float64]) -> NDArray[np.float64]:
        drawn = counts @ each
        found: NDArray[np.float64] = np.divide(counts @ right, drawn, out=np.full(drawn.shape, np.nan), where=drawn > 0)
        return found

    return shares


def point_of(
    truth: NDArray[np.bool_], called: NDArray[np.bool_], patients: Sequence[Any], drawn: Sequence[Interval | None]
) -> OperatingPoint:
    """The shares with the intervals that drawing patients gave them, or Clopper and Pearson's where it says nothing.

    Args:
        truth, called, patients: as ``judged``.
        drawn: intervals of ``drawn_shares``, or empty.
    """
    owners = np.asarray(patients)
    found: dict[str, float] = {}
    sides = (("sensitivity", truth, called), ("specificity", ~truth, ~called))
    for (name, side, right), interval in zip(sides, drawn or (None, None), strict=True):
        if not side.any():
            continue
        share = float(np.mean(right[side]))
        if interval is None or interval[0] == interval[1]:
            interval = exact_interval(share, len(np.unique(owners[side])))
        found |= {name: share, f"{name}_low": interval[0], f"{name}_high": interval[1]}
    return OperatingPoint(**found)


def exact_interval(share: float, trials: int, *, level: float = LEVEL) -> Interval:
    """Clopper and Pearson's interval of a share; where share times trials is no whole number, by the beta quantiles.

    Args:
        share: 0 to 1.
        trials: 1 or more.
        level: 0 to 1.
    """
    from scipy.special import betaincinv

    tail, won = (1 - level) / 2, share * trials
    low = float(betaincinv(won, trials - won + 1, tail)) if share > 0 else 0.0
    high = float(betaincinv(won + 1, trials - won, 1 - tail)) if share < 1 else 1.0
    return low, high
