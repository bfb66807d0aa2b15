"""Replace FLARE 2.9's reactions to a lost process, a lost site and an abort: they end or orphan a job that can go on.

======================================= ==================================== =========================================
FLARE's name                            its reaction                         here
======================================= ==================================== =========================================
FederatedServer.process_job_failure     a site's report fails the whole run  the site is out; the job's coverage decides
FederatedServer                         a site that came back under a new    the site's outcome is settled, and nothing
  ._resolve_missing_client_outcome      token makes the end ABNORMAL         else
FederatedServer._sync_client_jobs       a site stops a job that the server   not while the server takes the job on again
                                        does not run (yet)
FederatedServer.start_run               looks for the end every 3 s          every ``LOOK_S``
AbortCommand.process                    answers when the job has ended       answers at once
MainProcessMonitor._start_shutdown      a job's process that is done sleeps  ``LAST_S``: its cell is closed already
                                        for 3 s before it ends
Communicator.pull_task                  a site waits 300 s for a server's    ``IDLE_S`` without a byte; then it asks
                                        process that is gone                 again
ClientRunner._check_task_once           a server that does not answer waits  it is asked again
                                        for the result
ClientRunner._try_send_result_once      a site waits 300 s for a reply of a  a small result is not asked about; a
                                        server's process that is gone        transfer ends once the task is gone
ServerCommandAgent._get_client          a token that is new is unknown for   the parent process is asked again
                                        the rest of the job
ServerEngine                            a job fails whose parent process     ``FIRST_S``
  .sync_clients_from_main_process       does not answer for 30 s
ServerRunner.process_task_request       a site that has no task asks again   the request is held until there is a task
                                        and again
WFCommServer.process_task_check         a site that was late is not heard    its time is measured
WFCommServer._job_policy_violated       a required site that is silent ends  the job's coverage decides
                                        the job
job_runner.check_client_replies         a site that cannot start ends the    the job's coverage decides
                                        job, whatever ``min_sites`` is
JobRunner._stop_run                     waits for the sites before it stops  both at once
                                        the server's process
JobRunner.stop_all_runs                 a server that stops aborts its jobs  they are taken on when it starts again
JobRunner._save_workspace               archives without an end              one end first (``job_end``)
JobCommandModule.abort_job              forgets who asked, and tells no end  the person's name is kept with the run; a
                                        of a job that waits                  job that waits ends in every record
======================================= ==================================== =========================================

``EXAMINED`` has the digest of each replaced function's source; a test compares them with the FLARE that is installed.
"""

from __future__ import annotations

import hashlib
import inspect
import logging
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Protocol

from nvflare.apis.fl_constant import RunProcessKey
from nvflare.apis.impl.wf_comm_server import WFCommServer
from nvflare.apis.job_def import RunStatus
from nvflare.apis.job_launcher_spec import JobReturnCode
from nvflare.fuel.f3.cellnet.defs import MessageHeaderKey
from nvflare.fuel.f3.mpm import MainProcessMonitor
from nvflare.fuel.hci.server.constants import ConnProps
from nvflare.private.defs import CellMessageHeaderKeys, JobFailureMsgKey
from nvflare.private.fed.client.client_runner import ClientRunner
from nvflare.private.fed.client.communicator import Communicator
from nvflare.private.fed.server import job_runner
from nvflare.private.fed.server.fed_server import FederatedServer
from nvflare.private.fed.server.job_cmds import JobCommandModule
from nvflare.private.fed.server.job_runner import JobRunner
from nvflare.private.fed.server.server_command_agent import ServerCommandAgent
from nvflare.private.fed.server.server_commands import AbortCommand
from nvflare.private.fed.server.server_engine import ServerEngine
from nvflare.private.fed.server.server_runner import ServerRunner

from fedward.errors import FederationError
from fedward.flare.refusal import one_line

ARCHIVE_S = 86_400.0
"""Seconds that FLARE tries to archive an ended job on a full disk, before it publishes the end without a result."""
_log = logging.getLogger("fedward.supervisor")


class StatusChangedError(Exception):
    """The end of a job is another than FLARE's status: FLARE publishes the corrected one at its next look."""


