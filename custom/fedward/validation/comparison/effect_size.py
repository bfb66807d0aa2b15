"""Measure the distance of a site from the others in one quantity, in units of chance and usual differences.

The unit is √(chance² + usual² + spread²). Chance is the standard deviation from the site's number of patients alone.
Usual is a difference that does not matter. Spread is the distance of the other sites from each other, each from the
rest; the median of the squares is used, so that one unusual site among them neither hides another nor makes the rest
look unusual. A distance of 3 therefore means the same for a share, an age or a grey value, and a small, noisy site is
not far from the others in any quantity. Plain Python.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import fmean, median
from typing import Literal, TypeVar

Value = TypeVar("Value")
Shares = tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Difference of a site from the others in one quantity.

    Attributes:
        z: distance in the unit of this module, 0 or more.
        sentence: a sentence for people, with the numbers.
    """

    z: float
    sentence: str


def number_distance(
    own: float,
    others: Sequence[float],
    *,
    usual: float,
    chance: float,
    side: Literal["both", "above", "below"] = "both",
) -> float:
    """Return the distance of a number from the median of the others'; with ``side`` only in that direction."""

    def distance(value: float, rest: Sequence[float]) -> float:
        return value - median(rest)

    sign = {"both": 0.0, "above": 1.0, "below": -1.0}[side]
    far = distance(own, others)
    return max(0.0, far * sign if sign else abs(far)) / _unit(distance, others, usual=usual, chance=chance)


def shares_distance(
    own: Shares, others: Sequence[Shares], *, width: float, usual: float, chance: float
) -> tuple[float, float, float]:
    """Return the distance of a distribution over ordered bins from the mean of the others'.

    Args:
        own, others: shares of bins of equal width; the shares of each site sum to 1.
        width: of a bin; ``usual`` and ``chance`` are in its unit.

    Returns:
        The distance; and, in the unit of ``width``, the Wasserstein distance (first order) of the site from the
        others, and the largest such distance of another site from the rest, 0 if there is only one other site.
    """

    def distance(value: Shares, rest: Sequence[Shares]) -> float:
        mean = (fmean(column) for column in zip(*rest, strict=True))
        return width * math.fsum(map(abs, accumulate(a - b for a, b in zip(value, mean, strict=True))))

    apart = [distance(one, rest) for one, rest in _each_and_rest(others)]
    far = distance(own, others)
    return far / _unit(distance, others, usual=usual, chance=chance), far, max(apart, default=0.0)


def together(differences: Sequence[Difference], *, looked_at: int) -> float:
    """Return the largest of several distances, corrected for their number: z² minus 2·ln(number).

    This is the Bonferroni correction of a normal tail, to first order: a cause does not look stronger because more
    quantities were compared.
    """
    largest = max((one.z for one in differences), default=0.0)
    return math.sqrt(max(0.0, largest**2 - 2 * math.log(max(1, looked_at))))


def strength(z: float) -> float:
    """Map a distance to 0 to 1: z²/(z² + 9), so that 3 gives one half."""
    return z**2 / (z**2 + 9) if math.isfinite(z) else 1.0


def _unit(
    distance: Callable[[Value, Sequence[Value]], float], others: Sequence[Value], *, usual: float, chance: float
) -> float:
    squares = [distance(one, rest) ** 2 for one, rest in _each_and_rest(others)]
    return math.sqrt(usual**2 + chance**2 + (median(squares) if squares else 0.0))


def _each_and_rest(others: Sequence[Value]) -> list[tuple[Value, list[Value]]]:
    if len(others) < 2:
        return []
    return [(one, [*others[:i], *others[i + 1 :]]) for i, one in enumerate(others)]
