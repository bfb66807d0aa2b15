"""Round of a masked job with a sum for each group of hospitals; hospitals take the median of the groups' means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fedward.encryption.sums import pack_sums
from fedward.flare.protocol import MODEL, Model, Reply
from fedward.flare.server.averaging.round import Round, clipped_of
from fedward.flare.server.averaging.signed_sum import SignedSum


def purpose_of(group: int) -> str:
    """Return the name of a group's sum among the sums of a round."""
    return f"{MODEL}-{group}"


class GroupedRound(Round):
    """Round of sums by group. Each message is added when it arrives.

    Args:
        adders: an empty sum for each group.
        groups: hospitals of each group.
        after: number of rounds that made the model from which the round starts.
        values: largest number of clipped values that a site can report.
    """

    def __init__(
        self, adders: Sequence[SignedSum], groups: Sequence[Sequence[str]], *, after: int, values: int
    ) -> None:
        super().__init__()
        self._adders, self._after, self._values = list(adders), after, values
        self._group = {site: number for number, sites in enumerate(groups) for site in sites}

    @property
    def sums(self) -> Mapping[str, SignedSum]:
        return {purpose_of(number): adder for number, adder in enumerate(self._adders)}

    @property
    def sites(self) -> list[str]:
        return sorted(site for adder in self._adders for site in adder.sites)

    def _take(self, site: str, reply: Reply) -> None:
        self._adders[self._group[site]].add(reply, MODEL, site=site)
        if (clipped := clipped_of(reply, values=self._values)) is not None:
            self.clipped[site] = clipped

    def _settle(self) -> None:
        """Leave out nothing: the server cannot read a norm."""

    def _close(self) -> Model:
        return Model(after=self._after + 1, sealed=pack_sums([adder.sum() for adder in self._adders]))
