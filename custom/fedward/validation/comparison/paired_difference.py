"""Compute the difference of two models on the same patients, with an interval that resamples both models together.

Two intervals that overlap do not show that nothing changed, since the models err on the same hard images. The interval
of the difference does (paired bootstrap; Efron and Tibshirani 1993, An Introduction to the Bootstrap, section 13.3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedward.validation.bootstrap import Interval, mean_interval, patient_interval
from fedward.validation.ranking import drawn_areas


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Value after minus value before, with the 95 % interval over patients; None if it cannot be computed."""

    value: float | None
    low: float | None
    high: float | None


NO_CHANGE = Change(value=None, low=None, high=None)


def auc_change(
    labels: NDArray[np.int64], before: NDArray[np.float64], after: NDArray[np.float64], patients: Sequence[str]
) -> Change:
    """Compute the change of the mean over labels of the area under the ROC curve.

    Args:
        labels: 0 and 1, (n, labels).
        before, after: the two models' scores, (n, labels), higher for yes.
        patients: patient of each of the n images.
    """
    areas = []
    for column, one, other in zip(labels.T, before.T, after.T, strict=True):
        pair = drawn_areas(column, one), drawn_areas(column, other)
        if pair[0] is None or pair[1] is None:
            return NO_CHANGE
        areas.append((pair[0], pair[1]))

    def change(counts: NDArray[np.float64]) -> NDArray[np.float64]:
        drawn: NDArray[np.float64] = np.mean([new(counts) - old(counts) for old, new in areas], axis=0)
        return drawn

    value = float(change(np.ones((1, len(labels))))[0])
    return _change(value, patient_interval(change, patients))


def dice_change(before: NDArray[np.float64], after: NDArray[np.float64]) -> Change:
    """Compute the change of the mean Dice over patients, (patients,), NaN for a patient without a structure."""
    moved = np.asarray(after, dtype=np.float64) - np.asarray(before, dtype=np.float64)
    there = moved[np.isfinite(moved)]
    if not there.size:
        return NO_CHANGE
    return _change(float(there.mean()), mean_interval(moved, range(len(moved))))


def _change(value: float, interval: Interval | None) -> Change:
    return (
        Change(value=value, low=None, high=None)
        if interval is None
        else Change(value=value, low=interval[0], high=interval[1])
    )
