"""Keep one job's state at a hospital, which its two gates share: settings, record, keys, and the model in hand."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from fedward.encryption.keys.signature import Signer, read_signer
from fedward.encryption.masks.members import read_federation
from fedward.encryption.masks.run_keys import RUN_KEYS_FILE
from fedward.errors import GateError
from fedward.flare import job_context
from fedward.flare.gates.sums.masked_key import MaskedKey
from fedward.flare.gates.sums.secure_aggregation import SecureAggregation
from fedward.flare.gates.sums.shared_key import SharedKey
from fedward.flare.gates.task_order import TaskOrder
from fedward.flare.protocol import Task
from fedward.flare.secagg_context import INITIAL
from fedward.privacy.budget_plan import repeated_rounds
from fedward.privacy.ledger.ledger import Ledger
from fedward.privacy.ledger.run_record import Record
from fedward.privacy.ledger.runs import FinalModel
from fedward.privacy.policy.agreement import Agreement, agree
from fedward.privacy.policy.approvals import UNKNOWN, Origin, admission
from fedward.privacy.policy.job_hash import job_hash
from fedward.settings import JobSpec, SitePolicy
from fedward.training import libraries
from fedward.weights import Tensor, Weights, digest, layout_hash, layout_of, parameter_count

if TYPE_CHECKING:
    from fedward.training.union.kept_union import KeptUnion


@dataclass(slots=True)
class InHand:
    """Model of the task in progress, its identity, its number of rounds, and the model of the last such task.

    ``sums`` holds the purposes of the opened sums of counts that the task carried, ``shares`` this hospital's shares of
    the sums that a task asked it to help open, with signatures.
    """

    round_number: int | None = None
    model: Weights | None = None
    identity: str = ""
    after: int = 0
    sums: tuple[str, ...] = ()
    shares: Mapping[str, bytes] = field(default_factory=dict)
    last_number: int = 0
    last: Weights | None = None


def identity_of(model: Weights, *, sum: str | None, after: int, encrypted: bool) -> FinalModel:
    """Return a model's identity in the record: its sum's in an encrypted job, where the initial model has ``INITIAL``;
    else the digest of its values.
    """
    if not encrypted:
        return FinalModel(after, digest(model))
    return FinalModel(after, INITIAL if sum is None else sum)


@dataclass
class GateState:
    """State of one job at one hospital, for its gates; the gates read the settings themselves, and once."""

    job_id: str
    job: JobSpec
    policy: SitePolicy
    kit: Path
    kept: Path
    """Folder, in the kit, of what must outlive this process."""
    origin: Origin = UNKNOWN
    in_hand: InHand = field(default_factory=InHand)
    order: TaskOrder | None = None
    """Position of the run in this process; None before its first task here."""

    def require_admitted(self) -> None:
        """Raise ``PolicyError`` unless the hospital admits the job at this moment.

        Settings are read once, approvals each time: a revoked approval stops its job at the next task or answer.
        """
        admission(self.job, self.policy, origin=self.origin)

    def enter(self, task: Task, *, number: int, purpose: str = "") -> None:
        """Accept a task in its order; at admission begin the run, durably; all later tasks need a run that has begun.

        A known run that has not ended is admitted again, with its nonce.

        Raises:
            GateError: the run is known and this does not continue it, or the task comes out of order.
            LedgerError: the record cannot be read, written or verified.
        """
        run = self.record.find(self.job_id)
        if run is not None:
            run.require(job=self.hash)
        before = TaskOrder.resumed(run) if self.order is None else self.order
        self.order = before.after(task, number=number, job=self.job, purpose=purpose)
        if task is Task.ADMIT:
            self.record.begin(self.job_id, job=self.hash)
        elif run is None:
            raise GateError("this run of the job was never begun here")

    @cached_property
    def repeats(self) -> int:
        """Number of updates that may leave a second time in a run of the job."""
        return repeated_rounds(self.job.federation.rounds)

    @cached_property
    def hash(self) -> str:
        """``job_hash`` of the job."""
        return job_hash(self.job)

    @cached_property
    def record(self) -> Record:
        """Record of this hospital's runs; if it cannot be opened, each access raises ``LedgerError``."""
        return job_context.open_record(self.policy)

    @cached_property
    def ledger(self) -> Ledger:
        """Privacy ledger of this hospital, opened by the gate itself and checked whole; errors as ``record``."""
        return job_context.open_ledger(self.policy)

    @cached_property
    def agreement(self) -> Agreement:
        """Agreement of job and policy; if they do not agree, each access raises ``PolicyError``."""
        return agree(self.job, self.policy, origin=self.origin)

    @cached_property
    def initial(self) -> Weights:
        """Weights that follow from the job's seed."""
        libraries.ready()
        from fedward.training.networks import initial_weights

        return initial_weights(self.job)

    @cached_property
    def layout(self) -> dict[str, Tensor]:
        """Names, dtypes and shapes of every model and update of the job."""
        return layout_of(self.initial)

    @cached_property
    def architecture(self) -> str:
        """``layout_hash`` of the job's network."""
        return layout_hash(self.layout, network=self.job.model.network, args=self.job.model.args)

    @property
    def noise_l2(self) -> float:
        """Expected L2 norm of the noise on one site's update; in the mean of several it is only smaller."""
        agreed = self.agreement
        if agreed.mechanism != "update-noise" or agreed.clip_norm_l2 is None:
            return 0.0
        return agreed.noise_multiplier * agreed.clip_norm_l2 * math.sqrt(parameter_count(self.layout))

    @cached_property
    def secure_aggregation(self) -> SecureAggregation:
        """Sealing and opening for an encrypted job; without a key, each access raises ``EncryptionError``."""
        return SecureAggregation(
            self.job,
            self._sum_keys,
            site=self.policy.site,
            record=self.record,
            job_id=self.job_id,
            layout=self.layout,
            architecture=self.architecture,
            signer=self._signer,
            union=self._union,
        )

    @cached_property
    def _union(self) -> KeptUnion | None:
        """Model and optimizer of a job with noise for the sum; None in any other."""
        if not self.job.noises_sum:
            return None
        from fedward.training.networks import trained_keys
        from fedward.training.union.kept_union import KeptUnion
        from fedward.training.union.union_model import initial_union

        initial = initial_union(self.initial, trained_keys(self.job), base=INITIAL)
        return KeptUnion(initial, self.job, folder=self.kept, run=f"{self.job_id} {self.hash}")

    @cached_property
    def _signer(self) -> Signer:
        return read_signer(self.kit)

    @property
    def _sum_keys(self) -> SharedKey | MaskedKey:
        if self.job.encryption is None:
            raise GateError("job is not encrypted")
        if not self.job.is_masked:
            return SharedKey(self.policy, scheme=self.job.encryption.scheme, job=self.hash)
        return MaskedKey(
            self.kept / RUN_KEYS_FILE,
            policy=self.policy,
            record=self.record,
            job=self.hash,
            job_id=self.job_id,
            spec=self.job,
            signer=self._signer,
            federation=read_federation(self.kit),
        )
