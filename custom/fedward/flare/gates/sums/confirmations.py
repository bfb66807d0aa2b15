"""Confirm that this hospital opened a sum, and require the others' confirmations before anything of it is released.

Without these, a server could have two hospitals open two sums that differ by one hospital.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedward.encryption.sum_context import Purpose, SumContext
from fedward.errors import GateError
from fedward.flare.gates.sums.masked_key import MaskedKey
from fedward.flare.gates.sums.run_topics import RunTopics
from fedward.flare.gates.sums.shared_key import SharedKey
from fedward.flare.protocol import CONFIRM
from fedward.flare.secagg_context import enough
from fedward.privacy.ledger.run_record import Record
from fedward.privacy.ledger.runs import FinalModel, Run


class Confirmations:
    """Confirmations of one encrypted job at one hospital.

    Args:
        topics: contexts of the run's sums.
        keys: of the job's sums.
        record: record of the hospital.
        job_id: FLARE's id of the run.
        seal: function that seals numbers under a name for a sum, and signs the message.
    """

    def __init__(
        self,
        topics: RunTopics,
        keys: SharedKey | MaskedKey,
        *,
        record: Record,
        job_id: str,
        seal: Callable[[str, NDArray[np.int64], SumContext], dict[str, bytes]],
    ) -> None:
        self._topics, self._keys, self._record, self._job_id, self._seal = topics, keys, record, job_id, seal

    def of_final(self) -> dict[str, bytes]:
        """Seal this hospital's confirmation that it opened the final model's sum, to be added to the others'.

        Raises:
            GateError: no final model was recorded, or its sum was not opened here.
        """
        run, final = self._topics.run, self._final()
        return self._word(run, "model", final.after - 1, expected=final.model)

    def of_counts(self, purpose: str) -> dict[str, bytes]:
        """Seal a confirmation as ``of_final`` does, for a sum of counts; first record which sum is confirmed."""
        topic, run = self._topics.counts(purpose), self._topics.run
        found = _opened(run, topic.purpose, topic.round_number)["sum"]
        self._record.confirm_sum(self._job_id, purpose=topic.purpose, round_number=topic.round_number, sum=found)
        return self._word(run, topic.purpose, topic.round_number, expected=found)

    def require_final(self, confirmed: object) -> FinalModel:
        """Refuse to release the final model before enough hospitals have confirmed that they opened the same sum.

        Raises:
            EncryptionError, GateError: it is not a sum of such confirmations, or of too few.
        """
        final = self._final()
        self._require(confirmed, "model", final.after - 1, expected=final.model)
        return final

    def require_counts(self, confirmed: object, purpose: str) -> None:
        """Check a sum of counts as ``require_final`` checks the final model."""
        topic = self._topics.counts(purpose)
        found = _opened(self._topics.run, topic.purpose, topic.round_number)["sum"]
        self._require(confirmed, topic.purpose, topic.round_number, expected=found)

    def _final(self) -> FinalModel:
        final = self._topics.run.final
        if final is None or final.after < 1:
            raise GateError("no final model that hospitals summed was settled here")
        return final

    def _word(self, run: Run, purpose: Purpose, round_number: int, *, expected: str) -> dict[str, bytes]:
        if _opened(run, purpose, round_number)["sum"] != expected:
            raise GateError("another sum of this round was opened before")
        return self._seal(CONFIRM + purpose, np.ones(1, np.int64), self._topics.all.confirmation(expected))

    def _require(self, confirmed: object, purpose: Purpose, round_number: int, *, expected: str) -> None:
        if type(confirmed) is not bytes:
            raise GateError("sum comes without the hospitals' word that they opened it")
        words = self._keys.open(confirmed, self._topics.all.confirmation(expected))
        summed = _opened(self._topics.run, purpose, round_number)["sites"]
        # to be in this sum is the confirmation: a number other than 1, from a hospital that lies, changes nothing
        if not enough(words.sites, summed):
            raise GateError("too few of the hospitals in the sum say that they opened it")


def _opened(run: Run, purpose: str, round_number: int) -> Mapping[str, Any]:
    found = run.opened(purpose, round_number)
    if found is None:
        raise GateError("no such sum was opened here")
    return found
