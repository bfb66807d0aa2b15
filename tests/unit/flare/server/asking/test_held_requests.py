"""A site's request is held until there is a task, one for each site, and never after the job's end."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
from nvflare.apis.shareable import Shareable
from nvflare.fuel.f3.streaming import stream_utils
from nvflare.private.defs import SpecialTaskName, TaskConstant

from fedward.flare.server.asking.held_requests import HOLD_S, HeldRequests
from fedward.flare.supervisor import job_reactions
from fedward.flare.supervisor.reactions import THEIRS
from fedward.transport.timeouts import IDLE_S

SHORT_S, LONG_S = 0.05, 30.0


def holding(held: HeldRequests, site: str, *, sent: int = 0) -> tuple[threading.Thread, list[bool]]:
    """Hold a request in a thread of its own; return once it is held."""
    found: list[bool] = []
    before = len(held._held)
    thread = threading.Thread(target=lambda: found.append(held.hold(site, sent=sent, seconds=LONG_S)))
    thread.start()
    begin = time.monotonic()
    while len(held._held) == before and not found:
        assert time.monotonic() - begin < LONG_S
        time.sleep(0.001)
    return thread, found


@pytest.mark.parametrize("deed", ["send", "close"])
def test_a_task_or_the_jobs_end_answers_every_held_request(deed: str) -> None:
    held = HeldRequests()
    threads = [holding(held, site) for site in ("north", "south", "west")]
    getattr(held, deed)()
    for thread, found in threads:
        thread.join(LONG_S)
        assert found == [True]


def test_a_task_that_was_sent_meanwhile_is_not_waited_for() -> None:
    """The task comes after the site's tasks were looked through, and before its request is held."""
    held = HeldRequests()
    sent = held.sent
    held.send()
    begin = time.monotonic()
    assert held.hold("north", sent=sent, seconds=LONG_S)
    assert time.monotonic() - begin < LONG_S / 2


def test_a_request_ends_after_its_time_and_before_the_site_takes_the_server_for_gone() -> None:
    assert HeldRequests().hold("north", sent=0, seconds=SHORT_S)
    assert HOLD_S <= IDLE_S / 2


def test_a_site_has_one_request_held_and_a_server_so_many() -> None:
    """A member that sends many requests occupies one of the server's threads."""
    held = HeldRequests(most=2)
    threads = [holding(held, "north"), holding(held, "south")]
    assert not held.hold("north", sent=0, seconds=LONG_S)
    assert not held.hold("west", sent=0, seconds=LONG_S)
    held.send()
    for thread, _ in threads:
        thread.join(LONG_S)
    assert held.hold("north", sent=0, seconds=SHORT_S), "its place is free again"


def test_half_of_the_threads_are_left_for_answers() -> None:
    assert HeldRequests()._most == stream_utils.callback_thread_pool._max_workers // 2


def test_an_ended_job_holds_none() -> None:
    held = HeldRequests()
    held.close()
    assert not held.hold("north", sent=0, seconds=LONG_S)


def answers(monkeypatch: pytest.MonkeyPatch, *replies: tuple[str, Any], controller: Any) -> tuple[str, Any]:
    """Ask FLARE's runner with these answers in turn; return what the site is told."""
    given = list(replies)
    monkeypatch.setitem(
        THEIRS, "ServerRunner.process_task_request", lambda self, client, context: (given[0][0], "", given.pop(0)[1])
    )
    runner = SimpleNamespace(current_wf=None if controller is None else SimpleNamespace(controller=controller))
    name, _, data = job_reactions._held(runner, SimpleNamespace(name="north"), None)
    assert not given, "FLARE is asked as often as there are answers"
    return name, None if data is None else data.get_header(TaskConstant.WAIT_TIME)


def told(pause: float | None) -> Shareable:
    data = Shareable()
    data.set_header(TaskConstant.WAIT_TIME, pause)
    return data


AGAIN, PAUSE_S = SpecialTaskName.TRY_AGAIN, 0.7


def test_a_site_that_was_held_or_has_a_task_need_not_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    controller = SimpleNamespace(held=SimpleNamespace(sent=0, hold=lambda site, sent: True))
    assert answers(monkeypatch, (AGAIN, told(PAUSE_S)), ("round", told(PAUSE_S)), controller=controller) == (
        "round",
        0.0,
    )
    assert answers(monkeypatch, (AGAIN, told(PAUSE_S)), (AGAIN, told(PAUSE_S)), controller=controller) == (AGAIN, 0.0)
    assert answers(monkeypatch, ("round", told(PAUSE_S)), controller=controller) == ("round", 0.0)


def test_a_site_that_cannot_be_held_sleeps_as_flare_says(monkeypatch: pytest.MonkeyPatch) -> None:
    controller = SimpleNamespace(held=SimpleNamespace(sent=0, hold=lambda site, sent: False))
    assert answers(monkeypatch, (AGAIN, told(PAUSE_S)), controller=controller) == (AGAIN, PAUSE_S)
    assert answers(monkeypatch, (AGAIN, told(PAUSE_S)), controller=None) == (AGAIN, PAUSE_S)


def test_the_end_of_the_run_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    controller = SimpleNamespace(held=SimpleNamespace(sent=0, hold=lambda site, sent: pytest.fail("nothing to hold")))
    assert answers(monkeypatch, (SpecialTaskName.END_RUN, None), controller=controller) == ("__end_run__", None)
