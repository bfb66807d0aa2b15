"""Send a site's answer to a server that may go and come back meanwhile; the replacements of two of FLARE's reactions.

FLARE's client asks before each transfer whether the server still waits for the result. It takes a server that does not
answer for one that waits, and then waits ``submit_task_result_timeout`` (300 s or more) for a reply from a process that
is gone. A small result is sent without the question, which would take as long.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from nvflare.apis.fl_constant import ReservedKey, ReservedTopic, ReturnCode
from nvflare.apis.shareable import ReservedHeaderKey, Shareable
from nvflare.apis.signal import Signal
from nvflare.private.fed.client import client_runner

from fedward.flare.server.participation import payload_bytes
from fedward.flare.supervisor.reactions import THEIRS

SMALL_BYTES = 2**20
"""Largest result that is sent without a question before; one that comes too late is recorded as late."""
ASK_S = 2.0
"""Seconds between two questions during a transfer whether the server still waits for it."""
SURE = 2
"""Answers in a row that the task is gone, after which the transfer ends: one may cross the reply to the transfer."""
_OPEN, _GONE = client_runner._TASK_CHECK_RESULT_OK, client_runner._TASK_CHECK_RESULT_TASK_GONE
_AGAIN = client_runner._TASK_CHECK_RESULT_TRY_AGAIN
_log = logging.getLogger("fedward.site")
_SAYS = {ReturnCode.OK: _OPEN, ReturnCode.TASK_UNKNOWN: _GONE}


def asked(self: Any, task_id: str, fl_ctx: Any) -> Any:
    """Ask whether the server still waits for a task; without a clear answer, ask again later."""
    question = Shareable()
    question.set_header(ReservedKey.TASK_ID, task_id)
    answers = self.engine.send_aux_request(
        targets=[self.parent_target],
        topic=ReservedTopic.TASK_CHECK,
        request=question,
        timeout=self.task_check_timeout,
        fl_ctx=fl_ctx,
        optional=True,
    )
    answer = answers.get(self.parent_target) if isinstance(answers, dict) else None
    return _SAYS.get(answer.get_return_code(), _AGAIN) if isinstance(answer, Shareable) else _AGAIN


def sent(self: Any, result: Shareable, task_id: str, fl_ctx: Any) -> Any:
    """Send a result, and end the transfer once the server says that the task is gone: its process is another one."""
    gone = Signal(parent=self.run_abort_signal)
    first = result.get_header(ReservedHeaderKey.MSG_ROOT_ID) is None  # FLARE sets it at each try
    if first and payload_bytes(result) <= SMALL_BYTES:
        self._check_task_once = lambda task_id, fl_ctx: _OPEN
    fl_ctx.get_run_abort_signal = lambda: gone  # by which FLARE ends a transfer
    try:
        with _watched(self, task_id, gone):
            return THEIRS["ClientRunner._try_send_result_once"](self, result, task_id, fl_ctx)
    finally:
        del fl_ctx.get_run_abort_signal
        vars(self).pop("_check_task_once", None)


@contextmanager
def _watched(runner: Any, task_id: str, gone: Signal) -> Iterator[None]:
    over = threading.Event()

    def watch() -> None:
        in_a_row = 0
        while not over.wait(ASK_S):
            try:
                with runner.engine.new_context() as context:
                    says = asked(runner, task_id, context)
            except Exception as error:  # noqa: BLE001 - the transfer itself then ends as FLARE lets it
                _log.warning("cannot ask whether the server still waits: %s", type(error).__name__)
                return
            in_a_row = in_a_row + 1 if says == _GONE else 0
            if in_a_row >= SURE:
                gone.trigger(True)
                return

    thread = threading.Thread(target=watch, name="result-push", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
