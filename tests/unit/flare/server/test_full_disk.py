"""A full disk at the server: the job pauses with the reason and goes on; nothing is lost or doubled."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fedward.flare.protocol import Task
from fedward.flare.server import pause as pause_module
from fedward.flare.server import persistor
from fedward.flare.server.asking.broadcast import POLL_S
from fedward.flare.server.pause import LONGEST_S, RETRY_S
from fedward.metrics.events import EVENTS_FILE, EventReader
from fedward.metrics.store import Store
from fedward.weights import MODEL_FILE
from tests.support.flare.restarted import Restarted
from tests.support.flare.simulated import Act, Simulated, on, steady
from tests.unit.flare.server.test_resume import assert_once, same

SITES = ("city", "coast", "north")
CODES = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)


def federation(folder: Path, **asked: Any) -> Restarted:
    scripts = {site: steady(5.0) for site in SITES}
    return Restarted(folder, scripts, federation={"rounds": 3, "local_baseline": False, **asked})


class Disk:
    """The server's disk: full for some seconds of simulated time, for files below the kit."""

    def __init__(self, job: Restarted, *, start: float, end: float, code: int = errno.ENOSPC) -> None:
        self.job, self.start, self.end, self.code = job, start, end, code
        self.refused = 0
        self._open, self._write, self._mkdir = os.open, os.write, os.mkdir

    @property
    def full(self) -> bool:
        return self.start <= self.job.clock.now < self.end

    def refuse(self) -> None:
        self.refused += 1
        raise OSError(self.code, os.strerror(self.code))

    def write(self, handle: int, content: Any) -> int:
        if not self.full:
            return self._write(handle, content)
        if len(content) > 8:  # a full disk takes a few bytes now and then
            self._write(handle, bytes(content)[:8])
        return self.refuse()  # type: ignore[return-value]

    def mkdir(self, *given: Any, **named: Any) -> None:
        if self.full:
            self.refuse()
        self._mkdir(*given, **named)

    def patch(self, patch: pytest.MonkeyPatch) -> None:
        patch.setattr(os, "write", self.write)
        patch.setattr(os, "mkdir", self.mkdir)


def run(job: Restarted, disk: Disk) -> Simulated:
    with pytest.MonkeyPatch.context() as patch:
        disk.patch(patch)
        return job.run()


@pytest.mark.parametrize("start", [0.0, 2.0, 5.02, 7.0, 10.0, 12.0, 16.0, 21.0])
@pytest.mark.parametrize("code", CODES)
def test_the_job_pauses_and_goes_on(tmp_path: Path, start: float, code: int) -> None:
    undisturbed = federation(tmp_path / "whole")
    whole = undisturbed.run()
    job = federation(tmp_path / "full")
    disk = Disk(job, start=start, end=start + 300.0, code=code)
    ran = run(job, disk)
    assert disk.refused and ran.panic == ""
    assert_once(ran.events, rounds=3)
    assert job.log == ran.events
    assert same(job.model, undisturbed.model)
    kinds = [event["event"] for event in ran.events if event["event"] not in ("paused", "unpaused")]
    assert kinds == [event["event"] for event in whole.events]
    paused, unpaused = ran.of("paused"), ran.of("unpaused")
    assert len(paused) == len(unpaused) == 1
    assert os.strerror(code) in paused[0]["reason"] and "server's disk" in paused[0]["reason"]
    assert ran.ended_s < whole.ended_s + 300.0 + 2 * RETRY_S
    assert ran.of("finished")[0]["missing"] == {}


def test_an_answer_that_comes_late_while_the_disk_is_full_counts(tmp_path: Path) -> None:
    slow = on(Task.ROUND, Act("answer", 60.0), rounds=range(1, 2), otherwise=steady(5.0))
    scripts = {"city": steady(5.0), "coast": steady(5.0), "north": slow}
    asked = {"rounds": 3, "local_baseline": False, "grace_s": 10.0}
    without = Restarted(tmp_path / "whole", scripts, federation=asked).run()
    assert without.of("round")[1]["sites"] == ["city", "coast"]
    job = Restarted(tmp_path / "full", scripts, federation=asked)
    ran = run(job, Disk(job, start=12.0, end=200.0))
    assert ran.of("round")[1]["sites"] == ["city", "coast", "north"] and not ran.of("dropped")
    assert_once(ran.events, rounds=3)