class Listener(Protocol):
    """Supervisor of the server's parent process, as the reactions tell it what happens. Any thread may call it."""

    def heard(self, token: str, jobs: Collection[str]) -> None:
        """A site's parent process runs these jobs."""

    def holds(self) -> Collection[str] | None:
        """Return the jobs that sites must not stop although no process of the server runs them; None: any job."""

    def ended_at(self, job_id: str, site: str, *, code: int) -> None:
        """A site's job process has ended for good."""

    def aborted(self, job_id: str, *, by: str) -> bool:
        """A job is aborted; called before its processes are told. True if it has none, and has ended by this call."""

    def unwanted(self, job_id: str, *, by: str) -> None:
        """A person aborts a job, whatever its state; it must not run."""

    def answered(self, job_id: str) -> None:
        """FLARE has answered the abort: a job that waited without a process has ended now."""

    def ends(self, job_id: str, status: RunStatus) -> RunStatus:
        """Return the one end of a job as FLARE's status, after it is written wherever it was missing."""


@dataclass(frozen=True, slots=True)
class _Place:
    owner: type
    name: str

    def __str__(self) -> str:
        return f"{self.owner.__name__}.{self.name}"


_PLACES = (
    _Place(FederatedServer, "process_job_failure"),
    _Place(FederatedServer, "_resolve_missing_client_outcome"),
    _Place(FederatedServer, "_sync_client_jobs"),
    _Place(FederatedServer, "start_run"),
    _Place(ServerCommandAgent, "_get_client"),
    _Place(ServerEngine, "sync_clients_from_main_process"),
    _Place(ServerRunner, "process_task_request"),
    _Place(WFCommServer, "_job_policy_violated"),
    _Place(WFCommServer, "process_task_check"),
    _Place(JobRunner, "stop_run"),
    _Place(JobRunner, "_stop_run"),
    _Place(JobRunner, "stop_all_runs"),
    _Place(JobRunner, "_save_workspace"),
    _Place(JobCommandModule, "abort_job"),
    _Place(AbortCommand, "process"),
    _Place(Communicator, "pull_task"),
    _Place(ClientRunner, "_check_task_once"),
    _Place(ClientRunner, "_try_send_result_once"),
    _Place(MainProcessMonitor, "_start_shutdown"),
)
THEIRS: dict[str, Any] = {str(place): getattr(place.owner, place.name, None) for place in _PLACES}
_CHECK_REPLIES = job_runner.check_client_replies
_ASKED_BY = threading.local()


def digests() -> dict[str, str]:
    """Return the SHA-256 of the source of each function of FLARE that is replaced, by name."""
    return {
        name: hashlib.sha256(inspect.getsource(theirs).encode()).hexdigest()
        for name, theirs in [*THEIRS.items(), ("job_runner.check_client_replies", _CHECK_REPLIES)]
        if theirs is not None
    }


def install(listener: Listener) -> None:
    """Replace the reactions of the server's parent process, and tell the listener what happens.

    Raises: as ``job_reactions.install``.
    """
    require_known()
    FederatedServer.process_job_failure = _site_ended(listener)
    FederatedServer._resolve_missing_client_outcome = _settled
    FederatedServer._sync_client_jobs = _heartbeat(listener)
    JobRunner._stop_run = _stop_at_once
    JobRunner.stop_all_runs = _leave_running
    JobRunner._save_workspace = _one_end(listener)
    JobCommandModule.abort_job = _asked_by(listener)
    job_runner.check_client_replies = _coverage_decides
    job_runner.WORKSPACE_SAVE_RETRY_GRACE_TIME = ARCHIVE_S
    JobRunner.stop_run = _stopped_by(listener)


def require_known() -> None:
    for name, theirs in THEIRS.items():
        if theirs is None:
            raise FederationError("FLARE has another release than Fedward's", value=name)


def _site_ended(listener: Listener) -> Callable[[Any, Any], Any]:
    theirs = THEIRS["FederatedServer.process_job_failure"]

    def ended(self: Any, request: Any) -> Any:
        payload = request.payload
        token = request.get_header(CellMessageHeaderKeys.TOKEN)
        client = self.client_manager.clients.get(token) if isinstance(token, str) else None
        if client is not None and isinstance(payload, dict):
            job_id, code = payload.get(JobFailureMsgKey.JOB_ID), payload.get(JobFailureMsgKey.CODE)
            if isinstance(job_id, str) and isinstance(code, int) and code != JobReturnCode.SUCCESS:
                origin = request.get_header(MessageHeaderKey.ORIGIN)
                _log.warning(f"job {job_id}: process of {origin} ended with code {code}; the job goes on without it")
            request.payload = {**payload, JobFailureMsgKey.CODE: JobReturnCode.SUCCESS}
            if isinstance(job_id, str):
                listener.ended_at(job_id, client.name, code=code if isinstance(code, int) else JobReturnCode.UNKNOWN)
        return theirs(self, request)

    return ended


