"""Round of a masked job whose models are compared before they are summed, so that the farthest are left out."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from fedward.encryption.distances.sketched_sum import SketchedSum
from fedward.encryption.keys.signature import Signed
from fedward.encryption.message import unpack
from fedward.errors import EncryptionError, FederationError
from fedward.flare.protocol import MODEL, MaskedSum, Model, Reply
from fedward.flare.server.averaging.round import SecureRound
from fedward.flare.server.averaging.signed_sum import SignedSum

FAR = "its model was not among those nearest to each other"


class ComparedRound(SecureRound):
    """Secure round that keeps every message until it is known which are summed: memory grows with the sites.

    Args:
        adder: empty sum.
        after: number of rounds that made the model from which the round starts.
        values: largest number of clipped values that a site can report.
        fewest_sketches: number of sites' shares that prove a sum if all are true.
    """

    def __init__(self, adder: SignedSum, *, after: int, values: int, fewest_sketches: int) -> None:
        super().__init__(adder, after=after, values=values)
        self._fewest_sketches = fewest_sketches
        self._held: dict[str, tuple[bytes, Signed]] = {}
        self.seed = b""
        """Seed of the sketches by which the models were compared; empty before that."""
        self.sketches_needed = 0

    @property
    def sites(self) -> list[str]:
        return sorted(self._held) if self._held else super().sites

    @property
    def nonces(self) -> Mapping[str, str]:
        """Site -> nonce of its message."""
        return {site: unpack(message).parts[0].nonce.hex() for site, (message, _) in sorted(self._held.items())}

    def choose(
        self, chosen: Collection[str], *, seed: bytes, sketches_needed: int, left_out: Mapping[str, str]
    ) -> None:
        """Sum the messages of some sites, after the round was stopped; the others do not count.

        Args:
            chosen: the sites.
            seed: of the sketches.
            sketches_needed: number of sites that must add their shares of the chosen sketches.
            left_out: other site -> reason why its model does not count.
        """
        if self._open:
            raise FederationError("round takes models still")
        for site in sorted(chosen):
            message, proof = self._held[site]
            self._adder.add_checked(message, proof, site=site)
        self.left_out = {site: left_out.get(site, FAR) for site in self._held if site not in chosen}
        self.unchosen = frozenset(self.left_out) - set(left_out)
        self.seed, self._held = seed, {}
        self.need(sketches_needed)

    def need(self, sketches: int) -> None:
        """Have the sum wait for so many sites' shares of its sketches, a few of which may be false."""
        if self._adder.unmasking is not None:
            self._adder.unmasking.sketches_needed = self.sketches_needed = sketches
            self._adder.unmasking.fewest_sketches = self._fewest_sketches

    @property
    def masked(self) -> list[MaskedSum]:
        found = self._adder.masked(MODEL, seed=self.seed, sketches=self.sketches_needed)
        return [] if found is None else [found]

    def _take(self, site: str, reply: Reply) -> None:
        message, proof = self._adder.checked(reply, MODEL, site=site)
        if site in self._held or unpack(message).parts[0].nonce.hex() in self.nonces.values():
            raise EncryptionError("site has sent its model already, or with the nonce of another's", value=site)
        self._held[site] = message, proof
        self._count_clipped(site, reply)

    def _close(self) -> Model:
        unmasking = self._adder.unmasking
        if unmasking is None or not self.seed:
            raise FederationError("models of the round were not compared")
        made = super()._close()
        proof = SketchedSum(self.seed, unmasking.sketched).pack()
        return Model(after=made.after, sealed=made.sealed, proof=proof)
