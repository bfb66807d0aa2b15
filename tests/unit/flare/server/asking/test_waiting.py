"""Check for whom a task waits: hand-worked cases of each rule, and properties over drawn schedules."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedward.flare.server.asking.waiting import MOST_MISSED, MOST_RETURNS, Limits, Need, Patience, Wait

SITES = ("city", "coast", "north", "south")
GRACE_S, TIMEOUT_S, ROUND_S = 60.0, 600.0, 5.0


def patience(*, grace_s: float = GRACE_S, required: tuple[str, ...] = (), patient: bool = False) -> Patience:
    limits = Limits(timeout_s=TIMEOUT_S, grace_s=grace_s, required=frozenset(required), patient=patient)
    return Patience(limits)


def begun(held: Patience, *, now: float = 0.0, deadline_s: float | None = None, need: Need = "enough") -> Wait:
    """A task that every site but north answers after ``ROUND_S``."""
    wait = held.wait(SITES, now=now, need=need, deadline_s=deadline_s)
    for site in SITES[:2]:
        wait.took(site, now=now)
        wait.answered(site, now=now + ROUND_S, counts=True)
    wait.took("south", now=now)
    wait.answered("south", now=now + ROUND_S, counts=True)
    wait.enough(now=now + ROUND_S)
    return wait


def awaited(wait: Wait, now: float, lost: tuple[str, ...] = ()) -> set[str]:
    return wait.awaited(now=now, lost=lambda site: site in lost)


def test_one_grace_in_all_and_it_comes_back_with_an_answer_that_counts() -> None:
    held = patience()
    first = begun(held)
    assert awaited(first, 64.0) == {"north"} and awaited(first, 65.0) == set()
    assert first.close(now=65.0) == {"north": "no answer in time"}
    assert held.left_s("north") == 0 and held.left_s("city") == GRACE_S
    second = begun(held, now=65.0)
    assert awaited(second, 70.0) == set()
    second.answered("north", now=70.0, counts=True)
    assert held.left_s("north") == GRACE_S and second.close(now=70.0) == {}


def test_a_grace_may_be_wasted_in_pieces() -> None:
    held = patience()
    first = begun(held)
    first.answered("north", now=45.0, counts=False)
    assert held.left_s("north") == 20.0, "a refusal is an answer, and none that counts"
    second = begun(held, now=100.0)
    assert awaited(second, 124.0) == {"north"} and awaited(second, 125.0) == set()


def test_a_site_that_takes_a_task_after_its_grace_is_used_up_is_awaited_until_the_deadline() -> None:
    held = patience()
    begun(held).close(now=65.0)
    wait = begun(held, now=65.0, deadline_s=70.0)
    assert awaited(wait, 71.0) == set()
    wait.took("north", now=72.0)
    assert awaited(wait, 135.0) == {"north"} and awaited(wait, 136.0) == set()


def test_a_site_that_is_back_in_the_task_in_which_it_used_up_its_grace_gets_none_back_by_that() -> None:
    held = patience()
    wait = begun(held)
    assert awaited(wait, 65.0) == set()
    wait.took("north", now=66.0)
    assert awaited(wait, 67.0) == {"north"}
    wait.close(now=70.0)
    assert held.left_s("north") == 0.0


def test_without_an_earlier_deadline_the_tasks_own_answers_set_one_for_a_site_that_is_back() -> None:
    """A site that took the first round's task again and again, and never answered it, held it until the time-out."""
    held = patience()
    wait = begun(held)
    wait.took("north", now=66.0)
    assert awaited(wait, 2 * ROUND_S + GRACE_S) == {"north"}
    assert awaited(wait, 2 * ROUND_S + GRACE_S + 0.1) == set()
    waiting = begun(patience(patient=True))
    waiting.took("north", now=66.0)
    assert awaited(waiting, TIMEOUT_S) == {"north"}, "a job that waits for slow sites waits until the time-out"


