"""Ask how many hospitals of a run, or of a sum, are known at this hospital, as its policy demands."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from fedward.encryption.masks.known_sites import read_roster, require_known
from fedward.encryption.masks.members import Member, known_members
from fedward.settings import SitePolicy


class KnownHere:
    """Roster of this hospital, for one run.

    Args:
        policy: of the hospital: its roster, and how many hospitals must be known.
        colluding: largest number of hospitals that may side with the server.
    """

    def __init__(self, policy: SitePolicy, *, colluding: int) -> None:
        self._policy, self._colluding = policy, colluding

    @property
    def roster(self) -> dict[str, str]:
        """Hospitals on the roster, each with the fingerprint of its key; errors as ``read_roster``."""
        return {} if self._policy.roster is None else read_roster(self._policy.roster)

    def among(self, members: Mapping[str, Member]) -> frozenset[str]:
        """Return the hospitals of a run that are known here, if they are enough; errors as ``require_known``."""
        known = known_members(self.roster, members, site=self._policy.site)
        self.require(known, members)
        return known

    def require(self, known: frozenset[str], sites: Collection[str], *, group: bool = False) -> None:
        """Refuse a run or a sum in which too few are known, or too many are not; errors as ``require_known``.

        Args:
            known: hospitals of the run that are known.
            sites: hospitals of the run, or of the sum.
            group: the sum is of a group, which may have fewer hospitals than must be known in the run; then as many
                must be known as do not side with the server.
        """
        fewest = self._policy.min_known
        if group:
            fewest = min(fewest, max(1, len(sites) - 1 - self._colluding))
        require_known(known, sites, site=self._policy.site, fewest=fewest, colluding=self._colluding)
