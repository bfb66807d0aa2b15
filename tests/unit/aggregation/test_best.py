"""The best of several models: higher wins, the later of equals, and a missing value never wins over a number."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedward.aggregation.best import Candidate, better, candidate

value = st.one_of(st.none(), st.floats(0, 1))


def test_the_mean_is_over_sites_that_have_a_value() -> None:
    assert candidate({}, [0.5, None, 1.0], after=1).score == pytest.approx(0.75)
    assert candidate({}, [None, None], after=1).score is None


@given(st.lists(value, min_size=1))
def test_the_last_of_the_highest_is_kept(scores: list[float | None]) -> None:
    best: Candidate[dict[str, int]] | None = None
    for number, score in enumerate(scores):
        best = better(best, candidate({}, [score], after=number))
    assert best is not None
    known = [score for score in scores if score is not None]
    assert best.score == (max(known) if known else None)
    if known:
        assert best.after == max(number for number, score in enumerate(scores) if score == max(known))
