"""Check the order of tasks: an honest controller's tasks are accepted, whatever fails meanwhile, and no others."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedward.errors import GateError
from fedward.flare.gates.task_order import AT_ANY_TIME, ORDER, POOLED, TaskOrder
from fedward.flare.protocol import Task
from fedward.privacy.ledger.runs import CONFIRM, FINAL, OPEN, VALIDATE, Run
from fedward.settings import JobSpec, parse
from tests.conftest import tiny_job_content
from tests.support.flare.server import Site, run

Asked = tuple[Task, int, str]


def job(*, rounds: int = 4, select: str = "last", encrypted: bool = True) -> JobSpec:
    content = tiny_job_content()
    content["federation"] |= {"rounds": rounds, "select": select, "min_sites": 3, "weighting": "equal"}
    if encrypted:
        content["encryption"] = {}
    return parse(JobSpec, content, where="order")


def whole(of: JobSpec) -> list[Asked]:
    """Every task of a job, in its order, as one hospital may come to see it."""
    asked: list[Asked] = [(Task.ADMIT, -1, "")]
    asked += [(Task.ROUND, number, "") for number in range(of.federation.rounds)]
    asked += [(Task.VALIDATE, -1, "")] if of.federation.select == "best" else []
    asked += [(Task.FINAL, -1, "")]
    if of.encryption is not None:
        asked += [(Task.OPEN, -1, ""), (Task.CONFIRM, -1, ""), *((Task.POOL, -1, purpose) for purpose in POOLED)]
    return [*asked, (Task.ALONE, -1, "")]


def at_any_time(of: JobSpec) -> list[Asked]:
    """Tasks of a masked job that have no place of their own."""
    if of.encryption is None or of.encryption.scheme != "masked":
        return []
    return [(Task.KEY, -1, ""), *((Task.UNMASK, number, "") for number in range(-1, of.federation.rounds))]


def taken(asked: Sequence[Asked], of: JobSpec, order: TaskOrder | None = None) -> TaskOrder:
    order = order or TaskOrder()
    for task, number, purpose in asked:
        order = order.after(task, number=number, job=of, purpose=purpose)
    return order


JOBS = st.builds(job, rounds=st.integers(1, 6), select=st.sampled_from(["last", "best"]), encrypted=st.booleans())


@given(of=JOBS, data=st.data())
def test_a_job_with_gaps_is_taken_and_the_last_task_again_but_no_round_before_it(
    of: JobSpec, data: st.DataObject
) -> None:
    everything = whole(of)
    seen = [everything[0], *(one for one in everything[1:] if data.draw(st.booleans()))]
    order = taken(seen, of)
    at = everything.index(seen[-1])
    for task, number, purpose in everything[:at]:
        if task is Task.ROUND:
            with pytest.raises(GateError):
                order.after(task, number=number, job=of, purpose=purpose)
        else:  # the record decides on its content
            assert order.after(task, number=number, job=of, purpose=purpose) == order
    task, number, purpose = seen[-1]
    assert order.after(task, number=number, job=of, purpose=purpose) == order
    for task, number, purpose in everything[at + 1 :]:
        order.after(task, number=number, job=of, purpose=purpose)


@given(
    of=JOBS,
    asked=st.lists(st.tuples(st.sampled_from(Task), st.integers(-2, 7), st.sampled_from(["", *POOLED])), max_size=30),
)
def test_whatever_a_server_asks_rounds_ascend_and_none_comes_after_the_finalization_began(
    of: JobSpec, asked: list[Asked]
) -> None:
    order, went = TaskOrder(), []
    for task, number, purpose in asked:
        try:
            order = order.after(task, number=number, job=of, purpose=purpose)
        except GateError:
            continue
        went.append((task, number, purpose if task is Task.POOL else ""))
    rounds = [number for task, number, _ in went if task is Task.ROUND]
    assert rounds == sorted(rounds)
    everything = [*whole(of), *at_any_time(of)]
    assert set(went) <= set(everything)
    last = max((at for at, (task, *_) in enumerate(went) if task is Task.ROUND), default=0)
    assert {task for task, *_ in went[:last]} <= {Task.ADMIT, Task.ROUND, *AT_ANY_TIME}
    assert not went or went[0][0] is Task.ADMIT


def test_every_task_has_its_place() -> None:
    assert sorted({*ORDER, *AT_ANY_TIME}) == sorted(Task) and not AT_ANY_TIME & set(ORDER)


@pytest.mark.parametrize(
    ("facts", "left", "again", "over"),
    [
        ([], -1, (Task.ADMIT, -1), None),
        ([], 1, (Task.ADMIT, -1), (Task.ROUND, 0)),
        ([], 1, (Task.ROUND, 1), (Task.ROUND, 0)),
        ([], 1, (Task.ROUND, 2), (Task.ROUND, 0)),
        ([VALIDATE], 1, (Task.VALIDATE, -1), (Task.ROUND, 3)),
        ([VALIDATE, FINAL], 1, (Task.VALIDATE, -1), (Task.ROUND, 1)),
        ([VALIDATE, FINAL], 1, (Task.FINAL, -1), (Task.ROUND, 2)),
        ([FINAL, OPEN], 3, (Task.FINAL, -1), (Task.ROUND, 3)),
    ],
)
def test_a_process_started_anew_goes_on_where_the_record_is(
    facts: list[str], left: int, again: tuple[Task, int], over: tuple[Task, int] | None
) -> None:
    of = job(select="best")
    words = {"round": 2, "model": "a" * 64}
    standing = Run(job_id="j", job="b" * 64, nonce="c" * 32, left=left, facts={(kind,): words for kind in facts})
    order = TaskOrder.resumed(standing)
    order.after(again[0], number=again[1], job=of)
    if over is not None:
        with pytest.raises(GateError):
            order.after(over[0], number=over[1], job=of)


def test_after_a_confirmation_of_counts_no_round_is_taken() -> None:
    facts = {(CONFIRM, "cohort", 0): {"purpose": "cohort", "round": 0, "sum": "a" * 64}}
    order = TaskOrder.resumed(Run(job_id="j", job="b" * 64, nonce="c" * 32, facts=facts))
    order.after(Task.CONFIRM, number=-1, job=job())
    with pytest.raises(GateError):
        order.after(Task.ROUND, number=3, job=job())


class Watched(Site):
    """A hospital that records its tasks in order."""

    def __init__(self, acts: Mapping[tuple[Task, int], Any]) -> None:
        super().__init__(script=lambda task, number: acts.get((task, number), 0.0))
        self.asked: list[Asked] = []
        self._lock, script = threading.Lock(), self.script

        def noting(task: Task, number: int) -> Any:
            with self._lock:
                self.asked.append((task, number, ""))
            return script(task, number)

        self.script = noting


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    select=st.sampled_from(["last", "best"]),
    rounds=st.integers(1, 3),
    alone=st.booleans(),
    fails=st.lists(st.tuples(st.integers(0, 3), st.integers(-1, 2)), max_size=4),
)
def test_what_the_controller_puts_is_taken_by_every_hospital(
    select: str, rounds: int, alone: bool, fails: list[tuple[int, int]]
) -> None:
    """FLARE's sending is replaced by threads; hospitals refuse or fail as drawn, but for two that always answer."""
    acts: list[dict[tuple[Task, int], Any]] = [{} for _ in range(4)]
    for site, number in fails:
        if site >= 2:
            acts[site][Task.ROUND if number >= 0 else Task.FINAL, number] = "failed"
    sites = {name: Watched(acts[at]) for at, name in enumerate(("city", "coast", "north", "west"))}
    federation = {"rounds": rounds, "select": select, "local_baseline": alone}
    with tempfile.TemporaryDirectory() as folder:
        ran = run(Path(folder), sites, federation=federation)
    assert ran.of("finished")
    of = job(rounds=rounds, select=select, encrypted=False)
    for site in sites.values():
        assert site.asked[0] == (Task.ADMIT, -1, "")
        taken(site.asked, of)
        assert [task for task, *_ in site.asked].count(Task.FINAL) == 1
        assert ((Task.VALIDATE, -1, "") in site.asked) == (select == "best")
