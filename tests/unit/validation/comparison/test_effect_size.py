"""Check a site's distance from the others, by hand."""

import math

import pytest
from scipy.stats import wasserstein_distance

from fedward.validation.comparison.effect_size import Difference, number_distance, shares_distance, strength, together


def test_number_by_hand() -> None:
    # from the median 0.2 by 0.3; others from each one's rest: 0.1 - 0.25, 0.2 - 0.2, 0.3 - 0.15; median square 0.0225
    unit = math.sqrt(0.04**2 + 0.03**2 + 0.15**2)
    assert number_distance(0.5, [0.1, 0.2, 0.3], usual=0.04, chance=0.03) == pytest.approx(0.3 / unit)
    # of one other there is no spread
    assert number_distance(0.5, [0.2], usual=0.04, chance=0.03) == pytest.approx(0.3 / 0.05)


def test_one_side_alone() -> None:
    assert number_distance(0.1, [0.2], usual=0.1, chance=0.0, side="above") == 0.0
    assert number_distance(0.1, [0.2], usual=0.1, chance=0.0, side="below") == pytest.approx(1.0)
    assert number_distance(0.1, [0.2], usual=0.1, chance=0.0) == pytest.approx(1.0)


def test_one_odd_site_among_the_others_neither_hides_nor_accuses() -> None:
    even, odd = [0.2] * 4, [0.2, 0.2, 0.2, 0.9]
    assert number_distance(0.9, odd, usual=0.1, chance=0.0) == number_distance(0.9, even, usual=0.1, chance=0.0) > 3
    assert number_distance(0.2, odd, usual=0.1, chance=0.0) == 0.0


def test_where_all_differ_nobody_is_far() -> None:
    assert number_distance(0.5, [0.1, 0.3, 0.7, 0.9], usual=0.01, chance=0.0) < 1


def test_shares_as_scipy() -> None:
    own, others = (0.1, 0.2, 0.7), [(0.5, 0.3, 0.2), (0.3, 0.3, 0.4)]
    z, far, apart = shares_distance(own, others, width=10.0, usual=3.0, chance=4.0)
    bins = [5.0, 15.0, 25.0]
    assert far == pytest.approx(wasserstein_distance(bins, bins, own, (0.4, 0.3, 0.3)))
    assert apart == pytest.approx(wasserstein_distance(bins, bins, *others))
    assert z == pytest.approx(far / math.sqrt(3.0**2 + 4.0**2 + apart**2))


def test_looking_at_more_does_not_make_stronger() -> None:
    four = [Difference(z=z, sentence="") for z in (3.0, 1.0, 0.5, 0.0)]
    assert together(four, looked_at=4) == pytest.approx(math.sqrt(9 - 2 * math.log(4)))
    assert together(four[:1], looked_at=1) == 3.0
    assert together(four[1:], looked_at=3) == together([], looked_at=0) == 0.0


def test_strength() -> None:
    assert (strength(0.0), strength(3.0), strength(math.inf)) == (0.0, 0.5, 1.0)
    assert strength(6.0) == pytest.approx(36 / 45)
