"""A job's process that is killed starts again, up to a limit; one that ends by itself or is stopped does not."""

from __future__ import annotations

import itertools
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from nvflare.apis.job_launcher_spec import JobReturnCode
from nvflare.utils.process_utils import ProcessAdapter, spawn_process

from fedward.flare.supervisor import launcher
from fedward.flare.supervisor.launcher import ATTEMPTS, KILLED, RestartingHandle


class Fake:
    """Process that ends at once with a code, or when it is stopped."""

    def __init__(self, code: int | None) -> None:
        self.code, self.over = code, threading.Event()
        if code is not None:
            self.over.set()

    def wait(self) -> None:
        self.over.wait()

    def poll(self) -> int | None:
        return self.code

    def terminate(self) -> None:
        self.code = -signal.SIGKILL
        self.over.set()


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher, "FIRST_PAUSE_S", 0.0)


def made(codes: list[int | None]) -> tuple[RestartingHandle, list[Fake]]:
    started: list[Fake] = []

    def start() -> Fake:
        started.append(Fake(codes[len(started)]))
        return started[-1]

    return RestartingHandle(start, name="job"), started


@pytest.mark.parametrize("code", [0, 1, 101, 103, -signal.SIGTERM, -signal.SIGINT])
def test_a_process_that_ends_by_itself_or_by_a_wish_is_not_started_again(code: int) -> None:
    handle, started = made([code])
    handle.wait()
    assert len(started) == 1
    assert handle.poll() != JobReturnCode.UNKNOWN


@pytest.mark.parametrize("code", sorted(KILLED))
def test_a_killed_process_is_started_again_and_its_end_is_the_last_ones(code: int) -> None:
    handle, started = made([code, code, 0])
    handle.wait()
    assert [one.code for one in started] == [code, code, 0]
    assert handle.poll() == JobReturnCode.SUCCESS


def test_the_number_of_restarts_is_bounded() -> None:
    handle, started = made([-signal.SIGKILL] * (ATTEMPTS + 1))
    handle.wait()
    assert len(started) == ATTEMPTS + 1
    assert handle.poll() == JobReturnCode.EXECUTION_ERROR


def test_kills_of_long_ago_do_not_count() -> None:
    """Each look at the clock is ten minutes after the last: so long has each process lived."""
    codes: list[int | None] = [-signal.SIGKILL] * (3 * ATTEMPTS) + [0]
    started: list[Fake] = []

    def start() -> Fake:
        started.append(Fake(codes[len(started)]))
        return started[-1]

    RestartingHandle(start, name="job", clock=itertools.count(0.0, launcher.FORGET_S + 1).__next__).wait()
    assert len(started) == len(codes)


def test_flare_sees_a_running_process_while_it_is_being_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher, "FIRST_PAUSE_S", 60.0)
    handle, started = made([-signal.SIGKILL, 0])
    waiting = threading.Thread(target=handle.wait)
    waiting.start()
    deadline = time.monotonic() + 10
    while not handle._following and time.monotonic() < deadline:
        time.sleep(0.01)
    assert handle.poll() == JobReturnCode.UNKNOWN
    handle.terminate()  # ends the pause too
    waiting.join(10)
    assert not waiting.is_alive()
    assert len(started) == 1, "a job that is stopped between two processes starts no other"


def test_a_stopped_process_is_not_started_again_although_it_ends_by_a_kill() -> None:
    handle, started = made([None])
    waiting = threading.Thread(target=handle.wait)
    waiting.start()
    handle.terminate()
    waiting.join(10)
    assert not waiting.is_alive()
    assert len(started) == 1


def test_a_start_that_fails_for_want_of_memory_is_tried_again() -> None:
    codes: list[int | OSError] = [-signal.SIGKILL, OSError(12, "Cannot allocate memory"), 0]
    started: list[Fake] = []

    def start() -> Fake:
        code = codes.pop(0)
        if isinstance(code, OSError):
            raise code
        started.append(Fake(code))
        return started[-1]

    handle = RestartingHandle(start, name="job")
    handle.wait()
    assert len(started) == 2 and codes == []
    assert handle.poll() == JobReturnCode.SUCCESS


def test_a_second_waiter_waits_for_the_same_end() -> None:
    handle, started = made([None])
    waiters = [threading.Thread(target=handle.wait) for _ in range(3)]
    for one in waiters:
        one.start()
    started[0].code = 0
    started[0].over.set()
    for one in waiters:
        one.join(10)
        assert not one.is_alive()


@pytest.fixture
def sleepers() -> Iterator[list[ProcessAdapter]]:
    started: list[ProcessAdapter] = []
    yield started
    for one in started:
        if one.poll() is None:
            one.terminate()
            one.wait()


def test_a_real_process_that_gets_sigkill_is_replaced(sleepers: list[ProcessAdapter]) -> None:
    def start() -> ProcessAdapter:
        command = [sys.executable, "-c", "import sys, time; time.sleep(60 if sys.argv[1] == '0' else 0)"]
        sleepers.append(spawn_process([*command, str(len(sleepers))], dict(os.environ)))
        return sleepers[-1]

    handle = RestartingHandle(start, name="job")
    os.kill(int(sleepers[0].pid or 0), signal.SIGKILL)
    handle.wait()
    assert len(sleepers) == 2
    assert handle.poll() == JobReturnCode.SUCCESS