def _settled(self: Any, client: Any, job_id: str, reason: str) -> None:
    self.engine.job_runner.resolve_client_outcome(job_id, client.name)


def _heartbeat(listener: Listener) -> Callable[[Any, Any, str], list[str]]:
    theirs = THEIRS["FederatedServer._sync_client_jobs"]

    def synced(self: Any, request: Any, client_token: str) -> list[str]:
        jobs = request.get_header(CellMessageHeaderKeys.JOB_IDS)
        known = jobs if isinstance(jobs, list | tuple | set) else ()
        listener.heard(client_token, frozenset(job_id for job_id in known if isinstance(job_id, str)))
        held = listener.holds()
        stopped = theirs(self, request, client_token)
        return [] if held is None else [job_id for job_id in stopped if job_id not in held]

    return synced


def _stopped_by(listener: Listener) -> Callable[[Any, str, Any], Any]:
    theirs = THEIRS["JobRunner.stop_run"]

    def stopped(self: Any, job_id: str, fl_ctx: Any) -> Any:
        if listener.aborted(job_id, by=getattr(_ASKED_BY, "name", None) or "the server"):
            return ""
        return theirs(self, job_id, fl_ctx)

    return stopped


def _coverage_decides(replies: Any, client_sites: Any, command: str, strict: bool = False) -> list[str]:
    """Let a job begin although a site did not start it: the job's own admission says who takes part."""
    if not command.startswith("start job"):
        return list(_CHECK_REPLIES(replies, client_sites, command, strict) or ())
    try:
        return list(_CHECK_REPLIES(replies, client_sites, command, strict) or ())
    except RuntimeError as error:
        _log.warning(f"{command}: {one_line(str(error))}; the job begins without that site")
        return []


def _stop_at_once(self: Any, job_id: str, fl_ctx: Any) -> None:
    engine = fl_ctx.get_engine()
    process = engine.run_processes.get(job_id)
    if process is None:
        return
    connected = engine.client_manager.clients
    sites = [client.name for token, client in dict(process[RunProcessKey.PARTICIPANTS]).items() if token in connected]
    threading.Thread(
        target=self.abort_client_run, args=(job_id, sites, engine.new_context()), name=f"abort {job_id}", daemon=True
    ).start()
    engine.abort_app_on_server(job_id)


def _leave_running(self: Any, fl_ctx: Any) -> None:
    engine = fl_ctx.get_engine()
    self.ask_to_stop = True
    for job_id, process in dict(engine.run_processes).items():
        with self.lock:
            self.running_jobs.pop(job_id, None)
        _log.warning(f"job {job_id}: the server stops; it goes on when the server is back")
        process[RunProcessKey.JOB_HANDLE].terminate()


def _one_end(listener: Listener) -> Callable[..., None]:
    theirs = THEIRS["JobRunner._save_workspace"]

    def save(self: Any, fl_ctx: Any, finished_state: Any = None, job_id: str | None = None) -> None:
        if finished_state is not None and job_id is not None and not finished_state.workspace_archive_written:
            status = listener.ends(job_id, finished_state.status)
            if status != finished_state.status:
                before, finished_state.status = finished_state.status, status
                raise StatusChangedError(f"job {job_id} ended as {status.value}, not as {before.value}")
        theirs(self, fl_ctx, finished_state, job_id)

    return save


def _asked_by(listener: Listener) -> Callable[[Any, Any, list[str]], None]:
    theirs = THEIRS["JobCommandModule.abort_job"]

    def asked(self: Any, conn: Any, args: list[str]) -> None:
        _ASKED_BY.name = name = conn.get_prop(ConnProps.USER_NAME)
        job_id = str(conn.get_prop(self.JOB_ID))
        try:
            # FLARE calls a job that is being started aborted, and starts it all the same
            listener.unwanted(job_id, by=str(name))
            theirs(self, conn, args)
            listener.answered(job_id)
        finally:
            _ASKED_BY.name = None

    return asked
