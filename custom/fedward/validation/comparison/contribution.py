"""What each member of a group brought to it: leave-one-out and Shapley values of a game. Plain arithmetic.

A game gives every coalition of the sites a value, such as the mean AUC that a model from their updates alone reaches.
The Shapley value (Shapley 1953, A Value for n-Person Games) is the one way to share the whole's value out that is
efficient (the shares add up), symmetric (equals get the same), gives nothing to who changes nothing, and adds up over
games. Leave-one-out asks less, n + 1 values for 2^n, and can give two equal sites nothing each, since neither is missed
while the other is there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import combinations
from math import comb

from fedward.errors import FedwardError

Value = Callable[[frozenset[str]], float]
"""Coalition -> its value; asked once for each coalition."""

MOST_SITES = 8
"""2^8 = 256 values; each site more doubles them."""


def leave_one_out(sites: Iterable[str], value: Value) -> dict[str, float]:
    """What the whole group loses without each site: v(N) - v(N without the site).

    Raises:
        FedwardError: a site named twice.
    """
    names = _named(sites)
    everyone = frozenset(names)
    whole = value(everyone)
    return {site: whole - value(everyone - {site}) for site in names}


def shapley(sites: Iterable[str], value: Value) -> dict[str, float]:
    """Each site's Shapley value, exactly: the mean of what it adds over all orders in which the sites may come.

    Guarantee: the values add up to v(N) - v(nobody), to rounding.

    Raises:
        FedwardError: a site named twice, or more sites than ``MOST_SITES``.
    """
    names = _named(sites)
    require_few(names)
    worth = {coalition: value(coalition) for coalition in coalitions(names)}
    count = len(names)
    shares = {}
    for site in names:
        others = [name for name in names if name != site]
        total = 0.0
        for coalition in coalitions(others):
            weight = 1.0 / (count * comb(count - 1, len(coalition)))
            total += weight * (worth[coalition | {site}] - worth[coalition])
        shares[site] = total
    return shares


def coalitions(sites: Sequence[str]) -> Iterator[frozenset[str]]:
    """Every subset of the sites, from nobody to all."""
    for size in range(len(sites) + 1):
        for chosen in combinations(sites, size):
            yield frozenset(chosen)


def require_few(sites: Sequence[str]) -> None:
    """Refuse more sites than 2^n values are worth.

    Raises:
        FedwardError: more than ``MOST_SITES``.
    """
    if len(sites) > MOST_SITES:
        remedy = f"exact values are for {MOST_SITES} sites or fewer; look at leave-one-out"
        raise FedwardError(f"{len(sites)} sites have {2 ** len(sites)} coalitions", remedy=remedy)


def _named(sites: Iterable[str]) -> list[str]:
    names = sorted(sites)
    if len(set(names)) != len(names):
        raise FedwardError("a site is named twice", where="contribution")
    return names
