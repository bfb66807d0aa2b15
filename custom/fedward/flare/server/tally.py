"""Add the hospitals' sealed counts and confirmations, which the server cannot read."""

from __future__ import annotations

from fedward.encryption.secure_sum import Aggregator
from fedward.errors import FedwardError, JobError
from fedward.flare.protocol import Reply, Sum
from fedward.flare.refusal import one_line
from fedward.settings import MIN_CONTRIBUTORS


class Tally:
    """Sum of counts over the sites that send theirs; a site whose counts are missing or cannot be added is left out."""

    def __init__(self, adder: Aggregator, purpose: str) -> None:
        self._adder, self._purpose = adder, purpose

    @property
    def sites(self) -> list[str]:
        return sorted(self._adder.sites)

    def take(self, replies: dict[str, Reply]) -> dict[str, str]:
        """Add the sites' messages; return the sites whose message cannot be added, with the reason."""
        refused = {}
        for site, reply in sorted(replies.items()):
            if self._purpose not in (reply.sealed or {}):
                continue
            try:
                self._adder.add(message_of(reply, self._purpose), site=site)
            except FedwardError as error:
                refused[site] = one_line(str(error))
        return refused

    def close(self) -> Sum | None:
        """Return the sum for a hospital to open; None for fewer than three hospitals."""
        return (
            Sum(purpose=self._purpose, sealed=self._adder.sum()) if len(self._adder.sites) >= MIN_CONTRIBUTORS else None
        )


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
