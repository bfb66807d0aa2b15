"""Share one job's state between a hospital's two gates: settings, the model in hand, and a latch that never opens."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from nvflare.apis.filter import Filter
from nvflare.apis.fl_constant import FLContextKey
from nvflare.apis.fl_context import FLContext

from fedward.encryption.keys.signature import read_signer
from fedward.errors import (
    BudgetError,
    EncryptionError,
    FedwardError,
    GateError,
    KeyFileError,
    LedgerIOError,
    RepeatError,
)
from fedward.flare import job_context
from fedward.flare.audit_trail.notes import note
from fedward.flare.gates.secure_aggregation import SecureAggregation
from fedward.flare.gates.task_order import TaskOrder
from fedward.flare.protocol import Task
from fedward.flare.refusal import SENTENCES, Code, Sentence, one_line, public_reason
from fedward.flare.secagg_context import INITIAL
from fedward.flare.submitter import origin_of
from fedward.privacy.budget_plan import repeated_rounds
from fedward.privacy.ledger.run_record import Record
from fedward.privacy.ledger.runs import FinalModel
from fedward.privacy.policy.agreement import Agreement, agree
from fedward.privacy.policy.approvals import UNKNOWN, Origin, admission
from fedward.privacy.policy.job_hash import job_hash
from fedward.settings import JobSpec, SitePolicy
from fedward.training import libraries
from fedward.weights import Tensor, Weights, digest, layout_hash, layout_of, parameter_count


@dataclass(slots=True)
class InHand:
    """Model of the task in progress, its identity, its number of rounds, and the model of the last such task.

    ``sums`` holds the purposes of the opened sums of counts that the task carried.
    """

    round_number: int | None = None
    model: Weights | None = None
    identity: str = ""
    after: int = 0
    sums: tuple[str, ...] = ()
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
            self.policy,
            record=self.record,
            job_id=self.job_id,
            job_hash=self.hash,
            layout=self.layout,
            architecture=self.architecture,
            signer=read_signer(self.kit),
        )


_STATES: dict[tuple[str, str], GateState] = {}
_LATCHED: dict[tuple[str, str], Sentence] = {}
_REFUSED: dict[tuple[str, str], Sentence] = {}
"""Reason why the task in progress was refused at the ingress gate; nothing else of that task leaves."""
_UNENDED: set[tuple[str, str]] = set()
"""Runs that are over at this hospital, and whose record could not say so yet."""


class Gate(Filter):  # type: ignore[misc]
    """Base of both gates: on an error it refuses, writes the error to the site's log, and refuses from then on.

    ``fail`` names the errors that end one task only.

    A gate takes no arguments, so that neither a job nor a kit can weaken it.
    """

    title = "gate"

    def __init__(self) -> None:
        super().__init__()
        self._reason: Sentence | None = None

    def standing(self, context: FLContext) -> Sentence | None:
        """Return the reason why this job was refused before, at this gate or the other; None if it was not refused."""
        if _key(context) in _UNENDED:
            with contextlib.suppress(Exception):
                _end_run(context)
        return self._reason or _LATCHED.get(_key(context))

    def refused_task(self, context: FLContext) -> Sentence | None:
        """Return the reason why the ingress gate refused the task in progress, and forget it; None if it did not."""
        return _REFUSED.pop(_key(context), None)

    def public_sentence(self, error: Exception) -> Sentence:
        """Return the sentence on ``error`` that the server may know, after the title of this gate."""
        return Sentence(one_line(f"{self.title}: {public_reason(error)}"))

    def fail(self, error: Exception, context: FLContext) -> Sentence:
        """Refuse because of ``error``; return the sentence that the server may know.

        A disk or a process that is in the way of the ledger, a budget that has no room for a round, a repeat too many,
        and a key's file that is away end one task: nothing leaves, and the job goes on with the next task. Any other
        error ends the job here.
        """
        if not isinstance(error, LedgerIOError | BudgetError | RepeatError | KeyFileError):
            return self.latch(error, context)
        try:
            reason = _REFUSED[_key(context)] = self.public_sentence(error)
        except Exception as failed:  # noqa: BLE001 - fail closed on any error
            return self.latch(failed, context)
        with contextlib.suppress(Exception):
            self.log_error(context, f"{self.title} refused this task: {error}", fire_event=False)
        return reason

    def latch(self, error: Exception, context: FLContext) -> Sentence:
        """Refuse the rest of the job because of ``error``; return the sentence that the server may know."""
        # the refusal remains, even if its sentence, the notice to the other gate or the line in the log fails
        reason = self._reason = Sentence(f"{self.title}: {SENTENCES[Code.FAILED]}")
        with contextlib.suppress(Exception):
            reason = self._reason = self.public_sentence(error)
        with contextlib.suppress(Exception):
            _LATCHED[_key(context)] = reason
        with contextlib.suppress(Exception):
            if isinstance(error, FedwardError):
                self.log_error(context, f"{self.title} refused: {error}", fire_event=False)
            else:
                self.log_exception(context, f"{self.title} failed", fire_event=False)
        with contextlib.suppress(Exception):
            note(context, "gate-refused", reason=reason)
        # a sum that does not verify, or a false statement: no process of this site continues the run
        with contextlib.suppress(Exception):
            if isinstance(error, GateError | EncryptionError):
                _end_run(context)
        return reason


def _end_run(context: FLContext) -> None:
    """End the run in the hospital's record; what a full disk refuses is tried again at the run's next task."""
    key = _key(context)
    _UNENDED.add(key)
    _STATES[key].record.end(key[1])
    _UNENDED.discard(key)


def gate_state(context: FLContext) -> GateState:
    """Return the job's state, made at its first task; refuse a job that is not admitted here.

    Raises:
        PolicyError: the hospital has not approved the job, or no longer does.
        FedwardError: the job's or the site's settings cannot be used.
    """
    key = _key(context)
    if key not in _STATES:
        job, policy = job_context.job_spec(context), job_context.site_policy(context)
        origin, kit = origin_of(job, policy, context), job_context.kit_folder(context)
        _STATES[key] = GateState(job_id=key[1], job=job, policy=policy, kit=kit, origin=origin)
    _STATES[key].require_admitted()
    return _STATES[key]


def task_of(context: FLContext) -> Task:
    """Return the task in progress.

    Raises:
        GateError: it is not a task of Fedward.
    """
    name = context.get_prop(FLContextKey.TASK_NAME)
    if name not in {task.value for task in Task}:
        raise GateError("task is none of Fedward's")
    return Task(name)


def _key(context: FLContext) -> tuple[str, str]:
    site, job = context.get_identity_name(), context.get_job_id()
    if type(site) is not str or type(job) is not str or not job:
        raise GateError("task belongs to no job")
    return site, job
