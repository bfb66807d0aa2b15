"""Compute the context of each sum of a run at one hospital, from the hospital's record and never from a task."""

from __future__ import annotations

from collections.abc import Mapping

from fedward.encryption.message import is_digest
from fedward.encryption.sum_context import SumContext
from fedward.errors import GateError
from fedward.flare.gates.sums.masked_key import MaskedKey
from fedward.flare.gates.sums.shared_key import SharedKey
from fedward.flare.secagg_context import SumContexts
from fedward.privacy.ledger.run_record import Record
from fedward.privacy.ledger.runs import Run
from fedward.settings import JobSpec
from fedward.weights import Layout


class RunTopics:
    """Contexts of one run's sums.

    Args:
        job: a job with an ``[encryption]`` table.
        keys: of the job's sums.
        record: record of the hospital.
        job_id: FLARE's id of the run.
        layout: layout of the model.
        architecture: ``layout_hash`` of the model.
        bits: bits of a number.
        trained: layout of the trained tensors, in a job with noise for the sum; else empty.
    """

    def __init__(
        self,
        job: JobSpec,
        keys: SharedKey | MaskedKey,
        *,
        record: Record,
        job_id: str,
        layout: Layout,
        architecture: str,
        bits: int,
        trained: Layout,
    ) -> None:
        self._job, self._keys, self._record, self._job_id = job, keys, record, job_id
        self._layout, self._architecture, self._bits, self._trained = layout, architecture, bits, trained
        self._roster: Mapping[str, str] | None = None

    @property
    def run(self) -> Run:
        """The run, as the record has it now."""
        return self._record.require(self._job_id)

    @property
    def roster(self) -> Mapping[str, str]:
        """Nonce of each hospital that takes part.

        Raises:
            GateError: no task has said which hospitals take part.
        """
        if self._roster is None:  # a run has one roster, and a recorded one does not change
            self._roster = self.run.roster
        if self._roster is None:
            raise GateError("no task has said which hospitals take part")
        return self._roster

    @property
    def all(self) -> SumContexts:
        """Contexts of the run; errors as ``roster``."""
        return SumContexts(
            job=self._job,
            job_id=self._job_id,
            context=self._keys.context(self.roster),
            layout=self._layout,
            architecture=self._architecture,
            bits=self._bits,
            trained=self._trained,
        )

    def model(self, round_number: int, *, base: object, group: int = -1) -> SumContext:
        """Return the context of the sum of a round's models.

        Args:
            round_number: the round.
            base: identity of the model that the round started from, as it was received.
            group: of the hospitals that are summed; -1: all.

        Raises:
            GateError: the job has no such round; this hospital's own update of the round started from another model; or
                as ``roster``.
        """
        if not 0 <= round_number < self._job.federation.rounds:
            raise GateError("sum of models has no round of this job")
        run = self.run
        if type(base) is not str or not is_digest(base) or (run.left == round_number and run.answered != base):
            raise GateError("sum of models started from another model than this hospital's")
        return self.all.model(round_number, base=base, group=group)

    def counts(self, purpose: str) -> SumContext:
        """Return the context of a sum of counts, by the final model of the record.

        Raises:
            GateError: the job has no such sum, or as ``roster``.
        """
        topic = self.all.counts(purpose, final=self.run.final)
        if topic is None:
            raise GateError("counts of a purpose that this job does not sum")
        return topic
