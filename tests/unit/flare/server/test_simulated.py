"""Check the simulation itself: it is deterministic, and each of a simulated site's deeds reaches the controller."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedward.flare.protocol import Task
from fedward.flare.server.participation import NO_ANSWER
from tests.support.flare.simulated import FOREVER, Act, Script, Simulated, on, simulate, steady


def three(tmp_path: Path, north: Script, **how: object) -> Simulated:
    return simulate(tmp_path, {"city": steady(5.0), "coast": steady(4.0), "north": north}, **how)


def reason_of(ran: Simulated, number: int) -> str | None:
    found = ran.of("round")[number]["participation"]["north"]["reason"]
    assert found is None or isinstance(found, str)
    return found


def test_a_job_of_steady_sites_takes_their_seconds_and_not_ours(tmp_path: Path) -> None:
    ran = three(tmp_path, steady(3.0))
    assert [event["sites"] for event in ran.of("round")] == [["city", "coast", "north"]] * 8
    assert ran.ended_s == pytest.approx(11 * 5.0, rel=0.02)
    assert ran.of("finished") and ran.panic == "" and ran.store.final is not None


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        (Act("answer"), None),
        (Act("twice"), None),
        (Act("refuse"), "no disk space"),
        (Act("nan"), "tensor bias"),
        (Act("other"), None),  # FLARE sends the task again, for which nothing came
        (Act("vanish", FOREVER), NO_ANSWER),
        (Act("answer", 300.0), NO_ANSWER),
        (Act("vanish", 2.0), None),
    ],
    ids=lambda given: f"{given.deed} {given.seconds}" if isinstance(given, Act) else "",
)
def test_each_deed_of_a_site(tmp_path: Path, act: Act, reason: str | None) -> None:
    seen = 0

    def script(task: Task, number: int, draw: object) -> Act:
        nonlocal seen
        seen += task is Task.ROUND and number == 1
        return act if task is Task.ROUND and number == 1 and seen == 1 else Act()

    ran = three(tmp_path, script)
    found = reason_of(ran, 1)
    assert found is None if reason is None else reason in (found or "")
    assert ran.of("finished") and len(ran.of("round")) == 8


def test_two_runs_are_the_same_but_for_the_time_of_day(tmp_path: Path) -> None:
    def drawn(task: Task, number: int, draw: object) -> Act:
        return Act("answer", draw.uniform(1, 9))  # type: ignore[attr-defined]

    first, again, other = (
        three(tmp_path / name, drawn, seed=seed) for name, seed in (("first", 1), ("again", 1), ("other", 2))
    )
    assert first.timeless == again.timeless and first.ended_s == again.ended_s
    assert first.timeless != other.timeless


def test_a_site_that_is_gone_for_a_round_is_asked_again(tmp_path: Path) -> None:
    ran = three(tmp_path, on(Task.ROUND, Act("vanish", 70.0), rounds=range(2, 3)))
    assert reason_of(ran, 2) == NO_ANSWER and reason_of(ran, 7) is None
