"""Seal numbers for a sum and open sums, as a hospital's record permits: one sum of each kind and round."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fedward.encryption.keys.signature import Signer
from fedward.encryption.masks.unmask_message import name_of_sum
from fedward.encryption.secure_sum import Opened
from fedward.encryption.sum_context import SumContext, kind_of
from fedward.encryption.sums import identity_of
from fedward.errors import GateError
from fedward.flare.gates.sums.masked_key import MaskedKey
from fedward.flare.gates.sums.run_topics import RunTopics
from fedward.flare.gates.sums.shared_key import SharedKey
from fedward.flare.secagg_context import SIGNATURE
from fedward.privacy.ledger.run_record import Record


class SealedSums:
    """Sums of one encrypted job at one hospital.

    Args:
        topics: contexts of the run's sums.
        keys: of the job's sums.
        site: this hospital.
        record: record of the hospital.
        job_id: FLARE's id of the run.
        signer: signs every message with the key of the hospital's certificate.
    """

    def __init__(
        self,
        topics: RunTopics,
        keys: SharedKey | MaskedKey,
        *,
        site: str,
        record: Record,
        job_id: str,
        signer: Signer,
    ) -> None:
        self._topics, self._keys, self._site, self._signer = topics, keys, site, signer
        self._record, self._job_id = record, job_id

    def seal(self, name: str, codes: NDArray[np.int64], topic: SumContext) -> dict[str, bytes]:
        """Seal numbers for a sum; return the message under its name, and its signature."""
        message = self._keys.secure_sum.seal(codes, topic)
        return {name: message, SIGNATURE + name: self.signature(message, topic)}

    def signature(self, message: bytes, topic: SumContext) -> bytes:
        """Return this hospital's signature of a message for a sum."""
        return self._signer.sign(message, topic, site=self._site)

    def open(
        self, sealed: object, topic: SumContext, *, check: Callable[[Opened], None] | None = None
    ) -> tuple[Opened, str]:
        """Open and verify a sum; return it and its identity. It is recorded before use.

        Args:
            sealed: as received.
            topic: context of the sum.
            check: function that refuses a sum, before it is recorded.

        Raises:
            EncryptionError: it is not the sites' sum, or is of another key, run or round.
            GateError: another sum of the same kind and round was opened before, or helped to open.
        """
        if type(sealed) is not bytes:
            raise GateError("task brings no sealed sum")
        opened, roster = self._keys.open(sealed, topic), self._topics.roster
        if not set(opened.sites) <= set(roster):
            raise GateError("sum names a hospital that takes no part in this job")
        helped = self._topics.run.helped(kind_of(topic), topic.round_number)
        if helped is not None and helped["messages"] != name_of_sum(topic, opened.nonces):
            raise GateError("sum is of other messages than those that this hospital helped to open")
        if check is not None:
            check(opened)
        found = identity_of(sealed)
        # the difference of two sums of one round is the contribution of one hospital
        self._record.open_sum(
            self._job_id, purpose=kind_of(topic), round_number=topic.round_number, sum=found, sites=opened.sites
        )
        return opened, found
