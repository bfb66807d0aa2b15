"""Run a federation on one machine: one server process, one client process per site, each from its own startup kit.

Every process carries a mark in its environment. By this mark, the program that started the federation can find and
stop all of its processes and their child processes, after any failure.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

import psutil

from fedward.errors import FederationError
from fedward.flare.kits.central import Kits
from fedward.screen import UTF8_CHILD
from fedward.settings import FederationSpec

MARK = "FEDWARD_FEDERATION"
STOP_S = 5.0


class LocalFederation:
    """Federation that starts on entry to ``with`` and stops on exit: by success, by an error, by Ctrl-C or SIGTERM.

    Args:
        spec, kits: the federation and its kits.
        threads: CPU threads of the server and of each site; 0: the libraries decide.
    """

    def __init__(self, spec: FederationSpec, kits: Kits, *, threads: int = 0) -> None:
        self._spec, self._kits, self._threads = spec, kits, threads
        self._mark = uuid.uuid4().hex
        self._started: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        require_free_port(self._spec.server.host, self._spec.server.port)
        try:
            self.start("server", self._kits.server)
            self._await_server()
            for site, kit in self._kits.sites.items():
                self.start(site, kit)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, name: str, kit: Path) -> None:
        """Start one participant from its kit's own ``sub_start.sh``; its output goes to ``<kit>/console.log``.

        Raises:
            subprocess.TimeoutExpired: its earlier process still runs.
        """
        kit = kit.resolve()
        if (earlier := self._started.get(name)) is not None:
            earlier.wait(timeout=STOP_S)
        environment = {**os.environ, **UTF8_CHILD, MARK: self._mark}
        environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment.get('PATH', '')}"
        if self._threads:
            environment |= {"OMP_NUM_THREADS": str(self._threads), "MKL_NUM_THREADS": str(self._threads)}
        with (kit / "console.log").open("ab") as console:
            self._started[name] = subprocess.Popen(
                ["bash", str(kit / "startup" / "sub_start.sh"), "--once"],
                cwd=kit,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def check(self) -> None:
        """Raise a ``FederationError`` if a participant has stopped; it names the participant and its log."""
        for name, process in self._started.items():
            if process.poll() is not None:
                kit = self._kits.server if name == "server" else self._kits.sites[name]
                raise FederationError(
                    f"{name} stopped with exit code {process.returncode}",
                    where=kit / "console.log",
                    remedy="read the log",
                )

    def processes(self) -> list[psutil.Process]:
        """Return every running process of this federation, including those of its jobs."""
        return marked(self._mark)

    def stop(self) -> None:
        """Stop every process of this federation; a second signal does not interrupt this."""
        with _signals_held():
            living = self.processes()
            for process in living:
                _quietly(process.terminate)
            _, stubborn = psutil.wait_procs(living, timeout=STOP_S)
            for process in [*stubborn, *self.processes()]:
                _quietly(process.kill)
            psutil.wait_procs(stubborn, timeout=STOP_S)
            for started in self._started.values():
                started.wait(timeout=STOP_S)

    def _await_server(self, *, timeout_s: float = 60.0) -> None:
        host, port = self._spec.server.host, self._spec.server.port
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            self.check()
            with socket.socket() as probe:
                probe.settimeout(1.0)
                if probe.connect_ex((host, port)) == 0:
                    return
            time.sleep(0.05)
        raise FederationError(
            f"server does not answer on {host}:{port}", where=self._kits.server / "console.log", remedy="read the log"
        )


def require_free_port(host: str, port: int) -> None:
    """Refuse a port on which another process listens."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise FederationError(
                f"port cannot be used ({error.strerror})",
                where=host,
                value=port,
                remedy="stop what uses it or give --port",
            ) from None


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def marked(mark: str) -> list[psutil.Process]:
    """Return every running process of this user that carries ``mark``."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def _quietly(action: Callable[[], None]) -> None:
    try:
        action()
    except psutil.NoSuchProcess:
        return


@contextmanager
def interruptible() -> Iterator[None]:
    """Make SIGTERM and SIGHUP interrupt the work as Ctrl-C does, so that all started processes are stopped."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _signals_held() -> Iterator[None]:
    held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
