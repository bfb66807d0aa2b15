"""Check what a person who waits for a job is told, and how often."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest

from fedward.ends import JobState
from fedward.errors import FederationError
from fedward.flare.console import following
from fedward.flare.console.following import PATIENCE_S, REPEAT_S, follow
from fedward.flare.console.job_states import Standing

ID = "6a3f1f0e-6a35-4a7e-9c3e-1f3a4b5c6d7e"
DONE = JobState(state="finished", rounds_done=8, rounds_asked=8)


def stands(flare: str, job: JobState | None = None, *, why: str = "") -> Standing:
    return Standing(flare=flare, job=job, needed=2, required=("north",), known=("south", "west"), why=why)


class Server:
    """A server with a script: each answer is given for some seconds, None is silence."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, *script: tuple[float, Any], here: set[str] | None = None
    ) -> None:
        self.script, self.now, self.here = script, 0.0, here or {"south"}
        self.lines: list[tuple[float, str]] = []
        clock = SimpleNamespace(monotonic=lambda: self.now, sleep=self._sleep)
        monkeypatch.setattr(following, "time", clock)

    def _sleep(self, seconds: float) -> None:
        self.now += seconds

    def standing(self, job_id: str) -> Standing | None:
        left = self.now
        for seconds, answer in self.script:
            if left < seconds:
                return answer
            left -= seconds
        raise AssertionError("asked after the end")

    def connected(self) -> set[str]:
        return self.here

    def follow(self) -> Any:
        return follow(self, ID, told=lambda line: self.lines.append((self.now, line)))

    def said(self) -> Iterator[str]:
        """Each line once, in order."""
        last = None
        for _, line in self.lines:
            if line != last:
                yield line
            last = line


def test_each_change_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(
        monkeypatch,
        (7, stands("SUBMITTED", why="missing required site north")),
        (3, stands("DISPATCHED")),
        (4, stands("RUNNING", JobState(state="running", rounds_done=2, rounds_asked=8))),
        (3, stands("RUNNING", JobState(state="resuming", rounds_done=4, rounds_asked=8, attempt=1))),
        (3, stands("RUNNING", DONE)),
        (9, stands("FINISHED:COMPLETED", DONE)),
    )
    status, end = server.follow()
    assert (status, end.words, end.success) == ("FINISHED:COMPLETED", "success: every round counted", True)
    assert list(server.said()) == [
        "waiting: 1 of 3 sites connected (2 needed); missing north",
        "starting",
        "running, round 3 of 8",
        "resuming after round 4 of 8 (attempt 1)",
        "the server closes the job; FLARE still says RUNNING: success: every round counted",
    ]
    assert server.lines[0][0] == 0.0


def test_nobody_waits_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(
        monkeypatch, (600, stands("SUBMITTED")), (200, None), (60, stands("RUNNING")), (9, stands("FINISHED:ABORTED"))
    )
    _, end = server.follow()
    assert end.words.startswith("aborted before it began") and not end.success
    times = [0.0, *(at for at, _ in server.lines), server.now]
    assert max(later - earlier for earlier, later in pairwise(times)) <= REPEAT_S + 1
    assert any("does not answer" in line and "last known: waiting" in line for _, line in server.lines)


def test_a_silent_server_is_an_error_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(monkeypatch, (5, stands("RUNNING")), (PATIENCE_S + 60, None))
    with pytest.raises(FederationError, match="the job may go on"):
        server.follow()


def test_a_question_for_the_sites_that_fails_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(monkeypatch, (5, stands("SUBMITTED")), (5, stands("FINISHED:COMPLETED", DONE)))

    def silent() -> set[str]:
        raise FederationError("server does not answer in time")

    monkeypatch.setattr(server, "connected", silent)
    assert server.follow()[1].success
    assert list(server.said()) == ["waiting"]


@pytest.mark.parametrize(
    ("why", "said"),
    [
        ("missing required site north", "the server starts it next"),
        ("connected sites (1) < min_sites (2)", "the server starts it next"),
        ("scheduled", "the server starts it next"),
        ("", "the server starts it next"),
        ("not enough sites have enough resources (ok sites 1 < min sites 2)", None),
    ],
)
def test_only_a_reason_that_still_holds_is_said(monkeypatch: pytest.MonkeyPatch, why: str, said: str | None) -> None:
    server = Server(
        monkeypatch,
        (3, stands("SUBMITTED", why=why)),
        (9, stands("FINISHED:COMPLETED", DONE)),
        here={"north", "south"},
    )
    server.follow()
    assert list(server.said()) == [f"waiting: 2 of 3 sites connected (2 needed); {said or why}"]
