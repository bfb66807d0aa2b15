"""What a hospital's two gates share for one job: its settings, the model in hand, and a latch that nothing opens."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from functools import cached_property

from nvflare.apis.filter import Filter
from nvflare.apis.fl_constant import FLContextKey
from nvflare.apis.fl_context import FLContext

from fedward.errors import EncryptionError, FedwardError, GateError
from fedward.flare import job_context
from fedward.flare.gates.secure_aggregation import SecureAggregation
from fedward.flare.gates.task_order import TaskOrder
from fedward.flare.protocol import Task
from fedward.flare.refusal import SENTENCES, Code, Sentence, one_line, public_reason
from fedward.flare.secagg_context import INITIAL
from fedward.flare.submitter import origin_of
from fedward.privacy.ledger.run_record import Record
from fedward.privacy.ledger.runs import FinalModel
from fedward.privacy.policy.agreement import Agreement, agree
from fedward.privacy.policy.approvals import UNKNOWN, Origin, admission
from fedward.privacy.policy.job_hash import job_hash
from fedward.settings import JobSpec, SitePolicy
from fedward.weights import Tensor, Weights, digest, layout_hash, layout_of


@dataclass(slots=True)
class InHand:
    """The model that the task in progress carries, the rounds that made it, and the model of the last such task.

    ``sums`` are the purposes of the sums of counts that the task brought and that were opened.
    """

    round_number: int | None = None
    model: Weights | None = None
    after: int = 0
    sums: tuple[str, ...] = ()
    last_number: int = 0
    last: Weights | None = None


def identity_of(model: Weights, *, sum: str | None, after: int, encrypted: bool) -> FinalModel:
    """A model as the record names it: by its sum where hospitals summed it, else by its values."""
    if not encrypted:
        return FinalModel(after, digest(model))
    return FinalModel(after, INITIAL if sum is None else sum)


@dataclass
class GateState:
    """One job at one hospital, as its gates know it; settings are read once, by the gates themselves."""

    job_id: str
    job: JobSpec
    policy: SitePolicy
    origin: Origin = UNKNOWN
    in_hand: InHand = field(default_factory=InHand)
    order: TaskOrder | None = None
    """Where the run is in this process; None before its first task here."""

    def require_admitted(self) -> None:
        """Raise ``PolicyError`` unless the hospital admits the job at this moment.

        Settings are read once, approvals each time: one that is revoked stops its job at the next task or answer.
        """
        admission(self.job, self.policy, origin=self.origin)

    def enter(self, task: Task, *, number: int, purpose: str = "") -> bool:
        """Take a task in its order, and at admission begin the run, durably; all later tasks need a run that stands.

        Returns:
            Whether it was taken; False where it is the last task once more, whose answer leaves once.

        Raises:
            GateError: the run is known and this is no continuation of it, or the task comes out of order.
            LedgerError: the record cannot be read, written or verified.
        """
        run = self.record.find(self.job_id)
        if run is not None:
            run.require(job=self.hash)
        before = TaskOrder.resumed(run) if self.order is None else self.order
        if before.repeats(task, number=number, job=self.job, purpose=purpose):
            return False
        self.order = before.after(task, number=number, job=self.job, purpose=purpose)
        if task is Task.ADMIT:
            self.record.begin(self.job_id, job=self.hash)
        elif run is None:
            raise GateError("this run of the job was never begun here")
        return True

    @cached_property
    def hash(self) -> str:
        """``job_hash`` of the job."""
        return job_hash(self.job)

    @cached_property
    def record(self) -> Record:
        """What this hospital did in its runs; raises ``LedgerError`` each time it is asked for where it cannot be."""
        return job_context.open_record(self.policy)

    @cached_property
    def agreement(self) -> Agreement:
        """What job and policy agree on; raises ``PolicyError`` each time it is asked for where they do not."""
        return agree(self.job, self.policy, origin=self.origin)

    @cached_property
    def initial(self) -> Weights:
        """The weights that follow from the job's seed."""
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

    @cached_property
    def secure_aggregation(self) -> SecureAggregation:
        """What an encrypted job seals and opens; raises ``EncryptionError`` each time it is asked for without a key."""
        return SecureAggregation(
            self.job,
            self.policy,
            record=self.record,
            job_id=self.job_id,
            job_hash=self.hash,
            layout=self.layout,
            architecture=self.architecture,
        )


_STATES: dict[tuple[str, str], GateState] = {}
_LATCHED: dict[tuple[str, str], Sentence] = {}


class Gate(Filter):  # type: ignore[misc]
    """What both gates do when something is wrong: refuse, say so in the site's log, and refuse from then on.

    A gate takes no arguments: nothing that a job or a kit could loosen.
    """

    title = "gate"

    def __init__(self) -> None:
        super().__init__()
        self._reason: Sentence | None = None

    def standing(self, context: FLContext) -> Sentence | None:
        """Why this job was refused before, at this gate or the other; None when it was not."""
        return self._reason or _LATCHED.get(_key(context))

    def public_sentence(self, error: Exception) -> Sentence:
        """What the server may know of ``error``, and which gate it comes from."""
        return Sentence(one_line(f"{self.title}: {public_reason(error)}"))

    def latch(self, error: Exception, context: FLContext) -> Sentence:
        """Refuse the rest of the job for ``error``; returns what the server may know of it."""
        # the refusal stands, whatever becomes of its sentence, of the other gate's notice and of the log's line
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
        # a sum that does not verify, or a lie: no process of this site goes on with the run
        with contextlib.suppress(Exception):
            if isinstance(error, GateError | EncryptionError):
                known = _STATES[_key(context)]
                known.record.end(known.job_id)
        return reason


def gate_state(context: FLContext) -> GateState:
    """The job's state, made at its first task, and opened only for a job that is admitted here.

    Raises:
        PolicyError: the hospital has not approved the job, or no longer does.
        FedwardError: the job's or the site's settings cannot be used.
    """
    key = _key(context)
    if key not in _STATES:
        job, policy = job_context.job_spec(context), job_context.site_policy(context)
        _STATES[key] = GateState(job_id=key[1], job=job, policy=policy, origin=origin_of(job, policy, context))
    _STATES[key].require_admitted()
    return _STATES[key]


def task_of(context: FLContext) -> Task:
    """The task in progress.

    Raises:
        GateError: it is none of Fedward's.
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