def test_an_abort_ends_a_pause_within_a_poll(tmp_path: Path) -> None:
    job = federation(tmp_path)
    job.clock.after(100.0, lambda: job.abort.trigger(True))
    ran = run(job, Disk(job, start=7.0, end=120.0))
    assert ran.ended_s <= 100.0 + POLL_S + 1e-6 and len(ran.of("finished")) == 0
    job.controller._events.flush()  # what FLARE's process does not do any more
    assert job.log[-1]["event"] == "aborted"


def test_a_disk_that_stays_full_ends_the_job_after_a_day(tmp_path: Path) -> None:
    job = federation(tmp_path)
    job.clock._tick_s = 60.0
    ran = run(job, Disk(job, start=120.0, end=1e9))
    assert LONGEST_S < ran.ended_s < LONGEST_S + 3600
    assert "the server's disk took nothing for a day" in ran.panic


def test_a_store_on_another_disk_is_told_at_once(tmp_path: Path) -> None:
    job = federation(tmp_path)
    seen: list[tuple[Any, ...]] = []

    def look() -> None:
        with Store.open(tmp_path / "metrics.db") as store, store.turn() as connection:
            seen.extend(connection.execute("SELECT state, reason FROM jobs").fetchall())

    job.clock.after(60.0, look)
    run(job, Disk(job, start=7.0, end=300.0))
    ((state, reason),) = seen
    assert state == "paused" and "No space left" in reason
    with Store.open(tmp_path / "metrics.db") as store, store.turn() as connection:
        assert connection.execute("SELECT state, taken FROM jobs").fetchall() == [("finished", len(job.log))]


@pytest.mark.parametrize("fails", ["save_weights", "write_atomic"])
def test_the_models_of_the_run_folder_wait_too(tmp_path: Path, fails: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real, left = getattr(persistor, fails), [3]

    def full(*given: Any) -> None:
        if left[0]:
            left[0] -= 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(*given)

    monkeypatch.setattr(persistor, fails, full)
    job = federation(tmp_path)
    ran = job.run()
    assert left == [0] and len(ran.of("paused")) == 1
    assert ran.of("finished") and job.model is not None
    assert (job.checkpoints / MODEL_FILE).read_bytes() == (job.run_folder / MODEL_FILE).read_bytes()


# a real one

SMALL_DISK = """
import sys, threading, time, os
from pathlib import Path
kit, ballast = Path(sys.argv[1]), Path(sys.argv[1]) / "ballast"
from fedward.flare.protocol import Task
from tests.support.flare.server import Site, run

def fill():
    handle = os.open(ballast, os.O_WRONLY | os.O_CREAT)
    for size in (4096, 1):
        try:
            while True:
                os.write(handle, b"x" * size)
        except OSError:
            pass
    os.close(handle)

def north(task, number):
    if task is Task.ROUND and number == 1:
        fill()
        threading.Timer(2.5, ballast.unlink).start()
    return 0.05

ran = run(kit, {"city": Site(), "coast": Site(), "north": Site(north)}, federation={"rounds": 3})
print("|".join(event["event"] for event in ran.events if event["event"] not in ("answered", "admitted")))
print(ran.of("paused")[0]["reason"] if ran.of("paused") else "", ran.panic)
print(round(ran.wall_s, 1))
"""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of four megabytes."""
    place = tmp_path / "disk"
    place.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(words, check=False, capture_output=True).returncode != 0:
        pytest.skip("mounting a small disk needs root")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_disk_that_is_really_full_and_then_is_not(small_disk: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SMALL_DISK, str(small_disk)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    kinds, reason, seconds = done.stdout.splitlines()[-3:]
    assert kinds == "started|round|paused|unpaused|round|round|finished"
    assert "No space left on device" in reason and float(seconds) >= 2.0
    run_folder = small_disk / "kit" / "job-1"
    log = list(EventReader(run_folder / EVENTS_FILE))
    assert [event["round"] for event in log if event["event"] == "round"] == [0, 1, 2]
    assert (run_folder / EVENTS_FILE).read_bytes() == (
        small_disk / "kit" / "checkpoints" / "job-1" / EVENTS_FILE
    ).read_bytes()
    with Store.open(small_disk / "kit" / "metrics.db") as store, store.turn() as connection:
        assert connection.execute("SELECT state, taken FROM jobs").fetchall() == [("finished", len(log))]
        assert connection.execute("SELECT accepted FROM seats").fetchall() == [(3,)] * 3


def test_the_retry_is_slower_than_the_poll() -> None:
    assert pause_module.RETRY_S >= POLL_S
