"""Schedule a job that has failed or was aborted once more, under its id, because a person asked for it.

The event ``resumed`` is written before FLARE schedules the job, so that the store and every view know at once that it
has not ended any more. Its next process finds ``resume.json``, goes on although the job had ended, and removes it.
"""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

from nvflare.apis.fl_constant import SystemComponents
from nvflare.apis.job_def import JobMetaKey, RunStatus

from fedward.errors import FedwardError
from fedward.files import write_atomic
from fedward.flare.audit_trail.notes import note_here
from fedward.flare.console import resume_request
from fedward.flare.listener.job_scheduler import schedule_again
from fedward.flare.refusal import one_line
from fedward.flare.server.checkpoints.earlier import BY_PERSON
from fedward.flare.supervisor import job_end
from fedward.flare.supervisor.single_process import CHECKPOINTS

_log = logging.getLogger("fedward.supervisor")


def take_up(kit: Path, engine: Any, job_id: str) -> bool:
    """Take up one request of ``fedward job resume``, and return True if the job goes on by it.

    A request stays while FLARE has not published the job's end. One for a job that goes on already is dropped, so that
    it undoes no later end.

    Args:
        kit: the server's kit.
        engine: FLARE's engine of the server's parent process.
        job_id: FLARE's id of the job.

    Raises:
        OSError: the disk does not accept it; the request stays.
    """
    status, taken = status_of(engine, job_id), False
    if status is None or status == RunStatus.FINISHED_COMPLETED:
        _log.warning(f"job {job_id} is not resumed, it is {one_line(status.value) if status else 'unknown to FLARE'}")
    elif status.value.startswith("FINISHED:"):
        taken = _go_on(kit, engine, job_id)
    elif job_end.ended(kit, job_id) is not None:
        return False
    else:
        _log.warning(f"job {job_id} goes on already; one more request to resume it is dropped")
    resume_request.take_request(kit, job_id)
    return taken


def withdraw(kit: Path, job_id: str) -> None:
    """Drop a request that is not taken up, because a person aborts the job. It never raises."""
    try:
        resume_request.take_request(kit, job_id)
    except OSError as error:
        _log.error(f"job {job_id}: the request to resume it could not be removed, {error.strerror}")


def forget(kit: Path, job_id: str) -> None:
    """Let no process of the job go on after its end by an earlier request. It never raises."""
    try:
        (kit / CHECKPOINTS / job_id / BY_PERSON).unlink(missing_ok=True)
    except OSError as error:
        _log.error(f"job {job_id}: {BY_PERSON} could not be removed, {error.strerror}")


def waiting(kit: Path, manager: Any, context: Any) -> set[str]:
    """Return the jobs that have begun, and of which FLARE is to start a process again, when the server starts."""
    submitted = manager.get_jobs_by_status([RunStatus.SUBMITTED], context)
    begun = {job.job_id for job in submitted if job_end.log_of(kit, job.job_id).exists()}
    return begun | {path.parent.name for path in (kit / CHECKPOINTS).glob(f"*/{BY_PERSON}")}


def status_of(engine: Any, job_id: str) -> RunStatus | None:
    """Return FLARE's status of a job; None: it does not know the job, or the status."""
    with engine.new_context() as context:
        job = engine.get_component(SystemComponents.JOB_MANAGER).get_job(job_id, context)
    try:
        return None if job is None else RunStatus(job.meta.get(JobMetaKey.STATUS.value))
    except ValueError:
        return None


def over(engine: Any, job_id: str) -> RunStatus | None:
    """Return FLARE's status of a job that FLARE has ended and that has no process; None for any other job."""
    if job_id in engine.run_processes or job_id in engine.job_runner.running_jobs:
        return None
    status = status_of(engine, job_id)
    return status if status is not None and status.value.startswith("FINISHED:") else None


def _go_on(kit: Path, engine: Any, job_id: str) -> bool:
    shutil.rmtree(kit / job_id, ignore_errors=True)  # FLARE has archived it
    write_atomic(kit / CHECKPOINTS / job_id / BY_PERSON, "{}\n", mode=0o600)
    try:
        if job_end.ended(kit, job_id) is not None:  # not again after a kill
            fields: dict[str, Any] = {"round": job_end.whole_rounds(kit, job_id), "by": "person", "attempt": 1}
            job_end.tell(kit, job_id, "resumed", **fields)
            note_here("job-resumed", job=job_id, **fields)
    except FedwardError as error:
        _log.error(f"job {job_id} is not resumed: {one_line(str(error))}")
        forget(kit, job_id)
        return False
    with engine.new_context() as context:
        schedule_again(engine.get_component(SystemComponents.JOB_MANAGER), job_id, context)
    _log.warning(f"job {job_id} is resumed because a person asked for it")
    return True