def test_a_site_that_took_two_tasks_in_a_row_and_missed_them_is_slow_until_it_answers() -> None:
    held = patience()
    for number in range(MOST_MISSED):
        wait = begun(held, now=1000.0 * number)
        wait.took("north", now=1000.0 * number + 5)
        assert awaited(wait, 1000.0 * number + 6) == {"north"}
        wait.close(now=1000.0 * number + 600)
    third = begun(held, now=3000.0)
    third.took("north", now=3000.0)
    assert awaited(third, 3006.0) == set()
    assert "late 3 times in a row" not in third.close(now=3006.0)["north"]
    fourth = begun(held, now=4000.0)
    fourth.answered("north", now=4003.0, counts=True)
    fourth.close(now=4005.0)
    assert awaited(begun(held, now=5000.0), 5006.0) == {"north"}


def test_while_there_are_not_enough_answers_everybody_is_awaited_to_the_time_out_even_who_is_lost() -> None:
    held = patience()
    begun(held).close(now=65.0)
    wait = held.wait(SITES, now=100.0, need="enough", deadline_s=10.0)
    assert awaited(wait, 700.0, lost=("north",)) == set(SITES) and awaited(wait, 700.1) == set()


def test_a_task_that_needs_everybody_does_not_await_who_is_lost_unless_required_and_costs_no_grace() -> None:
    held = patience(required=("north",))
    wait = held.wait(SITES, now=0.0, need="all")
    assert awaited(wait, 599.0, lost=("north", "south")) == {"city", "coast", "north"}
    reasons = wait.close(now=601.0)
    assert "must_include names it, and round_timeout_s, 600 s" in reasons["north"]
    assert reasons["city"] == "no answer in time"
    assert held.left_s("city") == GRACE_S


def test_where_nobody_is_needed_a_site_has_its_usual_time_and_then_its_grace() -> None:
    held = patience()
    wait = held.wait(SITES, now=0.0, need="nobody", usual_s={"city": 100.0})
    wait.took("city", now=10.0)
    assert awaited(wait, 59.0, lost=("south",)) == {"city", "coast", "north"}
    assert awaited(wait, 60.0) == {"city"}
    assert awaited(wait, 159.0) == {"city"} and awaited(wait, 160.0) == set(), "10 s before it, 50 s after it"


def test_who_takes_a_task_again_and_again_gains_no_time_by_it() -> None:
    """A process that is new may take a task again; each further time counts from the last of these."""
    held = patience()
    wait = held.wait(SITES, now=0.0, need="nobody", usual_s={"north": ROUND_S})
    for number in range(100):
        wait.took("north", now=30.0 * number, new_process=number > 0)
    last = 30.0 * MOST_RETURNS + ROUND_S + GRACE_S
    assert "north" in awaited(wait, last - 0.1) and "north" not in awaited(wait, last)


def test_where_nobody_is_needed_a_site_that_is_back_has_its_usual_time() -> None:
    held = patience()
    begun(held).close(now=100.0)
    wait = held.wait(SITES, now=100.0, need="nobody", usual_s={"north": ROUND_S})
    assert "north" not in awaited(wait, 101.0), "its grace was used up before"
    wait.took("north", now=102.0)
    assert "north" in awaited(wait, 107.0) and "north" not in awaited(wait, 107.1)


def test_a_grace_of_nothing_awaits_nobody_once_there_are_enough() -> None:
    held = patience(grace_s=0.0)
    for number in range(3):
        wait = begun(held, now=10.0 * number)
        wait.took("north", now=10.0 * number)
        assert awaited(wait, 10.0 * number + ROUND_S) == set()
        assert wait.close(now=10.0 * number + ROUND_S)["north"].startswith("no answer in time")


def test_who_waits_waits_for_a_site_that_took_the_task_and_not_for_one_that_did_not() -> None:
    held = patience(patient=True)
    wait = begun(held, deadline_s=20.0)
    assert awaited(wait, 66.0) == set()
    wait.took("north", now=66.0)
    assert awaited(wait, 600.0) == {"north"} and awaited(wait, 600.1) == set()


def test_reasons_say_why_nobody_waited() -> None:
    held = patience()
    begun(held).close(now=65.0)
    assert "its grace_s is used up" in begun(held, now=65.0).close(now=70.0)["north"]


# drawn schedules


