"""Compute how many others a hospital draws for a sparse mask graph, so that the graph protects like the complete one.

CCESA (Choi, Sohn, Han, Moon 2020, "Communication-computation efficient secure aggregation for federated learning")
masks over an Erdős–Rényi graph in place of the complete one, and shares secrets with neighbours only. Here every
hospital draws ``picks`` others at random, after it has seen who takes part. Two hospitals mask with each other if one
has drawn the other, and a hospital's secrets are shared among itself and those that it drew. So two honest hospitals
mask with probability ``edges``, as in the paper, and a dishonest hospital that chooses whom it "draws" only adds masks.

``picks`` is the smallest number for which all of these hold, with n hospitals of whom t side with the server, and L
that the server may leave out of a sum **as it likes, after it has seen the graph**:

1. ``edges`` is at least the theorem's p* (``ccesa_probability``), for the share L/n of hospitals lost in all steps.
2. The honest hospitals that are left mask with each other along a connected graph, except with probability 2^-41: the
   expected number of ways to cut off a part of them (union over every choice of L hospitals and every part).
3. Of no honest hospital do ``needed`` or more of its holders side with the server, except with probability 2^-41.
4. Where L hospitals are lost at random, ``needed`` holders of each hospital are left, except with probability 2^-20.

The paper's theorem is asymptotic and its server follows the protocol; 2 and 3 are exact sums and bear one that lies.
Bell et al. (2020, CCS, "Secure single-server aggregation with (poly)logarithmic overhead") count as 2 and 3 do.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import ceil, comb, inf, lgamma, log, log2, sqrt

from fedward.encryption.masks.graphs.threshold import Threshold
from fedward.errors import EncryptionError

_PRIVATE, _OPENS = 41, 20
"""Bits of the probabilities that privacy (twice) or the opening of a sum fails."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SparseBound:
    """Size of a sparse graph.

    Attributes:
        picks: number of others that each hospital draws.
        needed: number of a hospital's holders that give its secrets back.
        edges: probability that two honest hospitals mask with each other.
    """

    picks: int
    needed: int
    edges: float


@lru_cache(maxsize=256)
def sparse_bound(threshold: Threshold) -> SparseBound:
    """Return the smallest sparse graph that bears what the threshold says.

    Raises:
        EncryptionError: only the complete graph does.
    """
    sites, least = threshold.sites, ccesa_probability(threshold)
    if least < 1.0:
        for picks in range(1, sites - 1):
            edges = 1.0 - (1.0 - picks / (sites - 1)) ** 2
            if edges < least or _log2_cut(threshold, picks) > -_PRIVATE:
                continue
            needed = _needed(threshold, picks)
            if needed is not None:
                return SparseBound(picks=picks, needed=needed, edges=edges)
    lost = threshold.may_be_lost
    why = "no sparse graph is safe by Choi et al." if least >= 1.0 else "no smaller graph is safe with 2^-40"
    raise EncryptionError(
        f"graph ccesa saves nothing with {sites} hospitals, of which {threshold.colluding} may side with the server "
        f"and {lost} be lost: {why}",
        remedy='give encryption.graph = "complete"',
    )


def degrees(threshold: Threshold) -> tuple[int, int]:
    """Return how many neighbours, as a mean rounded up, and how many holders a hospital has in a sparse graph.

    Raises:
        EncryptionError: as ``sparse_bound``.
    """
    bound = sparse_bound(threshold)
    return ceil(bound.edges * (threshold.sites - 1)), bound.picks + 1


def ccesa_probability(threshold: Threshold) -> float:
    """Return p* of CCESA, the smallest edge probability for which its theorem holds; 1 where it gives 1 or more.

    With q the share lost in each of four steps and m = ceil(n (1-q)^3 - sqrt(n ln n)), p* is the larger of
    (3 sqrt((n-1) ln(n-1)) - 1) / ((n-1) (2 (1-q)^4 - 1)) and ln(m) / m.
    """
    n = threshold.sites
    kept: float = 1.0 - threshold.may_be_lost / n
    below = (n - 1) * (2.0 * kept - 1.0)
    m = ceil(n * sqrt(sqrt(kept)) ** 3 - sqrt(n * log(n)))
    if below <= 0.0 or m < 2:
        return 1.0
    return min(1.0, max((3.0 * sqrt((n - 1) * log(n - 1)) - 1.0) / below, log(m) / m))


def _log2_cut(threshold: Threshold, picks: int) -> float:
    """Return log2 of the expected number of ways to leave L honest hospitals out and cut the others in two parts."""
    others, honest = threshold.sites - 1, threshold.sites - threshold.colluding
    left = honest - threshold.may_be_lost
    terms = []
    for part in range(1, left // 2 + 1):
        rest = left - part
        ways = _log2_comb(honest, part) + _log2_comb(honest - part, rest)
        terms.append(ways + part * _log2_none(others, picks, rest) + rest * _log2_none(others, picks, part))
    highest = max(terms, default=-inf)
    return highest if highest == -inf else highest + log2(sum(2.0 ** (term - highest) for term in terms))


def _log2_none(others: int, picks: int, among: int) -> float:
    """Return log2 of the probability that a hospital draws none of ``among`` others."""
    return _log2_comb(others - among, picks) - _log2_comb(others, picks) if picks <= others - among else -inf


def _log2_comb(n: int, k: int) -> float:
    return (lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)) / log(2.0) if 0 <= k <= n else -inf


def _needed(threshold: Threshold, picks: int) -> int | None:
    """Return the smallest number of holders of condition 3, if condition 4 holds with it."""
    sites, others = threshold.sites, threshold.sites - 1
    for needed in range(2, picks + 2):
        if sites * _more(others, threshold.colluding, picks, needed) << _PRIVATE <= comb(others, picks):
            lost = picks + 2 - needed  # of ``picks`` holders and the hospital itself; it is there if its message is
            unopened = sites * _more(others, threshold.may_be_lost, picks, lost)
            return needed if unopened << _OPENS <= comb(others, picks) else None
    return None


def _more(others: int, marked: int, picks: int, least: int) -> int:
    """Return the number of draws of ``picks`` others with ``least`` or more of the ``marked`` ones among them."""
    return sum(comb(marked, n) * comb(others - marked, picks - n) for n in range(least, min(marked, picks) + 1))
