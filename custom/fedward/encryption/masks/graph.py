"""Decide which hospitals mask with each other, and which of them hold each other's shares.

In the complete graph each pair of hospitals has a mask, and each hospital holds shares of all. ``neighbours`` and
``holders`` are the only things that the rest of this room knows of a graph.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fedward.encryption.masks.threshold import Threshold


@dataclass(frozen=True, slots=True)
class Graph:
    """Mask graph of one run.

    Attributes:
        sites: hospitals of the run, names sorted.
        needed: number of a hospital's holders that give its secrets back.
        fewest: smallest number of hospitals in a sum.
    """

    sites: tuple[str, ...]
    needed: int
    fewest: int

    @classmethod
    def complete(cls, sites: Iterable[str], *, colluding: int) -> Graph:
        """Return the graph in which each pair of hospitals has a mask.

        Args:
            sites: hospitals of the run.
            colluding: largest number of them that may side with the server.

        Raises:
            EncryptionError: as ``Threshold``.
        """
        names = tuple(sorted(sites))
        bound = Threshold(sites=len(names), colluding=colluding)
        return cls(names, bound.needed, bound.fewest)

    def neighbours(self, site: str) -> tuple[str, ...]:
        """Return the hospitals with which a hospital has masks, sorted."""
        return tuple(other for other in self.sites if other != site)

    def holders(self, site: str) -> tuple[str, ...]:
        """Return the hospitals that hold shares of a hospital's secrets, sorted: its neighbours and itself."""
        return tuple(sorted((*self.neighbours(site), site)))

    def point(self, holder: str) -> int:
        """Return the point of a holder's shares: from 1, the same for every hospital's secrets."""
        return self.sites.index(holder) + 1
