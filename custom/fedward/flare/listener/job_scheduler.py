"""Let a job wait at the server until the hospitals that it needs are connected.

FLARE 2.9 gives a job up after ten tries with growing pauses. A larger limit does not help: FLARE appends a line to the
job's meta at each try, and its pause, 2.0 to the power of the number of tries, overflows after 1,024 of them and then
stops every job of the server. Here each waiting job is tried again every ``RETRY_S`` seconds until a person aborts it,
and its meta changes only when the reason for waiting does.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from nvflare.apis.fl_context import FLContext
from nvflare.apis.impl.job_def_manager import _OBJ_TAG_SCHEDULED, SimpleJobDefManager
from nvflare.apis.job_def import Job, JobMetaKey, RunStatus
from nvflare.app_common.job_schedulers.job_scheduler import DefaultJobScheduler

RETRY_S = 2.0
"""Seconds between two tries to start a job."""
MOST_LINES = 100
"""Largest number of lines in a job's history; the oldest go first. A hospital whose link drops every minute adds two a
minute, and each hospital gets the whole history with the job."""


class WaitingScheduler(DefaultJobScheduler):  # type: ignore[misc]
    """FLARE's scheduler without an end to its tries; a component of the server's ``resources.json``.

    Args:
        max_jobs: largest number of jobs that run at a time.
    """

    def __init__(self, max_jobs: int = 1) -> None:
        super().__init__(max_jobs=max_jobs, min_schedule_interval=0.0, max_schedule_interval=0.0)
        self._tried: dict[str, float] = {}
        self._changed: set[str] = set()

    def _do_schedule_job(
        self, job_candidates: list[Job], fl_ctx: FLContext, failed_jobs: list[Job], blocked_jobs: list[Job]
    ) -> Any:
        now = time.monotonic()
        waiting = {job.job_id for job in job_candidates}
        self._tried = {job_id: at for job_id, at in self._tried.items() if job_id in waiting}
        for job in job_candidates:  # ``_tried`` has the pauses, by a clock that never goes back
            job.meta[JobMetaKey.LAST_SCHEDULE_TIME.value] = 0.0
        due = [job for job in job_candidates if now - self._tried.get(job.job_id, -RETRY_S) >= RETRY_S]
        found = super()._do_schedule_job(due, fl_ctx, failed_jobs, blocked_jobs)
        # FLARE writes the meta of these; an unchanged one is not written over what a person's abort writes meanwhile
        failed_jobs[:] = [job for job in failed_jobs if job.job_id in self._changed]
        self._changed.clear()
        return found

    def _update_schedule_history(self, job: Job, result: str, fl_ctx: FLContext) -> None:
        """Record the result of a try, if it is another than the last one's."""
        self._tried[job.job_id] = time.monotonic()
        history = list(job.meta.get(JobMetaKey.SCHEDULE_HISTORY.value) or [])
        if history and history[-1].endswith(f": {result}"):
            return
        self._changed.add(job.job_id)
        history.append(f"{time.strftime('%Y-%m-%d %H:%M:%S')}: {result}")
        job.meta[JobMetaKey.SCHEDULE_HISTORY.value] = history[-MOST_LINES:]
        job.meta[JobMetaKey.SCHEDULE_COUNT.value] = 1  # the count of which FLARE makes its pause and its limit
        job.meta[JobMetaKey.LAST_SCHEDULE_TIME.value] = 0.0  # by a wall clock, which may be set back
        self.log_info(fl_ctx, f"job {job.job_id}: {result}")


def schedule_again(manager: SimpleJobDefManager, job_id: str, context: FLContext) -> None:
    """Set a job's status to SUBMITTED, so that the server starts it again under its id.

    FLARE marks each job that it once found with another status, and looks at a marked job no more; the mark, a file
    beside the job's meta, goes too.
    """
    manager.set_status(job_id, RunStatus.SUBMITTED, context)
    folder = manager._get_job_store(context)._object_path(manager.job_uri(job_id))
    (Path(folder) / _OBJ_TAG_SCHEDULED).unlink(missing_ok=True)
