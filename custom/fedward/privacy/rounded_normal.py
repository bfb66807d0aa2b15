"""Draw normal numbers rounded to whole ones, with their exact probabilities: floating point decides nothing.

Noise in floating point takes few of the values around a number, and the gaps can disclose the number that it was added
to (Mironov 2012). Here a whole number gets a whole number of noise, ``round(G)`` with G normal. A whole x plus
``round(G)`` is ``round(x + G)``: what is released is computed from the Gaussian mechanism's own result, and its ε is
that of the Gaussian mechanism or less.

So is the sum of several shares. Let G1 ... Gm be normal with standard deviations of 64 or more. The probability of
``round(G)`` at k is the density of G + U at k, where U is uniform in (-1/2, 1/2). By Poisson's summation formula, the
sum of the m shares has at k the density of G1 + ... + Gm + U1 + ... + Um, up to a relative error of about
2·exp(-pi²·64²) for each share, which is below 10^-17000. That density at k is the probability that
``round(G1 + ... + Gm + U2 + ... + Um)`` is k: again computed from the Gaussian mechanism's result, with the variances
added (compare Kairouz, Liu and Steinke 2021, section 4, for discrete Gaussians).

The method is rejection from an envelope of steps. The half line is cut into buckets of W = 2^k whole numbers, so that
the deviation is 64 to 128 of them. A bucket is drawn with a probability proportional to the density at its lower edge,
by the alias method (Walker 1977; Vose 1991) with thresholds of 192 bits; then x uniformly within it; the draw is kept
with the probability density(x) / density(edge), about 0.99. It is kept without computing this if its random number is
below the probability at the bucket's upper edge, which is the smallest. Each comparison uses the first 20 or 32 bits of
its random number. Where these cannot decide, more bits are drawn and compared with a value of 60 digits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, localcontext
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

LEAST, MOST = 1.0, 2.0**36
"""Standard deviations that can be drawn."""
REACH = 13.5
"""Largest absolute value, in standard deviations; a larger one has a probability below 2^-133."""
_COLUMNS_BITS, _EDGE_BITS, _TABLE_BITS = 11, 20, 192
"""Of a first half word: the column, a sign, and the comparison with the column's threshold, which has more bits."""
_PROPOSALS = 1 << 14
"""Numbers proposed at a time: small enough for the processor's cache."""
_UNSURE = 2.0**-28
"""More than the error of float64 and of the bits that are not drawn yet, together, in a probability to keep a draw."""

Words = Callable[[int], NDArray[np.uint64]]
"""Function that returns so many independent random words."""


def rounded_normal(size: int, std: float, *, words: Words) -> NDArray[np.int64]:
    """Draw independent normal numbers of mean 0, each rounded to the nearest whole number.

    Args:
        size: number of values, >= 0.
        std: standard deviation before rounding, ``LEAST`` to ``MOST``.
        words: source of random words.

    Returns:
        int64, shape ``(size,)``.

    Raises:
        ValueError: size or std is out of its range.
    """
    if size < 0 or not LEAST <= std <= MOST:
        raise ValueError(f"rounded_normal() takes size >= 0 and a std of {LEAST:g} to {MOST:g}, not {size} and {std}")
    buckets, out, filled = _buckets(float(std)), np.empty(size, np.int64), 0
    while filled < size:
        kept = buckets.draw(min(_PROPOSALS, size - filled + 64), words)[: size - filled]
        out[filled : filled + kept.size] = kept
        filled += kept.size
    return out


