"""Rounded normal numbers: their probabilities, each decision's bits, and the ε of what they protect."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal, localcontext

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from fedward.privacy import noise
from fedward.privacy import rounded_normal as rounded_normal_module
from fedward.privacy.accountant import Event, epsilon
from fedward.privacy.rounded_normal import REACH, _buckets, rounded_normal

MANY = 1_000_000
RARE = 1e-6
"""A test by chance fails once in so many runs."""


def draw(size: int, std: float) -> NDArray[np.int64]:
    return rounded_normal(size, std, words=noise._words)


def probabilities(std: float, reach: int) -> NDArray[np.float64]:
    """Of -reach ... reach, by SciPy."""
    whole = np.arange(-reach, reach + 1)
    return np.where(
        whole > 0,
        stats.norm.sf(whole - 0.5, scale=std) - stats.norm.sf(whole + 0.5, scale=std),
        stats.norm.cdf(whole + 0.5, scale=std) - stats.norm.cdf(whole - 0.5, scale=std),
    )


@pytest.mark.parametrize("std", [1.0, 1.37, 3.0, 9.5, 63.9, 64.0, 100.1])
def test_each_whole_number_has_its_probability(std: float) -> None:
    reach = math.ceil(4 * std)
    found, expected = draw(MANY, std), probabilities(std, reach)
    counts = np.bincount(np.clip(found, -reach, reach) + reach, minlength=2 * reach + 1)
    expected[0] = stats.norm.cdf(-reach + 0.5, scale=std)
    expected[-1] = stats.norm.sf(reach - 0.5, scale=std)
    assert stats.chisquare(counts, expected * MANY, sum_check=False).pvalue > RARE


@pytest.mark.parametrize("std", [777.0, 2.0**20.3, 1e9])
def test_large_spreads(std: float) -> None:
    found = draw(MANY, std)
    assert found.dtype == np.int64 and found.shape == (MANY,)
    assert stats.kstest(found / std, "norm").pvalue > RARE
    assert found.std() / std == pytest.approx(1.0, abs=5 / math.sqrt(2 * MANY))
    assert abs(stats.kurtosis(found)) < 5 * math.sqrt(24 / MANY)
    for lag in (1, 2, rounded_normal_module._PROPOSALS):
        for values in (found / std, (found / std) ** 2):
            assert abs(np.corrcoef(values[:-lag], values[lag:])[0, 1]) < 5.5 / math.sqrt(MANY - lag)


def test_the_last_digits_are_uniform() -> None:
    """A draw that a float makes has gaps there."""
    counts = np.bincount(draw(MANY, 2.0**35) % 1024, minlength=1024)
    assert stats.chisquare(counts).pvalue > RARE


@pytest.mark.parametrize("size", [0, 1, 2, 16383, 16384, 16385])
def test_any_size(size: int) -> None:
    values = draw(size, 2.0**30)
    assert values.shape == (size,) and len(set(values.tolist())) >= size - 2


@pytest.mark.parametrize("std", [1.0, 5.0, 64.0, 90.0, 2.0**20.3, 2.0**36])
def test_the_table_has_the_weight_of_each_bucket(std: float) -> None:
    """The alias table's own arithmetic, summed up, against the density at each bucket's lower edge."""
    table = _buckets(std)
    columns, one = len(table.exact), 1 << rounded_normal_module._TABLE_BITS
    mass = [0] * columns
    for column, threshold in enumerate(table.exact):
        mass[column] += threshold
        mass[int(table.others[column])] += one - threshold
    width = 2.0**table.shift
    edges = np.arange(columns) * width / std
    wanted = np.where(edges < REACH + width / std, np.exp(-0.5 * edges**2), 0.0)
    found = np.array([share / one / columns for share in mass])
    np.testing.assert_allclose(found, wanted / wanted.sum(), rtol=1e-12, atol=1e-45)
    assert width <= std < 128 * width
    assert [threshold >> 172 for threshold in table.exact] == table.edges.tolist()


def given_words(*words: int) -> Callable[[int], NDArray[np.uint64]]:
    """A source of these words, in order."""
    left = list(words)

    def take(number: int) -> NDArray[np.uint64]:
        return np.array([left.pop(0) for _ in range(number)], np.uint64)

    return take


def test_where_the_first_bits_of_a_threshold_do_not_decide_more_are_drawn() -> None:
    table = _buckets(90.0)
    column = next(c for c in range(len(table.exact)) if 0 < int(table.edges[c]) < 1 << 19 and table.others[c] != c)
    rest = table.exact[column] & ((1 << 172) - 1)
    first = column << 21 | int(table.edges[column])

    def bucket(more: int) -> int:
        """Bucket of a draw whose threshold's first bits are equal and whose further bits are ``more``."""
        words = [more >> shift & (1 << 64) - 1 for shift in (0, 64, 128)]
        (found,) = table.draw(1, given_words(first, 0, *words))
        return int(found) >> table.shift

    assert bucket(rest - 1) == column
    assert bucket(rest) == int(table.others[column])


def test_where_the_first_bits_of_a_chance_do_not_decide_more_are_drawn() -> None:
    table = _buckets(1000.0)
    x = 5.0
    probability = math.exp(-(2 * 40 * 2**table.shift + x) * x / (2 * 1000.0**2))
    within, chance = int(x * 2 ** (32 - table.shift)), int(probability * 2**32)
    low, high = [0] * 2, [2**64 - 1] * 2
    assert table._decided(40, within, chance, given_words(*low, *low))
    assert not table._decided(40, within, chance, given_words(*low, *high))
    kept = table._kept(np.array([40]), np.array([within]), np.array([chance]), given_words(*low, *low))
    assert kept.tolist() == [True]


