"""Answer the server's tasks, and only these, with the hospital's own cohort.

One such process runs at each site for each job. Heavy libraries load at the first task, so that they do not delay
FLARE's start. Every error becomes a code for the hospital's gate and a full entry in the site's own log. Every answer
goes through the hospital's ``EgressGate``, which trusts no part of it.
"""

from __future__ import annotations

from nvflare.apis.event_type import EventType
from nvflare.apis.executor import Executor
from nvflare.apis.fl_constant import FLContextKey
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from nvflare.apis.signal import Signal

from fedward.errors import (
    AuditError,
    CohortError,
    EncryptionError,
    FedwardError,
    GateError,
    JobError,
    LedgerError,
    SettingsError,
)
from fedward.flare import job_context
from fedward.flare.audit_trail import notes
from fedward.flare.protocol import (
    REFUSED_AT_DOOR,
    Task,
    refuse,
)
from fedward.flare.refusal import SENTENCES, Code, code_of
from fedward.flare.site.round_answers import AbortedError
from fedward.flare.site.settlement import end_process
from fedward.flare.site.site_job import SiteJob


class HospitalExecutor(Executor):  # type: ignore[misc]
    """FLARE executor that admits, trains and validates on this hospital's cohort."""

    def __init__(self) -> None:
        super().__init__()
        job_context.leave_quickly()
        self._site: SiteJob | None = None
        self._aborted = False

    def execute(self, task_name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        try:
            if shareable.get_header(REFUSED_AT_DOOR) is not None:
                return refuse(Code.AT_DOOR)
            if self._site is None:
                self._site = SiteJob(fl_ctx)
            return self._site.answer(Task(task_name), shareable, abort=abort_signal)
        except AbortedError:
            return refuse(Code.STOPPED)
        except (AuditError, CohortError, JobError, SettingsError, LedgerError, GateError, EncryptionError) as error:
            self.log_error(fl_ctx, f"this site takes no part: {error}", fire_event=False)
            return _refused(code_of(error), task_name, fl_ctx)
        except Exception as error:  # noqa: BLE001 - a site must answer after any error, and must not send a traceback
            self.log_exception(fl_ctx, f"{task_name} failed", fire_event=False)
            return _refused(code_of(error), task_name, fl_ctx)

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Return the steps that never began to the ledger, at the end of this process, whatever the job's outcome.

        FLARE fires ``ABORT_TASK`` with ``RUN_ABORT_REQUESTED`` before the end of a run that was aborted. An error stays
        in this site's log: FLARE would put it into the context that its components share.
        """
        if event_type == EventType.ABORT_TASK and fl_ctx.get_prop(FLContextKey.RUN_ABORT_REQUESTED):
            self._aborted = True
        if event_type != EventType.END_RUN:
            return
        try:
            self._close(fl_ctx)
        except FedwardError as error:
            self.log_error(fl_ctx, f"the ledger keeps this job open: {error}", fire_event=False)
        except Exception:  # noqa: BLE001 - after any error the charge remains
            self.log_exception(fl_ctx, "the ledger keeps this job open", fire_event=False)

    def _close(self, context: FLContext) -> None:
        """Close what this process, or an earlier one of the job, left open; without a ledger there is nothing."""
        if self._site is not None:
            self._site.close(ordinary=not self._aborted)
            return
        policy = job_context.site_policy(context)
        if policy.ledger.is_file():
            end_process(policy, context.get_job_id(), ordinary=not self._aborted)


def _refused(code: Code, task: str, context: FLContext) -> Shareable:
    """Return the refusal for the gate, and record it in the hospital's audit log."""
    notes.note(context, "task-refused", task=task, reason=SENTENCES[code])
    return refuse(code)
