"""Replace the reactions of a job's process, at the server or a site; ``reactions`` has the table of all of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from nvflare.apis.fl_constant import FLContextKey, ServerCommandKey
from nvflare.apis.impl.wf_comm_server import WFCommServer
from nvflare.fuel.f3.mpm import MainProcessMonitor
from nvflare.private.defs import SpecialTaskName, TaskConstant
from nvflare.private.fed.client.client_runner import ClientRunner
from nvflare.private.fed.client.communicator import Communicator
from nvflare.private.fed.server.fed_server import FederatedServer
from nvflare.private.fed.server.server_command_agent import ServerCommandAgent
from nvflare.private.fed.server.server_commands import AbortCommand
from nvflare.private.fed.server.server_engine import ServerEngine
from nvflare.private.fed.server.server_runner import ServerRunner

from fedward.flare.supervisor import result_push
from fedward.flare.supervisor.reactions import THEIRS, require_known
from fedward.transport.timeouts import IDLE_S

LOOK_S = 0.2
"""Seconds between two looks of the server's job process for its own end."""
LAST_S = 0.2
"""Seconds that a job's process waits before it ends."""
REFRESH_S = 0.5
"""Least seconds between two questions of the server's job process about the participants."""
FIRST_S = 600.0
"""Longest wait of the server's job process for its participants, while its parent process starts the sites."""


def install() -> None:
    """Replace the reactions of a job's process, at the server or a site.

    Raises:
        FederationError: FLARE lacks one of the names: it is another release than the one that was examined.
    """
    require_known()
    start_run = THEIRS["FederatedServer.start_run"]

    def looking_often(self: Any, *args: Any, **named: Any) -> Any:
        self.check_engine_frequency = LOOK_S
        return start_run(self, *args, **named)

    FederatedServer.start_run = looking_often
    ServerEngine.sync_clients_from_main_process = _patient
    ServerCommandAgent._get_client = _refreshing()
    ServerRunner.process_task_request = _held
    WFCommServer._job_policy_violated = lambda self: False
    WFCommServer.process_task_check = _checked
    AbortCommand.process = _abort_at_once
    Communicator.pull_task = _impatient
    ClientRunner._check_task_once = result_push.asked
    ClientRunner._try_send_result_once = result_push.sent
    shut_down = THEIRS["MainProcessMonitor._start_shutdown"].__func__

    def ending(cls: Any, shutdown_grace_time: float, cleanup_grace_time: float) -> None:
        shut_down(cls, min(shutdown_grace_time, LAST_S), cleanup_grace_time)

    MainProcessMonitor._start_shutdown = classmethod(ending)


def _checked(self: Any, task_id: str, fl_ctx: Any) -> Any:
    found = THEIRS["WFCommServer.process_task_check"](self, task_id, fl_ctx)
    finished_late = getattr(self.controller, "finished_late", None)
    if found is None and finished_late is not None:
        finished_late(fl_ctx.get_peer_context().get_identity_name(), task_id)
    return found


def _held(self: Any, client: Any, fl_ctx: Any) -> tuple[str, str, Any]:
    theirs = THEIRS["ServerRunner.process_task_request"]
    held = getattr(getattr(self.current_wf, "controller", None), "held", None)
    if held is None:
        return theirs(self, client, fl_ctx)  # type: ignore[no-any-return]
    sent = held.sent
    name, task_id, data = theirs(self, client, fl_ctx)
    waited = name == SpecialTaskName.TRY_AGAIN and held.hold(client.name, sent=sent)
    if waited:
        name, task_id, data = theirs(self, client, fl_ctx)
    if data is not None and (waited or name != SpecialTaskName.TRY_AGAIN):
        data.set_header(TaskConstant.WAIT_TIME, 0.0)  # the site's next request is held: it need not sleep before
    return name, task_id, data


def _abort_at_once(self: Any, data: Any, fl_ctx: Any) -> str:
    runner = fl_ctx.get_prop(FLContextKey.RUNNER)
    if runner is not None:
        runner.abort(fl_ctx=fl_ctx, turn_to_cold=data.get_header(ServerCommandKey.TURN_TO_COLD, False))
    return "Aborted the run"


def _impatient(self: Any, *args: Any, **named: Any) -> Any:
    before, self.timeout = self.timeout, IDLE_S  # FLARE takes the larger one of this and its own setting
    try:
        return THEIRS["Communicator.pull_task"](self, *args, **named)
    finally:
        self.timeout = before


def _patient(self: Any) -> None:
    """Ask as FLARE does, in spells of 30 s; it ends anyway with its parent, or when the job is aborted."""
    begun = time.monotonic()
    while True:
        try:
            return THEIRS["ServerEngine.sync_clients_from_main_process"](self)  # type: ignore[no-any-return]
        except RuntimeError:
            if self.asked_to_stop or time.monotonic() - begun >= FIRST_S:
                raise


def _refreshing() -> Callable[[Any, str], Any]:
    known, last = THEIRS["ServerCommandAgent._get_client"], [float("-inf")]
    lock = threading.Lock()

    def client_of(self: Any, token: str) -> Any:
        client = known(self, token)
        if client is not None:
            return client
        with lock:
            if (now := time.monotonic()) - last[0] < REFRESH_S:
                return known(self, token)
            last[0] = now
            server = self.engine.server
            clients = self.engine._retrieve_clients_data(self.engine.args.job_id)
            if clients:
                server.client_manager.set_clients(clients)
        return known(self, token)

    return client_of
