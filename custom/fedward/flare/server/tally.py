"""Add the hospitals' sealed counts and confirmations, which the server cannot read."""

from __future__ import annotations

from fedward.errors import FedwardError
from fedward.flare.protocol import Reply, Sum
from fedward.flare.refusal import one_line
from fedward.flare.server.averaging.signed_sum import SignedSum
from fedward.settings import MIN_CONTRIBUTORS


class Tally:
    """Sum of counts over the sites that send theirs; a site whose counts are missing or cannot be added is left out."""

    def __init__(self, adder: SignedSum, purpose: str) -> None:
        self._adder, self.purpose = adder, purpose

    @property
    def sites(self) -> list[str]:
        return sorted(self._adder.sites)

    @property
    def sums(self) -> dict[str, SignedSum]:
        """The sum, by its purpose."""
        return {self.purpose: self._adder}

    def take(self, replies: dict[str, Reply]) -> dict[str, str]:
        """Add the sites' messages; return the sites whose message cannot be added, with the reason."""
        refused = {}
        for site, reply in sorted(replies.items()):
            if self.purpose not in (reply.sealed or {}):
                continue
            try:
                self._adder.add(reply, self.purpose, site=site)
            except FedwardError as error:
                refused[site] = one_line(str(error))
        return refused

    def close(self) -> Sum | None:
        """Return the sum for a hospital to open; None for fewer than three hospitals."""
        return (
            Sum(purpose=self.purpose, sealed=self._adder.sum()) if len(self._adder.sites) >= MIN_CONTRIBUTORS else None
        )