@pytest.mark.parametrize("std", [1.0, 5.0, 64.0, 90.0, 2.0**20.3, 2.0**36])
def test_a_chance_that_is_sure_is_below_every_probability_of_its_bucket(std: float) -> None:
    table = _buckets(std)
    with localcontext(prec=60):
        for bucket in range(math.ceil(REACH * std / 2**table.shift) + 1):
            upper = Decimal(((bucket + 1) ** 2 - bucket**2) << 2 * table.shift)
            least = (-upper / (2 * Decimal(std) ** 2)).exp()
            assert least - 2 * Decimal(2) ** -28 < Decimal(int(table.sure[bucket])) / 2**32 <= least


def test_both_ways_to_decide_agree() -> None:
    """The fast comparison, and that of 60 digits, for draws that both decide."""
    table, generator = _buckets(2.0**20.3), np.random.default_rng(0)
    bucket = generator.integers(0, 1300, 500)
    within, chance = generator.integers(0, 1 << 32, (2, 500))
    fast = table._kept(bucket, within, chance, given_words())
    for row in range(500):
        assert fast[row] == table._decided(int(bucket[row]), int(within[row]), int(chance[row]), noise._words)


def test_without_the_systems_entropy_nothing_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(size: int) -> bytes:
        raise OSError("no entropy")

    monkeypatch.setattr("fedward.privacy.noise.os.urandom", fail)
    with pytest.raises(OSError, match="no entropy"):
        draw(3, 10.0)


def shares(std: float, number: int) -> NDArray[np.float64]:
    """Probabilities of the sum of so many rounded shares, of ``std`` together, by convolution."""
    one = probabilities(std / math.sqrt(number), math.ceil(9 * std))
    found = one
    for _ in range(number - 1):
        found = np.convolve(found, one)
    middle, reach = len(found) // 2, math.ceil(9 * std)
    return found[middle - reach : middle + reach + 1]


def exact_delta(pmf: NDArray[np.float64], *, moved: int, rate: float, steps: int, epsilon: float) -> float:
    """δ at ``epsilon`` of a Poisson-sampled sum that one patient moves by ``moved``; the larger of adding and removing.

    By numerical integration over the privacy loss: its exact values, composed on a grid of 2e-5 that rounds down, so
    that the result errs downwards.
    """
    worst = 0.0
    without = np.pad(pmf, (moved, moved))
    with_one = (1 - rate) * without + rate * np.roll(without, moved)
    for p, q in ((with_one, without), (without, with_one)):
        both = (p > 0) & (q > 0)
        infinite = float(p[~both].sum())
        loss, width = np.log(p[both] / q[both]), 2e-5
        cells = np.floor(loss / width).astype(int)
        lowest = cells.min()
        distribution = np.bincount(cells - lowest, weights=p[both])
        size = 1 << (len(distribution) * steps).bit_length()
        composed = np.fft.irfft(np.fft.rfft(distribution, size) ** steps, size)[: (len(distribution) - 1) * steps + 1]
        total = (np.arange(len(composed)) + lowest * steps) * width
        above = total > epsilon
        tail = float((composed[above] * -np.expm1(epsilon - total[above])).sum())
        worst = max(worst, tail + 1.0 - (1.0 - infinite) ** steps)
    return worst


@pytest.mark.parametrize("number", [1, 2, 3, 8])
@pytest.mark.parametrize(
    ("rate", "steps", "multiplier"), [(1.0, 1, 1.0), (0.25, 4, 0.8), (0.1, 20, 1.0), (0.5, 3, 4.0)]
)
def test_our_epsilon_is_never_below_the_exact_one(number: int, rate: float, steps: int, multiplier: float) -> None:
    """One coordinate of 64 units a share or more: δ of the exact distribution at our ε is at most the δ asked for."""
    moved = math.ceil(64 * math.sqrt(number) / multiplier)
    pmf = shares(moved * multiplier, number)
    for delta in (1e-3, 1e-5):
        ours = epsilon([Event(sampling_rate=rate, noise_multiplier=multiplier, steps=steps)], delta=delta)
        found = exact_delta(pmf, moved=moved, rate=rate, steps=steps, epsilon=ours)
        assert 0.9 * delta <= found <= delta * (1 + 1e-6), "below: close; above: never"


@pytest.mark.parametrize("number", [2, 5])
def test_the_sum_of_shares_is_a_gaussian_that_is_blurred_and_rounded(number: int) -> None:
    """What the module proves by Poisson's formula: G plus uniform numbers, rounded; here for small shares, by SciPy."""
    std, fine = 3.0 * math.sqrt(number), 200
    reach = math.ceil(7 * std)
    x = np.arange(-reach * fine, reach * fine + 1) / fine
    density = stats.norm.pdf(x, scale=std) / fine
    box = np.full(fine + 1, 1.0 / fine)
    box[[0, -1]] /= 2
    for _ in range(number):
        density = np.convolve(density, box, mode="same")
    at_whole = density[::fine] * fine
    found = shares(std, number)
    middle = len(found) // 2
    np.testing.assert_allclose(found[middle - 20 : middle + 21], at_whole[reach - 20 : reach + 21], rtol=1e-4)
