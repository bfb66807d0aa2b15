"""Add the hospitals' noised gradients of a round, of those alone that made them from the same model."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fedward.encryption.message import is_digest, unpack
from fedward.errors import JobError
from fedward.flare.protocol import MODEL, MaskedSum, Model, Reply
from fedward.flare.secagg_context import INITIAL, STATE
from fedward.flare.server.averaging.round import Round
from fedward.flare.server.averaging.signed_sum import SignedSum

_OTHER = "its model and optimizer are not those of most hospitals: its gradients do not count"


class GradientRound(Round):
    """Round of a job with noise for the sum.

    The server has no model. Each hospital says the digest of its own, which is bound into its message; messages with
    equal digests are added, each when it arrives, and the sum with most hospitals counts. Memory grows with the number
    of different models, which is 1 where every hospital is honest.

    Args:
        adder: function of a digest that makes an empty sum of the round.
        after: rounds before this one.
    """

    def __init__(self, adder: Callable[[str], SignedSum], *, after: int) -> None:
        super().__init__()
        self._adder, self._after, self._sums = adder, after, dict[str, SignedSum]()

    @property
    def sums(self) -> Mapping[str, SignedSum]:
        return {MODEL: self._chosen}

    @property
    def sites(self) -> list[str]:
        return sorted(self._chosen.sites)

    @property
    def _chosen(self) -> SignedSum:
        if not self._sums:
            self._sums[INITIAL] = self._adder(INITIAL)
        return self._sums[max(self._sums, key=lambda state: (len(self._sums[state].sites), state))]

    def _take(self, site: str, reply: Reply) -> None:
        state = (reply.sealed or {}).get(STATE)
        if type(state) is not str or not is_digest(state):
            raise JobError("answer does not say from which model its gradients are")
        known = self._sums.get(state) or self._adder(state)
        known.add(reply, MODEL, site=site)
        self._sums[state] = known

    def _settle(self) -> None:
        chosen = self._chosen
        self.left_out = {site: _OTHER for each in self._sums.values() if each is not chosen for site in each.sites}
        self._sums = {state: each for state, each in self._sums.items() if each is chosen}

    def restore(self, masked: MaskedSum) -> None:
        """Continue from the sum of another process of the server."""
        state = unpack(masked.sealed).topic.base
        self._sums = {state: self._adder(state)}
        self._sums[state].restore(masked)

    def _close(self) -> Model:
        return Model(after=self._after + 1, sealed=self._chosen.sum())
