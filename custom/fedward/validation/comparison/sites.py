"""Which hospital the model serves worse than the others: each value beside the mean and spread of the *other* sites.

The usual rule, "two standard deviations below the mean of all", cannot fire with five sites or fewer: a value's
distance from a mean that it is part of is at most √(n - 1) standard deviations (Samuelson 1968), and √4 is
not more than 2. So a site is left out of what it is held against, and so is whoever has not reported for a while. Plain
Python: the dashboard's process imports it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

RECENT_S = 900.0
"""Seconds for which a value counts."""
LEAST_SITES = 3
"""Fewest sites with a recent value, the one in question among them: of one other site there is no spread."""
LEAST_SD = 0.01
"""The others' standard deviation counts as this much at least, so that sites that agree flag nobody over a trifle."""
LIMIT_SD = 2.0


@dataclass(frozen=True, slots=True)
class SiteValue:
    """What one site last reported of one measure, higher for better (AUC, Dice).

    Attributes:
        site: its id.
        value: None where it is suppressed or could not be measured.
        low, high: its 95 % interval, or None.
        reported_at: seconds since the epoch, by the same clock as ``now``.
    """

    site: str
    value: float | None
    low: float | None
    high: float | None
    reported_at: float


@dataclass(frozen=True, slots=True)
class SiteComparison:
    """One site beside the others.

    Attributes:
        flagged: it does worse than the others by more than their spread and its own interval explain.
        others_mean, others_sd: of the other sites' recent values; the standard deviation with n in the denominator and
            at least LEAST_SD. None where no site is compared.
        limit: others_mean - 2·others_sd.
        others: how many other sites have a recent value.
        why: one phrase for people.
    """

    flagged: bool
    others_mean: float | None
    others_sd: float | None
    limit: float | None
    others: int
    why: str


def compare_sites(values: Sequence[SiteValue], *, now: float, recent_s: float = RECENT_S) -> dict[str, SiteComparison]:
    """Hold each site against the others.

    A site is flagged when its value is below the limit and its interval, where it has one, ends below the others'
    mean. A site without a value, or whose value is older than ``recent_s``, is neither flagged nor held against
    anybody; with fewer than LEAST_SITES recent values nobody is. The worst of several bad sites may hide behind the
    others' spread: a second bad site widens it.

    Args:
        values: one a site, of one job and one measure.
        now: seconds since the epoch. For a job that has ended, the moment it ended.
        recent_s: seconds for which a value counts.

    Returns:
        Site -> standing, in the order of ``values``.

    Raises:
        ValueError: a site is there twice.
    """
    if len({one.site for one in values}) != len(values):
        raise ValueError("a site has two values")
    recent = {one.site: one.value for one in values if one.value is not None and _counts(one, now, recent_s)}
    return {one.site: _standing(one, recent) for one in values}


def _counts(one: SiteValue, now: float, recent_s: float) -> bool:
    return one.value is not None and math.isfinite(one.value) and now - one.reported_at <= recent_s


def _standing(one: SiteValue, recent: dict[str, float]) -> SiteComparison:
    others = [value for site, value in recent.items() if site != one.site]
    if one.site not in recent:
        old = one.value is not None and math.isfinite(one.value)
        return _uncompared(len(others), "its value is too old to count" if old else "it has no value")
    if len(others) + 1 < LEAST_SITES:
        return _uncompared(len(others), f"fewer than {LEAST_SITES} sites have a recent value")
    value, mean = recent[one.site], math.fsum(others) / len(others)
    sd = max(LEAST_SD, math.sqrt(math.fsum((other - mean) ** 2 for other in others) / len(others)))
    limit = mean - LIMIT_SD * sd
    beside = f"{value:.3f}, the {len(others)} others {mean:.3f} ± {sd:.3f}"
    if not value < limit:
        flagged, why = False, f"{beside}: not below {limit:.3f}"
    elif one.high is not None and not one.high < mean:
        flagged, why = False, f"{beside}: below {limit:.3f}, but its interval reaches up to {one.high:.3f}"
    else:
        flagged, why = True, f"{beside}: below {limit:.3f}"
    return SiteComparison(flagged, mean, sd, limit, len(others), why)


def _uncompared(others: int, why: str) -> SiteComparison:
    return SiteComparison(False, None, None, None, others, why)