@dataclass(frozen=True, slots=True, eq=False)
class _Buckets:
    """Alias table of one standard deviation.

    Attributes:
        std: standard deviation.
        shift: k of the buckets' width 2^k.
        exact: threshold of each column, in units of 2^-192: below it the column's own bucket is drawn.
        edges: the first 20 bits of each.
        others: bucket that is drawn instead, from a column's threshold on.
        sure: for each bucket, a chance in units of 2^-32 below which every number in it is kept.
    """

    std: float
    shift: int
    exact: tuple[int, ...]
    edges: NDArray[np.uint32]
    others: NDArray[np.int64]
    sure: NDArray[np.uint32]

    def draw(self, number: int, words: Words) -> NDArray[np.int64]:
        """Propose so many numbers and return those that are kept."""
        halves = words(-(-3 * number // 2)).view(np.uint32)[: 3 * number]
        first, within, chance = halves.reshape(3, number)
        column = (first >> (32 - _COLUMNS_BITS)).astype(np.int64)
        low, edge = first & ((1 << _EDGE_BITS) - 1), self.edges.take(column)
        own = low < edge
        for tie in np.flatnonzero(low == edge):
            own[tie] = self._below(int(column[tie]), words)
        bucket = np.where(own, column, self.others.take(column))
        keep = chance < self.sure.take(bucket)
        left = np.flatnonzero(~keep)
        keep[left] = self._kept(bucket[left], within[left], chance[left], words)
        value = within.astype(np.int64)
        value <<= self.shift
        value += 1 << 31
        value >>= 32
        value += bucket << self.shift
        value *= 1 - (first >> (_EDGE_BITS - 1) & 2).astype(np.int64)
        return np.asarray(value[keep], np.int64)

    def _below(self, column: int, words: Words) -> bool:
        """Compare further bits of a random number, whose first bits equal those of a column's threshold."""
        more = _TABLE_BITS - _EDGE_BITS
        return _bits(more, words) < self.exact[column] & ((1 << more) - 1)

    def _kept(
        self, bucket: NDArray[np.int64], within: NDArray[np.uint32], chance: NDArray[np.uint32], words: Words
    ) -> NDArray[np.bool_]:
        """Return which proposals are kept, by the first 32 bits of each position and chance."""
        x = within * 2.0 ** (self.shift - 32)
        edge = bucket * 2.0 ** (self.shift + 1)
        probability = np.exp((edge + x) * x * (-0.5 / self.std**2))
        drawn = chance * 2.0**-32
        keep = drawn < probability - _UNSURE
        for unsure in np.flatnonzero(~keep & (drawn < probability + _UNSURE)):
            keep[unsure] = self._decided(int(bucket[unsure]), int(within[unsure]), int(chance[unsure]), words)
        return np.asarray(keep, np.bool_)

    def _decided(self, bucket: int, within: int, chance: int, words: Words) -> bool:
        """Decide whether a proposal is kept, by 160 bits of its position and chance."""
        more = 128
        with localcontext() as context:
            context.prec = 60
            x = Decimal(within << more | _bits(more, words)) * Decimal(2) ** (self.shift - 32 - more)
            drawn = Decimal(chance << more | _bits(more, words)) * Decimal(2) ** -(32 + more)
            edge = Decimal(bucket << (self.shift + 1))
            return drawn < (-(edge + x) * x / (2 * Decimal(self.std) ** 2)).exp()


@lru_cache(maxsize=8)
def _buckets(std: float) -> _Buckets:
    shift = max(0, math.floor(math.log2(std)) - 6)
    count, columns = math.ceil(REACH * std / 2**shift) + 1, 1 << _COLUMNS_BITS
    with localcontext() as context:
        context.prec = 80
        ratio = (Decimal(2**shift) / Decimal(std)) ** 2 / 2
        weights = [int((-ratio * bucket * bucket).exp() * (1 << 230)) for bucket in range(count)]
    whole = sum(weights)
    left = [weight * columns for weight in weights] + [0] * (columns - count)
    others = list(range(columns))
    short = [column for column in range(columns) if left[column] < whole]
    long = [column for column in range(columns) if left[column] >= whole]
    while short and long:  # Vose's method: a column with too little is filled up from one with too much
        column, giver = short.pop(), long.pop()
        others[column] = giver
        left[giver] -= whole - left[column]
        (short if left[giver] < whole else long).append(giver)
    exact = tuple((share << _TABLE_BITS) // whole for share in left)
    edges = np.array([threshold >> (_TABLE_BITS - _EDGE_BITS) for threshold in exact], np.uint32)
    least = np.exp(-(2.0 * np.arange(columns) + 1.0) * 2.0 ** (2 * shift) / (2.0 * std**2))
    sure = np.floor(np.maximum(least - _UNSURE, 0.0) * 2.0**32).astype(np.uint32)
    return _Buckets(std, shift, exact, edges, np.array(others, np.int64), sure)


def _bits(count: int, words: Words) -> int:
    """Return a random whole number of so many bits, a multiple of 4."""
    drawn = int.from_bytes(words(-(-count // 64)).tobytes(), "little")
    return drawn & ((1 << count) - 1)
