"""Find hospitals that the model serves worse than the others: compare each with mean and SD of the *other* sites.

The usual rule, "two standard deviations below the mean of all", cannot flag a site among five sites or fewer: a value's
distance from a mean that includes it is at most √(n - 1) standard deviations (Samuelson 1968), and √4 is not more than
2. So a site is compared with the other sites alone, and only with those that reported recently. Plain Python: the
dashboard's process imports it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

RECENT_S = 900.0
"""Age in seconds up to which a value counts as recent."""
LEAST_SITES = 3
"""Smallest number of sites with a recent value, the compared site included: one other site has no spread."""
LEAST_SD = 0.01
"""Minimum SD of the others, so that near-identical sites raise no false flag."""
LIMIT_SD = 2.0


@dataclass(frozen=True, slots=True)
class SiteValue:
    """Last reported value of one measure at one site, higher for better (AUC, Dice).

    Attributes:
        site: its id.
        value: None if it is suppressed or could not be measured.
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
    """Comparison of one site with the others.

    Attributes:
        flagged: True if it is worse than the others by more than their spread and its own interval explain.
        others_mean, others_sd: of the other sites' recent values; the standard deviation with n in the denominator and
            at least LEAST_SD. None if the site is not compared.
        limit: others_mean - 2·others_sd.
        others: number of other sites with a recent value.
        why: one phrase for people.
    """

    flagged: bool
    others_mean: float | None
    others_sd: float | None
    limit: float | None
    others: int
    why: str


def compare_sites(values: Sequence[SiteValue], *, now: float, recent_s: float = RECENT_S) -> dict[str, SiteComparison]:
    """Compare each site with the others.

    A site is flagged if its value is below the limit and its interval, if it has one, ends below the others' mean. A
    site without a value, or with a value older than ``recent_s``, is neither flagged nor used for the others. With
    fewer than LEAST_SITES recent values no site is compared. Of several bad sites the worst may not be flagged: a
    second bad site increases the others' spread.

    Args:
        values: one for each site, of one job and one measure.
        now: seconds since the epoch. For a job that has ended, the time of its end.
        recent_s: age in seconds up to which a value counts.

    Returns:
        Site -> comparison, in the order of ``values``.

    Raises:
        ValueError: a site has two values.
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
