"""Successive halving as a pure function."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from fedward.demo.search.halving import halve, rung_sizes

COUNTS, BUDGETS, FACTORS = st.integers(1, 60), st.integers(1, 40), st.integers(2, 4)


def test_the_papers_example_by_hand() -> None:
    """Eight trials, factor 2, eight rounds: 8 of one round, 4 of two, 2 of four, 1 of eight: 8 rounds a rung."""
    assert rung_sizes(8, budget=8, factor=2) == ((8, 1), (4, 2), (2, 4), (1, 8))
    assert rung_sizes(6, budget=10, factor=2) == ((6, 2), (3, 5), (1, 10))
    assert rung_sizes(5, budget=1, factor=2) == ((5, 1),), "nothing can be shortened: a grid"
    assert rung_sizes(1, budget=9, factor=2) == ((1, 9),)


@given(COUNTS, BUDGETS, FACTORS)
def test_each_rung_keeps_its_share_and_the_last_has_the_whole_budget(count: int, budget: int, factor: int) -> None:
    sizes = rung_sizes(count, budget=budget, factor=factor)
    assert sizes[0][0] == count and sizes[-1][1] == budget
    for (more, short), (fewer, long) in pairwise(sizes):
        assert fewer == max(1, more // factor) < more
        assert 1 <= short < long
    assert sum(trials * each for trials, each in sizes) <= count * budget, "never dearer than the grid"


@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), min_size=1, max_size=40), BUDGETS, FACTORS)
def test_the_best_wins_where_a_short_trial_tells_the_order(
    values: list[float | None], budget: int, factor: int
) -> None:
    """The score grows with the budget and keeps the order: the choice is the best of all, and the first of equals."""
    runs: list[tuple[int, int]] = []

    def score(trial: int, rounds: int) -> float | None:
        runs.append((trial, rounds))
        value = values[trial]
        return None if value is None else value * (1 - 0.5 ** (rounds + 60))

    rungs = halve(range(len(values)), score, budget=budget, factor=factor)
    ranked = [-1.0 if value is None else value for value in values]
    assert rungs[-1].scores[0][0] == ranked.index(max(ranked))
    assert [len(rung.scores) for rung in rungs] == [n for n, _ in rung_sizes(len(values), budget=budget, factor=factor)]
    assert len(runs) == sum(len(rung.scores) for rung in rungs) == len(set(runs))


def test_who_was_dropped_is_not_run_again() -> None:
    """Trial 3 would be the best at the end, but starts slowly: halving cannot know."""
    scores = {1: [0.5, 0.6, 0.7, 0.1], 2: [0.5, 0.6, 0.7, 0.2], 4: [0.5, 0.6, 0.7, 1.0]}
    rungs = halve(range(4), lambda trial, rounds: scores[rounds][trial], budget=4)
    assert [[trial for trial, _ in rung.scores] for rung in rungs] == [[2, 1, 0, 3], [2, 1], [2]]
    assert [rung.budget for rung in rungs] == [1, 2, 4]
