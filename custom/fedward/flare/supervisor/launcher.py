"""Start a job's process, and start it again after it was killed; FLARE's parent process sees one process that lives on.

FLARE 2.9 fails the whole job when one site's job process is killed, and loses the job when the server's is. Here the
handle that FLARE waits for ends only when the process ended by itself, when FLARE stopped it, or when it was killed
more often than ``ATTEMPTS``. The new process has the same arguments. FLARE sends it the open task again.
"""

from __future__ import annotations

import logging
import os
import shlex
import signal
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

from nvflare.apis.fl_constant import FLContextKey
from nvflare.apis.fl_context import FLContext
from nvflare.apis.job_def import JobMetaKey
from nvflare.apis.job_launcher_spec import JobHandleSpec, JobReturnCode
from nvflare.app_common.job_launcher.client_process_launcher import ClientProcessJobLauncher
from nvflare.app_common.job_launcher.process_launcher import JOB_RETURN_CODE_MAPPING
from nvflare.app_common.job_launcher.server_process_launcher import ServerProcessJobLauncher
from nvflare.utils.job_launcher_utils import get_credential_env
from nvflare.utils.process_utils import spawn_process

ATTEMPTS = 5
"""Number of times that a job's process is started again within ``FORGET_S``; one more kill ends it."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0
"""Pause before the process is started again; each further pause is twice as long."""
FORGET_S = 600.0
"""Seconds that a process lives after which its earlier kills no longer count."""
KILLED = frozenset(
    -number for number in (signal.SIGKILL, signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE)
)
"""Exit codes of a process that did not end by itself. SIGTERM and SIGINT are a person's or a service's wish."""

_log = logging.getLogger("fedward.supervisor")


class Process(Protocol):
    """Process as FLARE's adapter presents it."""

    def wait(self) -> None: ...

    def poll(self) -> int | None: ...

    def terminate(self) -> None: ...


class RestartingHandle(JobHandleSpec):  # type: ignore[misc]
    """Handle of a job's process, under which the process may be replaced. Any thread may use it.

    Args:
        start: function that starts the process.
        name: job's id, for the log.
        clock: monotonic seconds.
    """

    def __init__(self, start: Callable[[], Process], *, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._start, self._name, self._clock = start, name, clock
        self._lock, self._stop, self._over = threading.Lock(), threading.Event(), threading.Event()
        self._following = False
        self._attempts, self._since = 0, clock()
        self._process = start()

    def wait(self) -> None:
        """Wait for the end of the job's process, across restarts; the first caller restarts it, all others wait."""
        with self._lock:
            first, self._following = not self._following, True
        if not first:
            self._over.wait()
            return
        try:
            while self._again():
                pass
        finally:
            self._over.set()

    def poll(self) -> int:
        """Return FLARE's code of the end, or ``UNKNOWN`` while the process runs or is to be started again."""
        code = self._process.poll()
        if code is None or (self._following and not self._over.is_set()):
            return int(JobReturnCode.UNKNOWN)
        return int(JOB_RETURN_CODE_MAPPING.get(code, JobReturnCode.EXECUTION_ERROR))

    def terminate(self) -> None:
        """Stop the process for good."""
        with self._lock:
            self._stop.set()
            if self._process.poll() is None:  # the number of a process that has ended may be another one's
                self._process.terminate()

    def _again(self) -> bool:
        """Wait for the present process; start the next one and return True if it was killed."""
        self._process.wait()
        code, now = self._process.poll(), self._clock()
        if code not in KILLED or self._stop.is_set():
            return False
        if now - self._since > FORGET_S:
            self._attempts = 0
        if self._attempts >= ATTEMPTS:
            _log.error(f"job {self._name}: its process was killed {self._attempts + 1} times; it is not started again")
            return False
        pause_s = min(FIRST_PAUSE_S * 2**self._attempts, LONGEST_PAUSE_S)
        self._attempts += 1
        _log.warning(f"job {self._name}: its process was killed ({code}); started again in {pause_s:g} s")
        if self._stop.wait(pause_s):
            return False
        with self._lock:
            if self._stop.is_set():
                return False
            try:
                self._process, self._since = self._start(), self._clock()
            except OSError as error:  # no memory, just after the kill: tried again as if it had been killed again
                _log.error(f"job {self._name}: its process could not be started, {error.strerror}")
        return True


class _Restarting:
    """Launcher whose process is started again; mixed into FLARE's two launchers, which make the command."""

    get_command: Callable[[dict[str, Any], FLContext], str]

    def launch_job(self, job_meta: dict[str, Any], fl_ctx: FLContext) -> JobHandleSpec:
        """Start the job's process.

        A Fedward job has no code of its own, so nothing is added to the process's path.
        """
        environment = {**os.environ, **get_credential_env(fl_ctx.get_prop(FLContextKey.JOB_PROCESS_ARGS) or {})}
        command = shlex.split(self.get_command(job_meta, fl_ctx), posix=True)
        name = str(job_meta.get(JobMetaKey.JOB_ID.value))
        return RestartingHandle(lambda: spawn_process(command, dict(environment)), name=name)


class SiteLauncher(_Restarting, ClientProcessJobLauncher):  # type: ignore[misc]
    """Launcher of a site's job process."""


class ServerLauncher(_Restarting, ServerProcessJobLauncher):  # type: ignore[misc]
    """Launcher of the server's job process."""
