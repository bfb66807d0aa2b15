"""Check what follows from the sites' measured times: the deadline, who is cut, who is asked for fewer steps."""

from __future__ import annotations

from typing import Any

import pytest

from fedward.flare.server.asking.stragglers import MOST_LATE, Stragglers
from fedward.settings import JobSpec, parse
from tests.conftest import tiny_job_content

SITES = ["city", "coast", "north"]


def stragglers(policy: str, **federation: Any) -> Stragglers:
    content = tiny_job_content()
    content["federation"] |= {"stragglers": policy, "round_timeout_s": 600.0, "grace_s": 10.0, **federation}
    content["training"] |= {"local_epochs": None, "local_steps": 16}
    return Stragglers(parse(JobSpec, content, where="test"))


def played(held: Stragglers, rounds: int, *, north_s: float | None, answers: bool = True) -> Stragglers:
    """Rounds of city and coast that take 4 and 5 s; north takes the task, and answers late if at all."""
    for _ in range(rounds):
        held.counted("city", seconds=4.0, steps=16)
        held.counted("coast", seconds=5.0, steps=16)
        held.missed({"north"})
        if answers and north_s is not None:
            held.late("north", seconds=north_s, steps=16)
    return held


def test_the_deadline_follows_from_the_slowest_that_counts_and_from_the_last_rounds() -> None:
    held = stragglers("cut")
    assert held.deadline_s == 600.0
    held.counted("city", seconds=100.0, steps=None)
    assert held.deadline_s == 210.0
    assert played(held, 3, north_s=300.0).deadline_s == 20.0
    held.counted("north", seconds=400.0, steps=None)
    assert held.deadline_s == 600.0


def test_an_answer_after_the_grace_moves_no_deadline() -> None:
    held = stragglers("cut")
    held.counted("city", seconds=5.0, steps=None)
    before = held.deadline_s
    held.counted("north", seconds=300.0, steps=None, in_time=False)
    assert held.deadline_s == before and held.usual_s("north") == 300.0


def test_a_site_is_cut_after_three_late_rounds_in_a_row_and_is_told_why() -> None:
    held = stragglers("cut")
    assert played(held, MOST_LATE - 1, north_s=50.0).cut(SITES) == {}
    reason = played(held, 1, north_s=50.0).cut(SITES)["north"]
    assert reason == "not asked to train: it was late 3 times in a row, and took 50 s where 15 s fit"
    held.counted("north", seconds=9.0, steps=16)
    assert held.cut(SITES) == {}


def test_it_comes_back_when_its_time_fits() -> None:
    held = played(stragglers("cut"), MOST_LATE, north_s=50.0)
    held.counted("city", seconds=39.0, steps=16)
    assert held.deadline_s == 88.0 and not held.fits(50.0) and "north" in held.cut(SITES)
    held.counted("city", seconds=40.0, steps=16)
    assert held.deadline_s == 90.0 and held.fits(50.0) and held.cut(SITES) == {}


def test_a_site_that_takes_every_task_and_never_answers_is_cut_whatever_its_time_was() -> None:
    held = stragglers("cut")
    held.counted("north", seconds=3.0, steps=16)
    assert "north" in played(held, MOST_LATE, north_s=None).cut(SITES)


@pytest.mark.parametrize(
    ("policy", "federation"),
    [("wait", {}), ("fewer_steps", {}), ("cut", {"must_include": ["north"]}), ("cut", {"min_sites": 3})],
    ids=["wait", "fewer steps", "must be included", "too few sites"],
)
def test_who_is_not_cut(policy: str, federation: dict[str, Any]) -> None:
    assert played(stragglers(policy, **federation), 5, north_s=50.0).cut(SITES) == {}


@pytest.mark.parametrize(("north_s", "steps"), [(10.0, None), (8.0, None), (11.0, 8), (17.0, 8), (33.0, 4), (900.0, 4)])
def test_a_slow_site_is_asked_for_the_largest_share_that_fits_and_a_quarter_at_least(
    north_s: float, steps: int | None
) -> None:
    held = played(stragglers("fewer_steps"), 1, north_s=north_s)
    bound = 2 * 5.0
    assert held.fewer_steps(SITES) == ({} if steps is None else {"north": steps})
    assert steps in (None, 4) or north_s * steps / 16 <= bound < 2 * north_s * steps / 16


def test_its_time_with_fewer_steps_is_compared_as_if_it_had_taken_all() -> None:
    held = played(stragglers("fewer_steps"), 1, north_s=33.0)
    held.counted("north", seconds=8.3, steps=4)
    assert held.fewer_steps(SITES) == {"north": 4}
    held.counted("north", seconds=1.2, steps=4)
    assert held.fewer_steps(SITES) == {}, "it is as fast as the others now"


@pytest.mark.parametrize("policy", ["wait", "cut"])
def test_others_ask_nobody_for_fewer(policy: str) -> None:
    assert played(stragglers(policy), 1, north_s=900.0).fewer_steps(SITES) == {}


def test_nobody_who_does_not_report_steps_is_asked_for_fewer() -> None:
    held = stragglers("fewer_steps")
    for site, seconds in (("city", 4.0), ("coast", 5.0), ("north", 50.0)):
        held.counted(site, seconds=seconds, steps=None)
    assert held.fewer_steps(SITES) == {}
