"""Play a fault on a job of a real federation: submit, wait for the moment, kill, start, and read what is told."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from fedward.flare.export import export_job
from fedward.flare.supervisor.single_process import CHECKPOINTS
from fedward.metrics.events import EVENTS_FILE, EventReader
from fedward.settings import JobSpec
from tests.integration.conftest import Running
from tests.support.federation.site_line import Line

SERVER = "server"
LIMIT_S = 300.0
"""Longest wait for anything; a promise is shorter."""


@dataclass
class Federation:
    """A federation on which one fault after another is played.

    Attributes:
        victim: the site to which things happen.
        full: folder -> a small file system of its own, where the machine allows it: the victim's ledger, and what the
            server keeps.
        line: the victim's line to the server.
        lies: folder in which a file of a site's name has that site lie.
    """

    running: Running
    victim: str
    line: Line
    lies: Path
    full: dict[str, Path] = field(default_factory=dict)

    @property
    def kits(self) -> dict[str, Path]:
        """Folder of the server's kit and of each site's."""
        return {SERVER: self.running.kits.server, **self.running.kits.sites}

    @property
    def person(self) -> Path:
        return next(iter(self.running.kits.people.values()))

    def processes(self, who: str, *, job_id: str | None = None) -> list[psutil.Process]:
        """A participant's parent process, or its process of a job."""
        kit, main = str(self.kits[who].resolve()), f"nvflare.private.fed.app.{'server' if who == SERVER else 'client'}"
        found = []
        for process in self.running.federation.processes():
            with suppress(psutil.Error):
                words = process.cmdline()
                parent = any(word.startswith(main) and word.endswith("_train") for word in words)
                if kit in words and (parent if job_id is None else job_id in words):
                    found.append(process)
        return found

    def kill(self, who: str, *, job_id: str | None = None) -> None:
        """``kill -9``; at least one process must be there."""
        found = self.processes(who, job_id=job_id)
        assert found, f"{who} has no such process"
        for process in found:
            process.kill()
        psutil.wait_procs(found, timeout=10.0)

    def start(self, who: str) -> None:
        """Start a participant as its service does."""
        self.running.federation.start(who, self.kits[who])

    def listens(self) -> bool:
        """True if the server accepts connections."""
        server = self.running.spec.server
        with suppress(OSError), socket.create_connection((server.host, server.port), timeout=1.0):
            return True
        return False

    def mend(self) -> None:
        """Start who is down, and wait until everybody is connected."""
        began, down = datetime.now(UTC), [who for who in self.kits if not self.processes(who)]
        for who in down:
            self.start(who)
            if who == SERVER:
                wait_for(self.listens, what="the server listens")

        def connected() -> bool:
            """The server may still count a process that is gone."""
            if not self.ask():
                return False
            seen = self.running.session.last_seen()
            return set(seen) == set(self.running.kits.sites) and all(seen[one] > began for one in down if one in seen)

        wait_for(connected, what="all sites are connected")

    def ask(self, job_id: str = "00000000-0000-0000-0000-000000000000") -> bool:
        """True if the server answers this session, which signs in again where it has to."""
        from fedward.errors import FederationError

        try:
            return self.running.session.standing(job_id) is not None
        except FederationError as error:
            return "no such job" in str(error)


def wait_for(condition: Callable[[], object], *, what: str, within_s: float = LIMIT_S) -> float:
    """Seconds until a condition holds."""
    begin = time.monotonic()
    while not condition():
        assert time.monotonic() - begin < within_s, f"in {within_s:.0f} s not: {what}"
        time.sleep(0.05)
    return time.monotonic() - begin


@dataclass
class Play:
    """One job, and the fault that is played on it.

    Attributes:
        follower: ``fedward job wait`` of the person, from the submission on.
        fault_at: time at which the fault begins, or after which its seconds count.
    """

    federation: Federation
    job: JobSpec
    job_id: str
    folder: Path
    follower: subprocess.Popen[bytes]
    fault_at: float = 0.0

    @property
    def victim(self) -> str:
        return self.federation.victim

    @property
    def result(self) -> Path:
        """Folder of the downloaded result."""
        return self.folder / "result" / self.job_id

    def events(self) -> list[dict[str, Any]]:
        """Events so far, as the server keeps them."""
        for log in (CHECKPOINTS, "."):
            path = self.federation.kits[SERVER] / log / self.job_id / EVENTS_FILE
            if path.is_file():
                return list(EventReader(path))
        return []

    def of(self, kind: str, **fields: Any) -> list[dict[str, Any]]:
        """Events of one kind."""
        return [one for one in self.events() if one["event"] == kind and fields.items() <= one.items()]

    def until(self, condition: Callable[[], object], *, what: str) -> None:
        """Wait for a condition; it is an error if the job ends first."""

        def holds() -> bool:
            if condition():
                return True
            assert self.follower.poll() is None, f"the job ended before {what}: {self.said()}"
            return False

        wait_for(holds, what=what)

    def begins(self) -> None:
        """The fault begins now."""
        self.fault_at = time.time()

    def kill(self, *who: str, job: bool = False) -> None:
        for one in who:
            self.federation.kill(one, job_id=self.job_id if job else None)

    def said(self) -> list[str]:
        """Lines that the person has read so far."""
        return (self.folder / "wait.err").read_text().splitlines()

    def task(self, name: str, *, site: str | None = None) -> bool:
        """True once a site's process has been asked for a task."""
        log = self.federation.kits[site or self.victim] / self.job_id / "log.txt"
        return log.is_file() and f"name={name}" in log.read_text(errors="replace")


def fedward(*words: str, **options: Any) -> subprocess.Popen[bytes]:
    """Type a command."""
    command = [sys.executable, "-W", "ignore", "-c", "from fedward.cli import main; main()", *words]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, env=dict(os.environ), **options)


@contextmanager
def played(federation: Federation, job: JobSpec, folder: Path) -> Iterator[Play]:
    """Submit a job, and follow it as a person does; nobody follows it once the ``with`` is left."""
    folder.mkdir(parents=True, exist_ok=True)
    job_id = federation.running.session.submit(export_job(job, folder / "jobs"))
    words: Sequence[str] = ("--kit", str(federation.person), "--out", str(folder / "result"), "--format", "json")
    with (folder / "wait.out").open("wb") as out, (folder / "wait.err").open("wb") as err:
        follower = fedward("job", "wait", job_id, *words, stdout=out, stderr=err)
    try:
        yield Play(federation, job, job_id, folder, follower)
    finally:
        if follower.poll() is None:
            follower.kill()
        follower.wait()
