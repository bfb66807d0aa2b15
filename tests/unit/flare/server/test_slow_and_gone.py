"""Check whole simulated jobs with sites that are gone, that return, and that are slow: what they cost, who is told."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from nvflare.apis.controller_spec import TaskCompletionStatus

from fedward.flare.protocol import Task
from tests.support.flare.simulated import FOREVER, LOCAL_STEPS, Act, Federation, Script, Simulated, on, simulate, steady

GRACE_S, ROUNDS = 60.0, 8
GONE = Act("vanish", FOREVER)


def worker(seconds: float) -> Script:
    """A site whose model alone takes as long as all its rounds."""
    return on(Task.ALONE, Act("answer", seconds * ROUNDS), otherwise=steady(seconds))


def three(tmp_path: Path, north: Script, **how: Any) -> Simulated:
    return simulate(tmp_path, {"city": worker(5.0), "coast": worker(4.0), "north": north}, **how)


def parts(ran: Simulated, site: str = "north") -> list[dict[str, Any]]:
    return [event["participation"][site] for event in ran.of("round")]


# gone


STAGES = [
    (Task.ROUND, 0, "last"),
    (Task.ROUND, 3, "last"),
    (Task.ROUND, 7, "last"),
    (Task.VALIDATE, -1, "best"),
    (Task.FINAL, -1, "last"),
    (Task.ALONE, -1, "last"),
]


@pytest.mark.parametrize(("task", "number", "select"), STAGES, ids=lambda given: str(given))
@pytest.mark.parametrize("lost_after_s", [FOREVER, 30.0], ids=["FLARE hears of it never", "after a while"])
def test_a_site_gone_for_good_costs_one_grace_in_whichever_stage_it_goes(
    tmp_path: Path, task: Task, number: int, select: str, lost_after_s: float
) -> None:
    went = on(task, GONE, rounds=range(number, number + 1), otherwise=worker(5.0))
    federation, how = {"select": select}, {"lost_after_s": lost_after_s}
    undisturbed = three(tmp_path / "there", worker(5.0), federation=federation)
    ran = three(tmp_path / "gone", went, federation=federation, **how)
    assert ran.of("finished") and len(ran.of("round")) == ROUNDS
    assert ran.ended_s <= undisturbed.ended_s * 1.1 + GRACE_S
    missed = [part for part in parts(ran) if part["outcome"] == "dropped"]
    assert all(part["reason"].startswith("no answer in time") for part in missed)
    assert len(missed) == (ROUNDS - number if task is Task.ROUND else 0)


@pytest.mark.parametrize("policy", ["cut", "fewer_steps"])
def test_a_site_that_uses_up_its_grace_in_every_second_round_makes_no_round_longer_each_time(
    tmp_path: Path, policy: str
) -> None:
    """Its answers came just before the deadline, which twice its time then was: 64 s, 181 s, 405 s, ... an hour."""
    took, slow = 64.0, {0: 64.0}
    for number in range(2, ROUNDS, 2):
        slow[number] = took = min(2 * took + GRACE_S, 3600.0) - 1

    def north(task: Task, number: int, draw: random.Random) -> Act:
        if task is not Task.ROUND:
            return worker(5.0)(task, number, draw)
        return Act("answer", slow[number]) if number in slow else Act("vanish", GRACE_S + 10)

    ran = three(tmp_path, north, federation={"round_timeout_s": 3600.0, "stragglers": policy})
    assert ran.of("finished") and max(ran.walls) <= 2 * (5.0 + GRACE_S) + GRACE_S + 1


def test_a_site_that_takes_the_last_task_again_and_again_does_not_hold_the_job(tmp_path: Path) -> None:
    def again(task: Task, number: int, draw: random.Random) -> Act:
        return Act("vanish", 5.0) if task is Task.ALONE else worker(5.0)(task, number, draw)

    undisturbed = three(tmp_path / "there", worker(5.0))
    ran = three(tmp_path / "again", again, federation={"round_timeout_s": 3600.0})
    assert ran.of("finished") and ran.ended_s <= undisturbed.ended_s + 2 * GRACE_S


def test_a_site_gone_before_it_takes_the_round_costs_one_grace_too(tmp_path: Path) -> None:
    federation = Federation(tmp_path, {"city": worker(5.0), "coast": worker(4.0), "north": worker(5.0)})
    federation.clock.after(20.0, lambda: federation.leave("north"))
    ran = federation.run()
    assert ran.of("finished") and ran.ended_s <= 90.0 * 1.1 + GRACE_S + 5.0


def test_two_sites_gone_one_after_the_other_cost_two(tmp_path: Path) -> None:
    sites = {"city": worker(5.0), "coast": worker(4.0)}
    for site, number in (("north", 2), ("south", 5)):
        sites[site] = on(Task.ROUND, GONE, rounds=range(number, number + 1), otherwise=worker(5.0))
    ran = simulate(tmp_path, sites)
    assert ran.of("finished") and 2 * GRACE_S < ran.ended_s - 90.0 <= 2 * GRACE_S + 9.0


def test_a_hospital_that_must_be_included_is_awaited_to_the_time_out_and_the_reason_says_so(tmp_path: Path) -> None:
    ran = three(tmp_path, on(Task.ROUND, GONE, rounds=range(2, 3)), federation={"must_include": ["north"]})
    (failed,) = ran.of("failed")
    assert "must_include names it, and round_timeout_s, 600 s, is over" in failed["reason"]
    assert ran.ended_s == pytest.approx(600.0 + 3 * 5.0, rel=0.02)


# back


@pytest.mark.parametrize("away_s", [3.0, 20.0, 62.0, 66.0, 80.0])
def test_a_site_that_returns_is_in_a_round_again_at_the_latest_two_rounds_later(tmp_path: Path, away_s: float) -> None:
    went = False

    def north(task: Task, number: int, draw: random.Random) -> Act:
        nonlocal went
        if task is Task.ROUND and number == 2 and not went:
            went = True
            return Act("vanish", away_s)
        return worker(5.0)(task, number, draw)

    ran = three(tmp_path, north)
    back_s = next(at for at, site, task, number in ran.taken if at > 10 + away_s and site == "north")
    first = next(number for at, site, task, number in ran.taken if at == back_s and site == "north")
    outcomes = [part["outcome"] for part in parts(ran)]
    assert outcomes[first + 1 :] == ["accepted"] * (ROUNDS - first - 1)
    assert ran.ended_s <= 90.0 * 1.1 + 2 * GRACE_S


def test_a_round_that_needs_a_lost_site_asks_it_again_though_flare_dropped_the_task(tmp_path: Path) -> None:
    """FLARE ends a task of which only lost sites have not answered; the site is back before the time-out."""
    away = on(Task.ROUND, Act("vanish", 200.0), rounds=range(2, 3), otherwise=worker(5.0))
    went = iter([away])
    sites = {"city": worker(5.0), "coast": worker(4.0)}
    sites["north"] = lambda task, number, draw: (next(went, worker(5.0)) if number == 2 else away)(task, number, draw)
    federation = Federation(tmp_path, sites, federation={"min_sites": 3}, lost_after_s=60.0)

    def drop() -> None:
        for task in federation.controller.communicator._tasks:
            task.completion_status = TaskCompletionStatus.CLIENT_DEAD

    federation.clock.after(100.0, drop)
    ran = federation.run()
    assert ran.of("finished") and parts(ran)[2]["outcome"] == "accepted"
    assert ran.walls[2] == pytest.approx(205.0, abs=1.0)


def test_a_site_that_was_late_twice_does_not_stay_out_of_step_with_the_others(tmp_path: Path) -> None:
    """Nobody waits for it; it takes each task in the middle of a round, and would miss every one by a moment."""
    sick = on(Task.ROUND, Act("answer", 90.0), rounds=range(20), otherwise=worker(6.0))
    ran = three(tmp_path, sick, federation={"rounds": 60, "local_baseline": False, "grace_s": 20.0})
    outcomes = [part["outcome"] for part in parts(ran)]
    assert outcomes[-20:] == ["accepted"] * 20


# slow


def slow(policy: str, tmp_path: Path, seconds: float = 50.0, **federation: Any) -> Simulated:
    asked = {"rounds": 20, "stragglers": policy, "grace_s": 10.0, "local_baseline": False, **federation}
    return three(tmp_path, steady(seconds), federation=asked)


def test_a_site_ten_times_slower_stops_spending_after_three_late_answers_and_is_still_validated(tmp_path: Path) -> None:
    ran = slow("cut", tmp_path, rounds=40)
    took = [number for _, site, task, number in ran.taken if site == "north" and task is Task.ROUND]
    late = [event for event in ran.of("dropped") if event["reason"].startswith("late")]
    assert len(took) == 3 and [event["round"] for event in late] == took
    assert [event["steps"] for event in late] == [LOCAL_STEPS] * 3 and late[0]["seconds"] == pytest.approx(50.0)
    told = parts(ran)[-1]
    assert told["reason"] == "not asked to train: it was late 3 times in a row, and took 50 s where 15 s fit"
    assert (told["trained"], told["steps"]) == (False, None)
    assert ("north", Task.FINAL) in [(site, task) for _, site, task, _ in ran.taken]
    assert [event["sites"] for event in ran.of("round")] == [["city", "coast"]] * 40
    assert sum(part["steps"] or 0 for part in parts(ran)) == 0, "48 steps charged, 0 counted"


def test_who_waits_counts_it_in_every_round(tmp_path: Path) -> None:
    ran = slow("wait", tmp_path)
    assert [event["sites"] for event in ran.of("round")] == [["city", "coast", "north"]] * 20
    assert not ran.of("dropped")


def test_fewer_steps_bring_it_back_into_the_rounds(tmp_path: Path) -> None:
    ran = slow("fewer_steps", tmp_path, seconds=36.0)
    outcomes = [part["outcome"] for part in parts(ran)]
    first = outcomes.index("accepted")
    assert outcomes[first:] == ["accepted"] * (20 - first) and first <= 12
    assert {part["steps"] for part in parts(ran)[first:]} == {LOCAL_STEPS // 4}
    assert max(ran.walls[first + 1 :]) < 10.0


def test_a_late_answer_before_the_round_is_closed_counts(tmp_path: Path) -> None:
    """City is late too, so that the round waits for it; north answers meanwhile, though nobody waited for north."""
    federation = {"grace_s": 60.0, "local_baseline": False, "rounds": 4}
    sites = {
        "city": on(Task.ROUND, Act("answer", 50.0), rounds=range(1, 2), otherwise=steady(5.0)),
        "coast": steady(4.0),
        "south": steady(4.0),
        "north": on(Task.ROUND, Act("answer", 105.0), rounds=range(1), otherwise=steady(5.0)),
    }
    ran = simulate(tmp_path, sites, federation=federation)
    assert [part["outcome"] for part in parts(ran)] == ["dropped", "accepted", "accepted", "accepted"]


def test_a_slow_site_is_waited_for_no_longer_than_the_measured_time_allows(tmp_path: Path) -> None:
    """Round 0 has no measure. Later north takes the task after its grace, and is awaited to the deadline."""
    ran = slow("cut", tmp_path, seconds=300.0)
    deadline_s = 2 * 5.0 + 10.0
    assert max(ran.walls) <= deadline_s + 1.0


def test_the_abort_ends_a_job_within_one_poll(tmp_path: Path) -> None:
    federation = Federation(tmp_path, {"city": worker(5.0), "coast": worker(4.0), "north": worker(50.0)})
    federation.clock.after(33.0, lambda: federation.abort.trigger(True))
    ran = federation.run()
    assert ran.ended_s <= 33.0 + 0.11 and not ran.of("finished")
