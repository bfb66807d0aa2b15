"""A site's answer to a server that is gone, or is another process now, is not waited for."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.shareable import ReservedHeaderKey, Shareable, make_reply
from nvflare.apis.signal import Signal
from nvflare.private.fed.client.client_runner import ClientRunner

from fedward.flare.supervisor import result_push
from fedward.flare.supervisor.reactions import THEIRS

OPEN, AGAIN, GONE = result_push._OPEN, result_push._AGAIN, result_push._GONE
CODES = [
    (ReturnCode.OK, OPEN),
    (ReturnCode.TASK_UNKNOWN, GONE),
    (ReturnCode.TIMEOUT, AGAIN),
    (ReturnCode.COMMUNICATION_ERROR, AGAIN),
    (ReturnCode.SERVER_NOT_READY, AGAIN),
    (ReturnCode.UNSAFE_JOB, AGAIN),
]


class Runner:
    """FLARE's client runner, with a server that gives these answers in turn, the last one for ever."""

    parent_target, task_check_timeout, task_check_interval = "server", 1.0, 0.01

    def __init__(self, *answers: Any) -> None:
        self._answers = list(answers)
        self.run_abort_signal = Signal()
        self.asked = 0
        self.engine = SimpleNamespace(
            send_aux_request=self._answer, new_context=self._context, send_task_result=self._transfer
        )
        self.transfer: Any = lambda signal: True

    def _answer(self, **how: Any) -> Any:
        self.asked += 1
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return {"server": make_reply(answer) if isinstance(answer, str) else answer}

    @contextmanager
    def _context(self) -> Iterator[Any]:
        yield SimpleNamespace()

    def _transfer(self, result: Shareable, context: Any, *, timeout: Any) -> bool:
        return bool(self.transfer(context.get_run_abort_signal()))

    submit_task_result_timeout = 300.0
    log_debug = log_info = log_error = staticmethod(lambda *words: None)
    _check_task_once = result_push.asked


def push(runner: Runner, size: int = result_push.SMALL_BYTES + 1, *, again: bool = False) -> Any:
    result = Shareable({"update": bytes(size)})
    if again:
        result.set_header(ReservedHeaderKey.MSG_ROOT_ID, "of an earlier try")
    return result_push.sent(runner, result, "task-1", SimpleNamespace())


@pytest.mark.parametrize(
    ("size", "again", "asked"),
    [(0, False, 0), (result_push.SMALL_BYTES, False, 0), (result_push.SMALL_BYTES + 1, False, 1), (0, True, 1)],
)
def test_only_a_small_result_is_sent_without_a_question_and_only_once(size: int, again: bool, asked: int) -> None:
    runner = Runner(ReturnCode.OK)
    assert push(runner, size, again=again) == OPEN
    assert runner.asked == asked
    assert "_check_task_once" not in vars(runner), "the next result is asked about as before"


@pytest.mark.parametrize(("code", "due"), CODES)
def test_only_a_clear_answer_is_one(code: str, due: int) -> None:
    """FLARE takes a time-out for a server that waits for the result."""
    assert result_push.asked(Runner(code), "task-1", None) == due


@pytest.mark.parametrize("answer", [None, {}, "text"])
def test_an_answer_of_another_form_is_none(answer: Any) -> None:
    runner = Runner(ReturnCode.OK)
    runner.engine.send_aux_request = lambda **how: answer if answer == "text" else {"server": answer}
    assert result_push.asked(runner, "task-1", None) == AGAIN


def waits(signal: Signal) -> bool:
    """A transfer to a process that is gone: FLARE waits for its reply until the signal."""
    begin = time.monotonic()
    while not signal.triggered:
        assert time.monotonic() - begin < 20.0, "it waits for nobody"
        time.sleep(0.01)
    return False


def test_a_transfer_to_a_server_that_came_back_as_another_process_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(result_push, "ASK_S", 0.02)
    runner = Runner(ReturnCode.OK, ReturnCode.TIMEOUT, ReturnCode.SERVER_NOT_READY, ReturnCode.TASK_UNKNOWN)
    runner.transfer = waits
    assert push(runner) == AGAIN and runner.asked >= 3 + result_push.SURE
    assert not runner.run_abort_signal.triggered, "the run goes on"


def test_one_answer_that_the_task_is_gone_may_cross_the_reply(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(result_push, "ASK_S", 0.02)
    runner = Runner(ReturnCode.OK, ReturnCode.TASK_UNKNOWN, ReturnCode.OK)

    def slow(signal: Signal) -> bool:
        while runner.asked < 6:
            time.sleep(0.01)
        return not signal.triggered

    runner.transfer = slow
    assert push(runner) == OPEN


def test_an_abort_of_the_run_ends_a_transfer_at_once() -> None:
    runner = Runner(ReturnCode.OK)
    runner.transfer = waits
    threading.Timer(0.05, lambda: runner.run_abort_signal.trigger(True)).start()
    assert push(runner) == AGAIN


def test_flare_takes_a_time_out_for_a_server_that_waits() -> None:
    """The defect; if this fails, FLARE has mended it."""
    assert THEIRS["ClientRunner._check_task_once"](Runner(ReturnCode.TIMEOUT), "task-1", None) == OPEN
    assert ClientRunner is not None
