"""Find who is surely false among sites that contradict each other, if no more than a few are false.

Of two sites that contradict each other one at least is false. So the false ones are a vertex cover of the graph of
contradictions, and a site is surely false if it is in every vertex cover of at most so many sites.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

_STEPS = 1 << 12
"""Steps of the search: sites that lie choose the graph, and must not choose the server's time."""


def surely_false(pairs: Iterable[tuple[str, str]], *, most: int) -> frozenset[str] | None:
    """Return the sites that are in every vertex cover of at most ``most`` sites; None: there is none.

    A site that contradicts more than ``most`` others is in each (Buss and Goldsmith 1993, SIAM Journal on Computing
    22(3)). The others are searched for; where the search takes too long, none of them is named.

    Args:
        pairs: two sites that contradict each other.
        most: largest number of false sites.
    """
    sure, left = set[str](), {frozenset(pair) for pair in pairs if pair[0] != pair[1]}
    while over := _over(left, most - len(sure)):
        sure.add(over)
        left = {pair for pair in left if over not in pair}
        if len(sure) > most:
            return None
    search = _Search()
    search.covers(left, frozenset(), most - len(sure))
    if search.steps > _STEPS:
        return frozenset(sure)
    return None if search.common is None else frozenset(sure) | search.common


def _over(pairs: set[frozenset[str]], most: int) -> str | None:
    """Return the site that contradicts most others, if they are more than may be false."""
    counts = Counter(site for pair in pairs for site in pair)
    site, count = max(sorted(counts.items()), key=lambda one: one[1], default=("", 0))
    return site if count > most else None


class _Search:
    """Search of all vertex covers: ``common`` are the sites in each that was found; None: none was."""

    def __init__(self) -> None:
        self.common: frozenset[str] | None = None
        self.steps = 0

    def covers(self, pairs: set[frozenset[str]], chosen: frozenset[str], most: int) -> None:
        self.steps += 1
        if self.steps > _STEPS:
            return
        if not pairs:
            self.common = chosen if self.common is None else self.common & chosen
            return
        if most <= 0:
            return
        for site in sorted(min(pairs, key=sorted)):
            self.covers({pair for pair in pairs if site not in pair}, chosen | {site}, most - 1)
