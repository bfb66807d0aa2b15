"""Measure sensitivity and specificity at a threshold that was chosen on other patients.

A threshold that is chosen and tested on the same patients looks better than it is, above all if they are few (Leeflang
et al. 2008, Clinical Chemistry 54:729-737). So a hospital's patients are divided into folds. Each fold is decided by
the threshold that the other folds choose, and the decisions are counted together (cross-validatory choice, Stone 1974,
JRSS B 36:111-147). The wanted specificity is thus a target, and the specificity that was reached is reported too.

The 95 % interval resamples patients; the decisions stay the same. If resampling gives no interval, because all
decisions of a class were equal or too few patients have the class, the interval is Clopper and Pearson's (1934,
Biometrika 26:404-413). Its number of trials is the number of patients with an image of the class: images of one patient
then count as one.
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
"""Target specificity of a threshold: share of negatives that it should call no."""
FOLDS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatingPoint:
    """Sensitivity and specificity of a threshold's decisions.

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
    """Return the lowest threshold (yes from it upwards) that calls at least ``specificity`` of the negatives no.

    Args:
        labels: 0 and 1, (n,).
        scores: finite, (n,), higher for yes.
        specificity: 0 to 1.

    Returns:
        One of the scores; the next number above all of them if no score reaches it; None with one class only or a score
        that is not finite.
    """
    pair = checked(labels, scores)
    if pair is None:
        return None
    thresholds, _, false_alarms = cumulated(*pair)
    allowed = np.flatnonzero(false_alarms <= (1 - specificity) * false_alarms[-1] + 1e-9)
    return float(thresholds[allowed[-1]] if len(allowed) else np.nextafter(thresholds[0], np.inf))


def at_threshold(labels: ArrayLike, scores: ArrayLike, patients: Sequence[Any], *, threshold: float) -> OperatingPoint:
    """Compute sensitivity and specificity of a given threshold, such as another hospital's.

    Args:
        labels, scores: as in ``choose_threshold``; one class may be absent, and its share is then None.
        patients: patient of each of the n images.
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
    """Decide yes or no for each image, (n,), by the threshold that the other folds' patients choose.

    Returns:
        The decisions; None with one class only, with a score that is not finite, or if the other folds of a fold lack a
        class: two patients with a positive image and two with a negative one are needed.
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
    """Assign a fold to each image, (n,): patients in the order of their ids, first those with a positive, in turn.

    The same patients and labels always give the same folds, and no patient is in two folds. Ids are keyed hashes, so
    their order carries no information.
    """
    names, owner = np.unique(np.asarray(patients), return_inverse=True)
    sick = np.bincount(owner, weights=np.asarray(labels).astype(np.float64), minlength=len(names)) > 0
    place = np.empty(len(names), dtype=np.int64)
    place[np.argsort(~sick, kind="stable")] = np.arange(len(names))
    fold: NDArray[np.int64] = (place % folds)[owner]
    return fold


def judged(labels: ArrayLike, called: ArrayLike, patients: Sequence[Any]) -> OperatingPoint:
    """Compute shares and intervals of given decisions.

    Args:
        labels: 0 and 1, (n,).
        called: True for each image that was called yes, (n,).
        patients: patient of each image.
    """
    truth, yes = np.asarray(labels).astype(bool), np.asarray(called).astype(bool)
    return point_of(truth, yes, patients, patient_intervals(drawn_shares(truth, yes), patients))


def drawn_shares(
    truth: NDArray[np.bool_], called: NDArray[np.bool_]
) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """Return sensitivity and specificity as a function of the draws of each image, (draws, n) -> (draws, 2)."""
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
    """Return the shares with their resampled intervals, or with Clopper and Pearson's if resampling gives none.

    Args:
        truth, called, patients: as in ``judged``.
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
    """Compute Clopper and Pearson's interval of a share by beta quantiles; share times trials need not be an integer.

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
