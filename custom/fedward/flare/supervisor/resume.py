"""Schedule a job that has failed or was aborted once more, under its id, because a person asked for it."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

from nvflare.apis.fl_constant import SystemComponents
from nvflare.apis.job_def import JobMetaKey, RunStatus

from fedward.files import write_atomic
from fedward.flare.console import resume_request
from fedward.flare.listener.job_scheduler import schedule_again
from fedward.flare.refusal import one_line
from fedward.flare.server.checkpoints.earlier import BY_PERSON
from fedward.flare.supervisor.single_process import CHECKPOINTS

_log = logging.getLogger("fedward.supervisor")


def take_up(kit: Path, engine: Any, job_id: str) -> None:
    """Take up one request of ``fedward job resume``; it stays while FLARE has not published the job's end.

    Args:
        kit: the server's kit.
        engine: FLARE's engine of the server's parent process.
        job_id: FLARE's id of the job.

    Raises:
        OSError: the disk does not accept it; the request stays.
    """
    with engine.new_context() as context:
        manager = engine.get_component(SystemComponents.JOB_MANAGER)
        job = manager.get_job(job_id, context)
        status = "" if job is None else str(job.meta.get(JobMetaKey.STATUS.value))
        if status and not status.startswith("FINISHED:"):
            return
        if not status or status == RunStatus.FINISHED_COMPLETED.value:
            _log.warning(f"job {job_id} is not resumed, it is {one_line(status) or 'unknown to FLARE'}")
        else:
            shutil.rmtree(kit / job_id, ignore_errors=True)  # FLARE has archived it
            write_atomic(kit / CHECKPOINTS / job_id / BY_PERSON, "{}\n", mode=0o600)
            schedule_again(manager, job_id, context)
            _log.warning(f"job {job_id} is resumed because a person asked for it")
    resume_request.take_request(kit, job_id)
