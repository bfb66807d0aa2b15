"""Share a latch that never opens between a hospital's two gates, and find the state of a job (``state``)."""

from __future__ import annotations

import contextlib

from nvflare.apis.filter import Filter
from nvflare.apis.fl_constant import FLContextKey
from nvflare.apis.fl_context import FLContext

from fedward.encryption.masks.run_keys import RUN_KEYS_FILE, destroy_run_keys
from fedward.errors import (
    BudgetError,
    EncryptionError,
    FedwardError,
    GateError,
    KeyFileError,
    LedgerIOError,
    RepeatError,
    RosterError,
)
from fedward.flare import job_context
from fedward.flare.audit_trail.notes import note
from fedward.flare.gates.state import GateState
from fedward.flare.protocol import Task
from fedward.flare.refusal import SENTENCES, Code, Sentence, one_line, public_reason
from fedward.flare.submitter import origin_of

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
        a key's file that is away, and too few known hospitals end one task: nothing leaves, and the job goes on with
        the next task. Any other error ends the job here.
        """
        if not isinstance(error, LedgerIOError | BudgetError | RepeatError | KeyFileError | RosterError):
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
    state = _STATES[key]
    state.record.end(key[1])
    destroy_run_keys(state.kept / RUN_KEYS_FILE)
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
        kept = job_context.checkpoint_folder(context)
        _STATES[key] = GateState(job_id=key[1], job=job, policy=policy, kit=kit, kept=kept, origin=origin)
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
