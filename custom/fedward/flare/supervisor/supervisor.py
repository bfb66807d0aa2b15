"""Supervise the server's jobs from its parent process: take on what a dead server left, and bring sites back.

Every ``LOOK_S`` the supervisor compares what should run with what the sites' heartbeats report. Two kinds of gaps are
closed:

* a job that FLARE's store calls running, and that has no process here: the server was killed. As soon as enough of its
  sites are heard, its process is started again under the same id, and its controller goes on from its checkpoint;
* a site that takes part in a running job and does not run it: its service was killed, and it signed in again. The job
  is deployed and started there again, and the site's new token takes the place of the old one.

A site's own door checks each deployment as it checks the first one: the supervisor cannot start anything there that a
submitter did not sign.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from nvflare.apis.fl_constant import RunProcessKey, SystemComponents
from nvflare.apis.job_def import Job, JobMetaKey, RunStatus
from nvflare.apis.job_launcher_spec import JobReturnCode
from nvflare.private.fed.server.job_runner import JobRunner

from fedward.flare.console import resume_request
from fedward.flare.listener.job_scheduler import schedule_again
from fedward.flare.refusal import one_line
from fedward.flare.repeating import repeat
from fedward.flare.supervisor import job_end, job_sites, resume, site_start
from fedward.flare.supervisor.held_job import LONGEST_S, HeldJob
from fedward.flare.supervisor.seat import FORGET_S, Seat
from fedward.flare.supervisor.single_process import CHECKPOINTS
from fedward.metrics.events import EVENTS_FILE

LOOK_S = 0.5
LAST_WORD_S = 5.0
"""Seconds that FLARE waits, after a job's end, for the sites' processes to end."""

_log = logging.getLogger("fedward.supervisor")


class Supervisor:
    """Supervisor of the server with this kit; ``reactions`` call it from FLARE's threads."""

    def __init__(self, kit: Path) -> None:
        self._kit = kit
        self._server: Any = None
        self._lock = threading.RLock()
        self._seats: dict[str, dict[str, Seat]] = {}
        self._held: dict[str, HeldJob] = {}
        self._ending: set[str] = set()
        self._unwanted: dict[str, str] = {}
        self._sent_again: set[str] = set()  # FLARE is to start a process of them again
        self._turning = threading.RLock()  # held while a job ends or is taken up again; taken before the other lock
        self._finished: set[str] = set()
        self._begun, self._said = False, ""
        self._running_at: dict[str, frozenset[str]] = {}
        self._pool = ThreadPoolExecutor(max_workers=4, thread_name_prefix="fedward start")

    def begin(self, server: Any) -> None:
        """Find the jobs that a dead server left, and supervise from now on. FLARE has started, and schedules next."""
        # FLARE waits 900 s for the last word of a site that is gone, and the word changes nothing here
        server.engine.job_runner.client_outcome_wait_timeout = LAST_WORD_S
        self._server = server
        try:
            with server.engine.new_context() as context:
                manager = server.engine.get_component(SystemComponents.JOB_MANAGER)
                for job in manager.get_jobs_by_status([RunStatus.RUNNING, RunStatus.DISPATCHED], context):
                    self._safely(self._find, job, manager, context)
                self._sent_again |= resume.waiting(self._kit, manager, context)
        finally:
            self._begun = True
            repeat(self.look, every_s=LOOK_S, name="supervisor", log=_log.warning)

    def _find(self, job: Job, manager: Any, context: Any) -> None:
        """Take up one job that a dead server left."""
        if (self._kit / job.job_id / job_end.ABORT_FILE).exists():
            self._finish(job.job_id, RunStatus.FINISHED_ABORTED)
        elif job.meta.get(JobMetaKey.STATUS.value) == RunStatus.RUNNING and (
            sites := job_sites.read(self._kit, job.job_id)
        ):
            self._hold(HeldJob(job, sites))
        else:
            _log.warning(f"job {job.job_id} was being started when the server stopped; it is scheduled again")
            schedule_again(manager, job.job_id, context)
            self._sent_again.add(job.job_id)

    def _safely(self, step: Callable[..., None], *given: Any) -> None:
        """Do one step for one job; its error, such as a full disk, is logged and stops no other job's."""
        try:
            step(*given)
        except Exception as error:  # noqa: BLE001 - the supervisor goes on, and looks again
            said = f"{step.__name__} {type(error).__name__}: {one_line(str(error))}"
            if said != self._said:
                _log.warning(f"supervisor: {said}; tried again")
            self._said = said

    def heard(self, token: str, jobs: Collection[str]) -> None:
        with self._lock:
            self._running_at[token] = frozenset(jobs)
            client = None if self._server is None else self._server.client_manager.get_clients().get(token)
            site = "" if client is None else str(client.name)
            for job_id in jobs:
                seat = self._seats.get(job_id, {}).get(site)
                if seat is not None and not seat.starting:
                    seat.reported = True
                    if seat.waited_s > FORGET_S:
                        seat.starts = 0

    def holds(self) -> Collection[str] | None:
        if not self._begun or self._server.engine.job_runner.ask_to_stop:
            return None
        with self._lock:
            return frozenset(self._held)

    def unwanted(self, job_id: str, *, by: str) -> None:
        with self._turning:
            self._unwanted[job_id] = by
            resume.withdraw(self._kit, job_id)

    def answered(self, job_id: str) -> None:
        self._safely(self._close, job_id)

    def ended_at(self, job_id: str, site: str, *, code: int) -> None:
        with self._lock:
            seat = self._seats.get(job_id, {}).get(site)
            if seat is not None:
                seat.done = code == JobReturnCode.SUCCESS
                seat.reported, seat.asked_at = True, time.monotonic()

    def aborted(self, job_id: str, *, by: str) -> bool:
        with self._lock:
            held = self._held.pop(job_id, None)
            self._ending.add(job_id)
        job_end.note_abort(self._kit / job_id, by=by)
        if held is None:
            return False
        self._finish(job_id, RunStatus.FINISHED_ABORTED)
        return True

    def ends(self, job_id: str, status: RunStatus) -> RunStatus:
        with self._turning:
            found = job_end.settle(self._kit, job_id, status, by=self._unwanted.get(job_id, "the server"))
            resume.forget(self._kit, job_id)
        with self._lock:
            self._seats.pop(job_id, None)
            self._ending.discard(job_id)
            self._sent_again.discard(job_id)
            self._unwanted.pop(job_id, None)
            if found == RunStatus.FINISHED_COMPLETED:
                self._finished.add(job_id)
        return found

    def archived(self, job_id: str) -> None:
        """FLARE has archived a job that ended: one that finished needs its checkpoint no more.

        The checkpoint of an aborted or failed job stays, so that a person can have it resumed.
        """
        with self._lock:
            if job_id not in self._finished:
                return
            self._finished.remove(job_id)
        shutil.rmtree(self._kit / CHECKPOINTS / job_id, ignore_errors=True)

    def look(self) -> None:
        """Compare once what should run with what runs, and close each gap."""
        if self._server is None or self._server.shutdown:
            return
        with self._lock:
            held = list(self._held.items())
            known = set(self._server.client_manager.get_clients())
            self._running_at = {token: jobs for token, jobs in self._running_at.items() if token in known}
        for job_id, one in held:
            self._safely(self._take_on, job_id, one)
        for job_id in resume_request.requested(self._kit):
            self._safely(self._take_up, job_id)
        for job_id in sorted(self._sent_again):
            self._safely(self._close, job_id)
        engine = self._server.engine
        for job_id, process in dict(engine.run_processes).items():
            job = engine.job_runner.running_jobs.get(job_id)
            ends = job_id in self._ending or process.get(RunProcessKey.PROCESS_FINISHED)
            if job is not None and not job.run_aborted and not ends:
                self._safely(self._stop if job_id in self._unwanted else self._compare, job, process)

    def _take_up(self, job_id: str) -> None:
        with self._turning:
            if resume.take_up(self._kit, self._server.engine, job_id):
                self._unwanted.pop(job_id, None)
                self._sent_again.add(job_id)

    def _close(self, job_id: str) -> None:
        """Tell the end of a job that FLARE ended while it had no process."""
        with self._turning:
            status = resume.over(self._server.engine, job_id)
            if status is not None:
                resume.forget(self._kit, job_id)
                self._sent_again.discard(job_id)
                if job_end.log_of(self._kit, job_id).exists() and job_end.ended(self._kit, job_id) is None:
                    self._finish(job_id, status)

    def _hold(self, held: HeldJob) -> None:
        """Keep a job that has no process, until enough of its sites are heard."""
        job_id = held.job.job_id
        _log.warning(f"job {job_id} was running when the server stopped; it goes on once its sites are heard")
        with self._lock:
            self._held[job_id] = held
        self._scheduler.restore_scheduled_job(job_id)  # it counts among the jobs that run at a time

    def _stop(self, job: Job, process: dict[str, Any]) -> None:
        """Stop a job that a person aborted while FLARE was starting it."""
        self.aborted(job.job_id, by=self._unwanted[job.job_id])
        with self._server.engine.new_context() as context:
            self._server.engine.job_runner.stop_run(job.job_id, context)

    def _take_on(self, job_id: str, held: HeldJob) -> None:
        """Start the job's process again, if it may go on; say whom it waits for if not, for a day at most."""
        there = job_sites.connected(self._server, held.sites)
        if not held.may_go_on(there):
            held.tell(self._kit, there)
            if held.waited_s > LONGEST_S and self._released(job_id):
                job_end.note_failure(self._kit / job_id, f"{held.waits_for(there)}, for a day")
                self._finish(job_id, RunStatus.FINISHED_EXECUTION_EXCEPTION)
            return
        if held.told:
            job_end.tell(self._kit, job_id, "unpaused")
        with self._lock:
            if not self._released(job_id):
                return
            self._seats[job_id] = {site: Seat(reported=True, asked_at=0.0) for site in held.sites}
        runner: JobRunner = self._server.engine.job_runner
        with self._server.engine.new_context() as context:
            # the next process writes it again, from the log beside the checkpoint: it sees that the server was gone
            (self._kit / job_id / EVENTS_FILE).unlink(missing_ok=True)
            runner.restore_running_job(job_id, {client.token: client for client in there.values()}, None, context)
            if job_id not in runner.running_jobs:  # FLARE logs the error
                job_end.note_failure(self._kit / job_id, "its process could not be started again; see the server's log")
                self._finish(job_id, RunStatus.FINISHED_EXECUTION_EXCEPTION)
                return
        _log.warning(f"job {job_id} goes on with {', '.join(sorted(there))}")

    def _released(self, job_id: str) -> bool:
        """Hold a job no longer; False if it is not held, since a person aborted it."""
        with self._lock:
            return self._held.pop(job_id, None) is not None

    def _compare(self, job: Job, process: dict[str, Any]) -> None:
        participants: dict[str, Any] = process[RunProcessKey.PARTICIPANTS]
        if job.job_id not in self._seats:
            names = sorted({client.name for client in participants.values()})
            job_sites.write(self._kit, job.job_id, names)
            with self._lock:
                self._seats[job.job_id] = {name: Seat() for name in names}
                for token in participants:  # what a site ran before the job began tells nothing
                    self._running_at.pop(token, None)
        seats = self._seats[job.job_id]
        for site, client in job_sites.connected(self._server, seats).items():
            seat, runs_it = seats[site], job.job_id in self._running_at.get(client.token, frozenset())
            if seat.done or seat.starting:
                continue
            if client.token not in participants and runs_it:
                site_start.seat_anew(self._server.engine, process, client)
                continue
            if client.token in self._running_at and not runs_it and seat.is_due:
                seat.starting, seat.reported, seat.starts = True, False, seat.starts + 1
                self._pool.submit(self._start_at, job, process, client, seat)

    def _start_at(self, job: Job, process: dict[str, Any], client: Any, seat: Seat) -> None:
        """Deploy and start a job at one site that takes part in it and does not run it."""
        try:
            site_start.seat_anew(self._server.engine, process, client)
            seated = process[RunProcessKey.PARTICIPANTS].values()
            job.meta[JobMetaKey.JOB_CLIENTS.value] = [one.to_dict() for one in seated]  # a site's process asks for it
            refused = site_start.start(self._server.engine, job, client)
            outcome = "started again" if refused is None else f"not started again, {one_line(refused)}"
            _log.warning(f"job {job.job_id} at {client.name}: {outcome}")
        except Exception as error:  # noqa: BLE001 - it is tried again
            _log.warning(f"job {job.job_id} at {client.name}: not started again, {type(error).__name__}")
        finally:
            with self._lock:
                self._running_at.pop(client.token, None)
                seat.starting, seat.asked_at = False, time.monotonic()

    def _finish(self, job_id: str, status: RunStatus) -> None:
        """Publish the end of a job that has no process."""
        with self._server.engine.new_context() as context:
            manager = self._server.engine.get_component(SystemComponents.JOB_MANAGER)
            manager.set_status(job_id, self.ends(job_id, status), context)
        self._scheduler.remove_scheduled_job(job_id)
        self.archived(job_id)

    @property
    def _scheduler(self) -> Any:
        return self._server.engine.get_component(SystemComponents.JOB_SCHEDULER)
