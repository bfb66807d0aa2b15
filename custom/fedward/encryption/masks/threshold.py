"""Compute how many hospitals must help to open a sum, from how many may side with the server.

Let n hospitals take part, of whom at most t send the server whatever it likes. ``needed`` of the n hold shares that
open a sum, and each of them helps for one set of summed hospitals only. If two sets of a round were opened, each had
at least ``needed - t`` honest helpers, and no honest one helped for both, so ``2 (needed - t) <= n - t``. ``needed``
is the smallest number that contradicts this: ``floor((n + t) / 2) + 1``. So at most one set of a round is ever opened,
also against a server that tells each hospital something else (Bonawitz et al. 2017, CCS, section 6.2: "t > 2n/3" is
this bound for t = n/3).
"""

from __future__ import annotations

from dataclasses import dataclass

from fedward.errors import EncryptionError
from fedward.settings import MIN_CONTRIBUTORS


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """Bound on collusion in one run.

    Attributes:
        sites: number n of hospitals that take part.
        colluding: largest number t of them that may side with the server.

    Raises:
        EncryptionError: there are fewer than three hospitals, or fewer than two of them would be honest.
    """

    sites: int
    colluding: int

    def __post_init__(self) -> None:
        if self.sites < MIN_CONTRIBUTORS:
            raise EncryptionError(f"masked sum of fewer than {MIN_CONTRIBUTORS} hospitals", value=self.sites)
        if not 1 <= self.colluding <= self.sites - 2:
            raise EncryptionError(
                f"of {self.sites} hospitals no masked sum protects against so many that side with the server",
                value=self.colluding,
                remedy=f"give encryption.max_colluding from 1 to {self.sites - 2}",
            )

    @property
    def needed(self) -> int:
        """Number of hospitals that must help to open a sum."""
        return (self.sites + self.colluding) // 2 + 1

    @property
    def may_be_lost(self) -> int:
        """Number of hospitals that may be lost in a round, before or after their upload."""
        return self.sites - self.needed

    @property
    def fewest(self) -> int:
        """Smallest number of hospitals in a sum: two of them are honest, whoever the others are."""
        return max(MIN_CONTRIBUTORS, self.colluding + 2)

    def __str__(self) -> str:
        """Return the guarantee in words."""
        others = self.sites - self.colluding
        return (
            f"the server and up to {self.colluding} of {self.sites} hospitals together learn only the sum of the other "
            f"{others}; {self.needed} hospitals must help to open a sum, so {self.may_be_lost} may be lost in a round"
        )


def threshold_of(sites: int, *, colluding: int | None) -> Threshold:
    """Return the bound of a run with so many hospitals.

    Args:
        sites: number of hospitals that take part.
        colluding: ``encryption.max_colluding`` of the job; None: a third of the hospitals, and one at least.

    Raises:
        EncryptionError: as ``Threshold``.
    """
    return Threshold(sites=sites, colluding=max(1, sites // 3) if colluding is None else colluding)
