"""A site beside the others: numbers worked by hand, and what the usual rule cannot do."""

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedward.validation.comparison.sites import RECENT_S, SiteComparison, SiteValue, compare_sites

NOW = 1_000_000.0


def values(*numbers: float | None, high: float | None = None, age_s: float = 10.0) -> list[SiteValue]:
    """Sites a, b, c … with these values; ``high`` is the upper bound of the first one's interval."""
    return [
        SiteValue("abcdefghij"[i], number, None, high if i == 0 else None, NOW - age_s)
        for i, number in enumerate(numbers)
    ]


def flagged(found: dict[str, SiteComparison]) -> list[str]:
    return [site for site, standing in found.items() if standing.flagged]


def test_hand_worked() -> None:
    # others 0.80, 0.90: mean 0.85, standard deviation 0.05, limit 0.85 - 2 * 0.05 = 0.75
    standing = compare_sites(values(0.70, 0.80, 0.90), now=NOW)["a"]
    assert standing.flagged
    assert standing.others == 2
    assert standing.others_mean == pytest.approx(0.85)
    assert standing.others_sd == pytest.approx(0.05)
    assert standing.limit == pytest.approx(0.75)
    assert not compare_sites(values(0.76, 0.80, 0.90), now=NOW)["a"].flagged


@pytest.mark.parametrize("numbers", [(0.70, 0.87, 0.88, 0.88, 0.89), (0.10, 0.89, 0.90, 0.90, 0.91)])
def test_one_bad_site_among_five_is_flagged_and_no_other(numbers: tuple[float, ...]) -> None:
    assert flagged(compare_sites(values(*numbers), now=NOW)) == ["a"]


@given(st.lists(st.floats(0.0, 1.0), min_size=5, max_size=5))
def test_the_usual_rule_cannot_fire_with_five_sites(numbers: list[float]) -> None:
    spread = np.std(numbers)
    assert all(number >= np.mean(numbers) - 2 * spread - 1e-9 for number in numbers)


def test_even_a_site_at_chance_hides_in_a_mean_that_it_is_part_of() -> None:
    numbers = np.array([0.10, 0.90, 0.90, 0.90, 0.90])
    assert (numbers.mean() - numbers[0]) / numbers.std() == pytest.approx(math.sqrt(5 - 1))
    assert flagged(compare_sites(values(*numbers), now=NOW)) == ["a"]


def test_a_dead_sites_value_flags_no_one_and_is_in_no_mean() -> None:
    alive = values(0.88, 0.87, 0.89)
    low = SiteValue("dead", 0.10, 0.05, 0.15, NOW - RECENT_S - 1)
    high = SiteValue("gone", 1.00, 0.99, 1.00, NOW - 1e6)
    found = compare_sites([*alive, low, high], now=NOW)
    assert flagged(found) == []
    assert found["dead"] == SiteComparison(False, None, None, None, 3, "its value is too old to count")
    assert {site: found[site] for site in "abc"} == compare_sites(alive, now=NOW)


def test_a_value_counts_for_as_long_as_asked() -> None:
    old = values(0.70, 0.88, 0.88, age_s=100.0)
    assert flagged(compare_sites(old, now=NOW, recent_s=100.0)) == ["a"]
    assert flagged(compare_sites(old, now=NOW, recent_s=99.0)) == []


def test_a_site_whose_interval_reaches_the_others_mean_is_not_flagged() -> None:
    # others 0.88, 0.88, 0.88, 0.88: mean 0.88, limit 0.86
    assert flagged(compare_sites(values(0.70, 0.88, 0.88, 0.88, 0.88, high=0.93), now=NOW)) == []
    assert flagged(compare_sites(values(0.70, 0.88, 0.88, 0.88, 0.88, high=0.87), now=NOW)) == ["a"]
    touching = 0.875  # of others that are 0.875 each: an interval that ends on the mean reaches it
    assert flagged(compare_sites(values(0.70, touching, touching, touching, high=touching), now=NOW)) == []


def test_a_value_on_the_limit_is_not_below_it() -> None:
    # others 0.75, 1.0: mean 0.875, standard deviation 0.125, limit 0.625; all exact in binary
    assert flagged(compare_sites(values(0.625, 0.75, 1.0), now=NOW)) == []
    assert flagged(compare_sites(values(0.624, 0.75, 1.0), now=NOW)) == ["a"]


def test_identical_values_flag_nobody_and_a_trifle_flags_nobody() -> None:
    assert flagged(compare_sites(values(0.9, 0.9, 0.9, 0.9), now=NOW)) == []
    assert compare_sites(values(0.9, 0.9, 0.9, 0.9), now=NOW)["a"].others_sd == 0.01
    assert flagged(compare_sites(values(0.885, 0.9, 0.9, 0.9), now=NOW)) == []
    assert flagged(compare_sites(values(0.879, 0.9, 0.9, 0.9), now=NOW)) == ["a"]


def test_two_sites_are_not_compared() -> None:
    standing = compare_sites(values(0.1, 0.9, None), now=NOW)["a"]
    assert standing == SiteComparison(False, None, None, None, 1, "fewer than 3 sites have a recent value")


@pytest.mark.parametrize("nothing", [None, math.nan, math.inf])
def test_a_suppressed_value_is_neither_bad_nor_zero(nothing: float | None) -> None:
    found = compare_sites(values(nothing, 0.88, 0.88, 0.88), now=NOW)
    assert flagged(found) == []
    assert found["a"].why == "it has no value"
    assert found["b"].others == 2
    assert found["b"].others_mean == pytest.approx(0.88)


def test_a_site_that_does_better_is_not_flagged() -> None:
    assert flagged(compare_sites(values(0.99, 0.8, 0.8, 0.8), now=NOW)) == []


def test_nobody_and_a_site_twice() -> None:
    assert compare_sites([], now=NOW) == {}
    with pytest.raises(ValueError, match="two values"):
        compare_sites([*values(0.9), *values(0.8)], now=NOW)


def test_the_dashboard_loads_no_numbers_library_with_it() -> None:
    code = "import sys, fedward.validation.comparison.sites as c; sys.exit(bool({'numpy', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
