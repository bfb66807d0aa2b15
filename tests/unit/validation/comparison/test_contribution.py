"""Leave-one-out and Shapley values of games that can be worked by hand."""

from __future__ import annotations

from itertools import permutations
from math import factorial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedward.errors import FedwardError
from fedward.validation.comparison.contribution import Value, coalitions, leave_one_out, shapley

Coalition = frozenset[str]
SITES = ("a", "b", "c", "d")
values = st.floats(-10, 10, allow_nan=False)
games = st.lists(values, min_size=16, max_size=16).map(lambda worth: dict(zip(coalitions(SITES), worth, strict=True)))


def glove(coalition: Coalition) -> float:
    """Left gloves at a and b, a right one at c; a pair is worth 1."""
    return float(min(len(coalition & {"a", "b"}), len(coalition & {"c"})))


def test_the_glove_game() -> None:
    """Of the six orders c completes a pair in four, and a and b in one each (Shapley 1953's game of unequal gloves)."""
    assert shapley("abc", glove) == pytest.approx({"a": 1 / 6, "b": 1 / 6, "c": 4 / 6})
    assert leave_one_out("abc", glove) == {"a": 0.0, "b": 0.0, "c": 1.0}


def test_an_additive_game_gives_each_its_own() -> None:
    own = {"a": 0.1, "b": -0.4, "c": 0.0, "d": 2.0}
    game = lambda coalition: sum(own[site] for site in coalition)  # noqa: E731 - a game is a function
    assert shapley(SITES, game) == pytest.approx(own)
    assert leave_one_out(SITES, game) == pytest.approx(own)


def test_three_sites_by_hand() -> None:
    """Over the orders abc, acb, bac, cab, bca, cba what a adds is 1, 1, 4 - 2, 5 - 3, 9 - 6, 9 - 6: 12/6 = 2."""
    worth = {"": 0.0, "a": 1.0, "b": 2.0, "c": 3.0, "ab": 4.0, "ac": 5.0, "bc": 6.0, "abc": 9.0}
    game = lambda coalition: worth["".join(sorted(coalition))]  # noqa: E731 - a game is a function
    assert shapley("abc", game) == pytest.approx({"a": 2.0, "b": 3.0, "c": 4.0})
    assert leave_one_out("abc", game) == {"a": 3.0, "b": 4.0, "c": 5.0}


@given(games)
def test_it_is_the_mean_over_all_orders_of_what_a_site_adds(game: dict[Coalition, float]) -> None:
    """The definition itself, 24 orders for four sites."""
    wanted = dict.fromkeys(SITES, 0.0)
    for order in permutations(SITES):
        for place, site in enumerate(order):
            before = frozenset(order[:place])
            wanted[site] += (game[before | {site}] - game[before]) / factorial(len(SITES))
    assert shapley(SITES, game.__getitem__) == pytest.approx(wanted, abs=1e-9)


@given(games)
def test_efficient_the_shares_add_up_to_the_whole(game: dict[Coalition, float]) -> None:
    total = sum(shapley(SITES, game.__getitem__).values())
    assert total == pytest.approx(game[frozenset(SITES)] - game[frozenset()], abs=1e-9)


@given(games)
def test_symmetric_equals_get_the_same(game: dict[Coalition, float]) -> None:
    def alike(coalition: Coalition) -> float:
        """a and b are made interchangeable: whoever of them comes, it is as if a came first."""
        pair = len(coalition & {"a", "b"})
        return game[(coalition - {"a", "b"}) | frozenset(("a", "b")[:pair])]

    shares = shapley(SITES, alike)
    assert shares["a"] == pytest.approx(shares["b"], abs=1e-9)


@given(games)
def test_a_dummy_gets_nothing(game: dict[Coalition, float]) -> None:
    without: Value = lambda coalition: game[coalition - {"d"}]  # noqa: E731 - a game is a function
    assert shapley(SITES, without)["d"] == pytest.approx(0.0, abs=1e-9)
    assert leave_one_out(SITES, without)["d"] == 0.0


@given(games, games)
def test_additive_over_games(one: dict[Coalition, float], other: dict[Coalition, float]) -> None:
    both = shapley(SITES, lambda coalition: one[coalition] + other[coalition])
    first, second = shapley(SITES, one.__getitem__), shapley(SITES, other.__getitem__)
    assert both == pytest.approx({site: first[site] + second[site] for site in SITES}, abs=1e-9)


def test_each_coalition_is_valued_once_and_too_many_sites_not_at_all() -> None:
    asked: list[Coalition] = []

    def value(coalition: Coalition) -> float:
        asked.append(coalition)
        return 0.0

    shapley(SITES, value)
    assert len(asked) == len(set(asked)) == 16
    with pytest.raises(FedwardError, match="512 coalitions"):
        shapley([str(i) for i in range(9)], value)
    with pytest.raises(FedwardError, match="named twice"):
        leave_one_out(["a", "a"], value)
