"""A federation whose participants each run on a machine of their own, from their kits."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from fedward.errors import FederationError
from fedward.flare.kits.central import Kits
from fedward.flare.local_federation import MARK, marked
from tests.support.federation.namespaces import Machine

SERVER = "server"


class Placed:
    """Starts on ``with``, stops on leaving it; everything it starts carries its mark and is stopped by it.

    Args:
        there: the machine of the server and of every site.
        port: the server's.
        environment: site -> further environment variables of its processes.
    """

    def __init__(
        self, kits: Kits, there: Mapping[str, Machine], *, port: int, environment: Mapping[str, Mapping[str, str]]
    ) -> None:
        self._kits = {SERVER: kits.server, **kits.sites}
        self._there, self._port, self._environment, self._mark = there, port, environment, uuid.uuid4().hex
        self._participants: dict[str, subprocess.Popen[bytes]] = {}
        self._started: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Placed:
        try:
            for name in self._kits:
                self._start(name)
                if name == SERVER:
                    self._await_server()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def popen(self, machine: Machine, *command: str, folder: Path, **options: Any) -> subprocess.Popen[bytes]:
        """Start a command on a machine, marked as this federation's."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, MARK: self._mark, "PATH": path, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        environment |= self._environment.get(machine.name, {})
        words = machine.words(*command, folder=folder)
        self._started.append(
            subprocess.Popen(words, env=environment, stdin=subprocess.DEVNULL, start_new_session=True, **options)
        )
        return self._started[-1]

    def check(self) -> None:
        """Raise a ``FederationError`` that names the participant that has died."""
        for name, process in self._participants.items():
            if process.poll() is not None:
                raise FederationError(f"{name} stopped with exit code {process.returncode}", where=self._kits[name])

    def stop(self) -> None:
        """Stop every process with this federation's mark."""
        living = marked(self._mark)
        for process in living:
            with suppress(psutil.NoSuchProcess):
                process.terminate()
        _, stubborn = psutil.wait_procs(living, timeout=5.0)
        for process in [*stubborn, *marked(self._mark)]:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        for started in self._started:
            started.wait(timeout=5.0)
        assert not marked(self._mark), "a process outlives its federation"

    def _start(self, name: str) -> None:
        kit = self._kits[name].resolve()
        with (kit / "console.log").open("ab") as console:
            self._participants[name] = self.popen(
                self._there[name],
                *("bash", str(kit / "startup" / "sub_start.sh"), "--once"),
                folder=kit,
                stdout=console,
                stderr=subprocess.STDOUT,
            )

    def _await_server(self) -> None:
        end = time.monotonic() + 60.0
        while not self._there[SERVER].reaches("127.0.0.1", self._port):
            self.check()
            assert time.monotonic() < end, "server does not answer"
            time.sleep(0.05)
