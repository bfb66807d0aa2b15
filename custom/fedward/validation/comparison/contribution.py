"""Compute each site's contribution to a group: leave-one-out and Shapley values of a game. Plain arithmetic.

A game gives every coalition of the sites a value, such as the mean AUC of a model from their updates alone. The Shapley
value (Shapley 1953, A Value for n-Person Games) is the only division of the whole value that is efficient (the shares
add up), symmetric (equal sites get the same), gives 0 to a site that changes nothing, and adds up over games.
Leave-one-out needs fewer values, n + 1 in place of 2^n. It can give 0 to both of two equal sites, since the whole loses
nothing without one of them while the other is there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import combinations
from math import comb

from fedward.errors import FedwardError

Value = Callable[[frozenset[str]], float]
"""Function from a coalition to its value; called once for each coalition."""

MOST_SITES = 8
"""Largest number of sites for Shapley values: 2^8 = 256 values; each further site doubles them."""


def leave_one_out(sites: Iterable[str], value: Value) -> dict[str, float]:
    """Return the loss of the whole group without each site: v(N) - v(N without the site).

    Raises:
        FedwardError: a site is named twice.
    """
    names = _named(sites)
    everyone = frozenset(names)
    whole = value(everyone)
    return {site: whole - value(everyone - {site}) for site in names}


def shapley(sites: Iterable[str], value: Value) -> dict[str, float]:
    """Return each site's exact Shapley value: the mean of its added value over all orders in which sites can join.

    Guarantee: the values add up to v(N) - v(no site), up to rounding.

    Raises:
        FedwardError: a site is named twice, or there are more sites than ``MOST_SITES``.
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
    """Yield every subset of the sites, from the empty one to all."""
    for size in range(len(sites) + 1):
        for chosen in combinations(sites, size):
            yield frozenset(chosen)


def require_few(sites: Sequence[str]) -> None:
    """Refuse a group of sites for which 2^n values are too many.

    Raises:
        FedwardError: there are more than ``MOST_SITES``.
    """
    if len(sites) > MOST_SITES:
        remedy = f"exact values are for {MOST_SITES} sites or fewer; look at leave-one-out"
        raise FedwardError(f"{len(sites)} sites have {2 ** len(sites)} coalitions", remedy=remedy)


def _named(sites: Iterable[str]) -> list[str]:
    names = sorted(sites)
    if len(set(names)) != len(names):
        raise FedwardError("a site is named twice", where="contribution")
    return names