@dataclass(frozen=True)
class Played:
    """What a site does with a task: seconds until it takes it and from there to its answer; None: never."""

    takes_s: float | None
    works_s: float | None
    counts: bool = True


seconds = st.one_of(st.none(), st.floats(0.0, 200.0))
played = st.builds(Played, takes_s=seconds, works_s=seconds, counts=st.booleans())
schedules = st.lists(st.fixed_dictionaries(dict.fromkeys(SITES, played)), min_size=1, max_size=8)
GONE = Played(None, None)
STEP_S = 0.5


def play(held: Patience, schedule: dict[str, Played], *, start: float, least: int, deadline_s: float) -> float:
    """Play one task, checking every rule at every poll; return its seconds, and wait for everybody to be idle again."""
    wait = held.wait(SITES, now=start, need="enough", deadline_s=deadline_s)
    agenda = []
    for site, part in schedule.items():
        if part.takes_s is not None:
            agenda.append((start + part.takes_s, "took", site))
            if part.works_s is not None:
                agenda.append((start + part.takes_s + part.works_s, "answered", site))
    agenda.sort()
    now, answered, good, enough = start, set[str](), set[str](), False
    while True:
        while agenda and agenda[0][0] <= now:
            at, what, site = agenda.pop(0)
            if what == "took":
                wait.took(site, now=at)
                continue
            wait.answered(site, now=at, counts=schedule[site].counts)
            answered.add(site)
            good |= {site} if schedule[site].counts else set()
            if len(good) >= least and not enough:
                enough = True
                wait.enough(now=at)
        found = awaited(wait, now)
        assert not found & answered
        assert not found or now - start <= TIMEOUT_S
        if not enough and now - start <= TIMEOUT_S:
            assert found == set(SITES) - answered
        if enough and now - start > deadline_s:
            assert found == set()
        if not found:
            break
        now += STEP_S
    before = {site: held.left_s(site) for site in SITES}
    reasons = wait.close(now=now)
    assert set(reasons) == set(SITES) - answered
    for site in SITES:
        assert 0 <= held.left_s(site) <= GRACE_S
        assert site in answered or held.left_s(site) <= before[site]
    return now - start


@given(schedules, st.integers(1, 3), st.floats(1.0, TIMEOUT_S))
def test_every_rule_holds_at_every_poll(schedule: list[dict[str, Played]], least: int, deadline_s: float) -> None:
    held, now = patience(), 0.0
    for task in schedule:
        now += play(held, task, start=now, least=least, deadline_s=deadline_s)


@given(
    st.lists(st.lists(st.floats(0.1, 100.0), min_size=3, max_size=3), min_size=2, max_size=10),
    st.integers(0, 9),
    st.floats(0.0, 100.0),
)
def test_a_site_that_is_gone_for_good_costs_one_grace_whenever_it_goes(
    works: list[list[float]], goes: int, took_s: float
) -> None:
    """The others answer every task; north leaves in one of them, after it took the task, or before."""
    held, now, alone = patience(), 0.0, 0.0
    for number, answers in enumerate(works):
        others = {site: Played(0.0, work) for site, work in zip(("city", "coast", "south"), answers, strict=True)}
        there = Played(0.0, min(answers)) if number < goes else Played(took_s, None) if number == goes else GONE
        now += play(held, {**others, "north": there}, start=now, least=3, deadline_s=TIMEOUT_S)
        alone += max(answers) + STEP_S
    assert now <= alone + GRACE_S + STEP_S


@pytest.mark.parametrize("need", ["enough", "nobody"])
def test_several_that_are_gone_cost_one_grace_together(need: Need) -> None:
    held, spent = patience(), 0.0
    for number in range(8):
        wait = held.wait(SITES, now=100.0 * number, need=need, usual_s={"city": 1.0})
        wait.took("city", now=100.0 * number)
        wait.answered("city", now=100.0 * number + 1, counts=True)
        wait.enough(now=100.0 * number + 1)
        now = 100.0 * number + 1
        while awaited(wait, now):
            now += STEP_S
        spent += now - 100.0 * number - 1
        wait.close(now=now)
    assert GRACE_S - 1 <= spent <= GRACE_S
