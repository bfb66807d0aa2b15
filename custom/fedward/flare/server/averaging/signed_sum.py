"""Add a hospital's sealed message to a sum after the check of its signature; ``members`` keeps the proof."""

from __future__ import annotations

from fedward.encryption.keys.signature import Signed
from fedward.encryption.masks.unmasking import Unmasking
from fedward.encryption.secure_sum import Aggregator
from fedward.encryption.sum_context import SumContext
from fedward.errors import FederationError, JobError
from fedward.flare.protocol import MaskedSum, Reply
from fedward.flare.secagg_context import SHARES
from fedward.flare.server.averaging.members import Members


class SignedSum:
    """Sum of messages whose signature was checked.

    Args:
        adder: empty sum of ``topic``.
        topic: context of the sum.
        members: hospitals whose signatures count.
    """

    def __init__(self, adder: Aggregator, topic: SumContext, members: Members | None) -> None:
        if members is None:
            raise FederationError(
                "certificates of the hospitals cannot be checked here", remedy="give the server's kit"
            )
        self._adder, self._topic, self._members = adder, topic, members

    @property
    def sites(self) -> tuple[str, ...]:
        """Sites whose numbers have been added, sorted by name."""
        return self._adder.sites

    def add(self, reply: Reply, purpose: str, *, site: str) -> None:
        """Add the message of an answer, if this hospital signed it for this sum.

        Raises:
            JobError: there is no message.
            EncryptionError: certificate or signature is missing or wrong, or ``Aggregator.add`` refuses the message.
        """
        self.add_checked(*self.checked(reply, purpose, site=site), site=site)

    def checked(self, reply: Reply, purpose: str, *, site: str) -> tuple[bytes, Signed]:
        """Return the message of an answer, and the proof that this hospital signed it for this sum.

        Errors are those of ``add``.
        """
        message = message_of(reply, purpose)
        head = self._adder.check(message, site=site)  # says what is wrong where a signature would only not fit
        if self._adder.unmasking is not None:
            self._adder.unmasking.read(head)
        return message, self._members.check(reply, purpose, message, self._topic, site=site)

    def add_checked(self, message: bytes, proof: Signed, *, site: str) -> None:
        """Add what ``checked`` returned for a site; errors as ``Aggregator.add``."""
        self._adder.add(message, site=site)
        self._members.keep(proof)

    @property
    def unmasking(self) -> Unmasking | None:
        """Masks of the sum; None where it has none."""
        return self._adder.unmasking

    def masked(self, purpose: str, *, seed: bytes = b"", sketches: int = 0) -> MaskedSum | None:
        """Return the sum with its masks on, for another process; None where it has none, or no site is in it.

        ``seed`` is that of the sketches by which its sites were chosen, if they were; ``sketches`` is the number of
        sites that must add their shares of these.
        """
        if self._adder.unmasking is None or not self._adder.sites:
            return None
        kept = self._adder.unmasking.kept
        return MaskedSum(purpose=purpose, sealed=self._adder.masked, shares=kept, seed=seed, sketches=sketches)

    def restore(self, masked: MaskedSum) -> None:
        """Continue from another process's sum; errors as ``Aggregator.restore``."""
        self._adder.restore(masked.sealed, masked.shares)

    def help(self, reply: Reply, purpose: str, *, site: str) -> None:
        """Take a site's shares, which open the sum, if this hospital signed them for it.

        Raises:
            JobError: there are none.
            EncryptionError: certificate or signature is missing or wrong, or the shares are no answer.
        """
        if self._members is None or self._adder.unmasking is None:
            raise FederationError("sum has no masks")
        content = (reply.sealed or {}).get(SHARES + purpose)
        if type(content) is not bytes:
            raise JobError("answer brings no shares of the sum")
        proof = self._members.check(reply, SHARES + purpose, content, self._topic, site=site)
        self._adder.unmasking.answer(content, holder=site)
        self._members.keep(proof)

    def sum(self) -> bytes:
        """Return the sum so far; errors as ``Aggregator.sum``."""
        return self._adder.sum()


def message_of(reply: Reply, purpose: str) -> bytes:
    """Return a site's sealed message.

    Raises:
        JobError: the answer is unencrypted, or holds no message.
    """
    if reply.update is not None:
        raise JobError("answers in the clear where the job is encrypted")
    message = (reply.sealed or {}).get(purpose)
    if type(message) is not bytes:
        raise JobError("answer brings no sealed message")
    return message
