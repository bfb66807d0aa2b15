"""Judge a hospital's own result against the consortium's threshold: pass, fail, or undecided.

Only the whole 95 % interval decides. An estimate above the threshold is no pass if its interval reaches below the
threshold, or if it comes from four patients.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from fedward.validation.bootstrap import LEVEL, Interval

Verdict = Literal["pass", "fail", "undecided", "insufficient support"]

MOST_MORE = 100_000
"""Largest number of further patients that is reported."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """Verdict with its threshold and reason.

    Attributes:
        verdict: of the whole interval against the threshold.
        threshold: 0 to 1.
        more_patients: further labelled patients that would decide it if the result stayed the same; None if the verdict
            is not "undecided", or if the result is too near the threshold for a useful number.
        why: one line, without a number that the hospital's minimum count hides.
    """

    verdict: Verdict
    threshold: float
    more_patients: int | None
    why: str


def judge(value: float | None, interval: Interval | None, *, patients: int, threshold: float) -> Judgement:
    """Judge a result against a threshold.

    Args:
        value: the result; None if the hospital's minimum count hides it or it could not be computed.
        interval: its 95 % interval over patients; for a perfect area see ``supported``.
        patients: number of patients of the result.
        threshold: 0 to 1.

    Returns:
        "pass" if the interval's low end reaches the threshold, "fail" if its high end is below it, "undecided" if the
        interval contains it, "insufficient support" without value or interval.
    """
    if value is None or interval is None:
        why = "too few patients for a number"
        return Judgement(verdict="insufficient support", threshold=threshold, more_patients=None, why=why)
    low, high = interval
    if low >= threshold:
        why = f"all of the interval reaches {threshold:.3f}"
        return Judgement(verdict="pass", threshold=threshold, more_patients=None, why=why)
    if high < threshold:
        why = f"all of the interval lies below {threshold:.3f}"
        return Judgement(verdict="fail", threshold=threshold, more_patients=None, why=why)
    more = _more(value, interval, patients=patients, threshold=threshold)
    why = f"the interval holds {threshold:.3f}; "
    if more is None:
        why += "the result lies so near it that no number of patients is worth naming"
    else:
        why += f"some {more} more labelled patients would decide it, if the result stayed where it is"
    return Judgement(verdict="undecided", threshold=threshold, more_patients=more, why=why)


def supported(value: float, interval: Interval, *, positive_patients: int, negative_patients: int) -> Interval:
    """Widen an area's interval at 0 or 1 to the width that the number of patients supports.

    Resampling patients cannot widen the interval of a perfect area: it gives (1, 1) even for two patients of each kind.
    But with m patients of the rarer kind there are m disjoint pairs of a positive and a negative patient. Each is won
    with probability A, all of them with A^m. So exactly the areas A below ``0.025^(1/m)`` are rejected at 2.5 %: this
    is Clopper and Pearson's (1934) bound for m out of m.
    """
    low, high = interval
    pairs = max(1, min(positive_patients, negative_patients))
    bound = ((1 - LEVEL) / 2) ** (1 / pairs)
    if value == 1.0:
        low = min(low, bound)
    if value == 0.0:
        high = max(high, 1 - bound)
    return low, high


def _more(value: float, interval: Interval, *, patients: int, threshold: float) -> int | None:
    """Return the further patients needed: the half of the interval towards the threshold shrinks as 1/√patients."""
    half = value - interval[0] if value >= threshold else interval[1] - value
    gap = abs(value - threshold)
    if gap == 0 or half / gap > math.sqrt(MOST_MORE):
        return None
    needed = math.ceil(patients * (half / gap) ** 2 - 1e-6)
    more = max(1, needed - patients)
    return more if more <= MOST_MORE else None
