"""Who is surely false among sites that contradict each other, against every vertex cover tried one by one."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from fedward.aggregation.contradictions import surely_false

SITES = "abcdefgh"
PAIRS = list(combinations(SITES, 2))


@given(pairs=st.sets(st.sampled_from(PAIRS), max_size=12), most=st.integers(0, 4))
def test_it_is_what_every_cover_has_in_common(pairs: set[tuple[str, str]], most: int) -> None:
    covers = [
        set(some)
        for size in range(most + 1)
        for some in combinations(SITES, size)
        if all(one in some or other in some for one, other in pairs)
    ]
    assert surely_false(pairs, most=most) == (set.intersection(*covers) if covers else None)


@given(
    false=st.sets(st.sampled_from(SITES), max_size=3),
    drawn=st.sets(st.sampled_from(PAIRS), max_size=20),
)
def test_an_honest_site_is_never_named(false: set[str], drawn: set[tuple[str, str]]) -> None:
    """Honest sites contradict none but false ones."""
    pairs = [pair for pair in drawn if false & set(pair)]
    found = surely_false(pairs, most=3)
    assert found is not None and found <= false


def test_sites_that_lie_cannot_make_the_search_long() -> None:
    """40 pairs have 2^40 smallest covers; nobody is named."""
    pairs = [(f"a{number}", f"b{number}") for number in range(40)]
    assert surely_false(pairs, most=60) == frozenset()
    assert surely_false([*pairs, *(("x", f"y{number}") for number in range(70))], most=60) == {"x"}
