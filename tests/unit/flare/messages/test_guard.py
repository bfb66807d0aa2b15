"""Check what the guard passes on to FLARE of an accepted message."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nvflare.fuel.f3.cellnet.core_cell import CoreCell
from nvflare.fuel.f3.cellnet.defs import MessageHeaderKey
from nvflare.fuel.f3.message import Message
from nvflare.fuel.f3.streaming.byte_streamer import ByteStreamer
from nvflare.fuel.f3.streaming.stream_const import StreamHeaderKey

from fedward.flare.messages import guard, stream_guard
from fedward.flare.messages.guard import MessageGuard


@pytest.fixture
def handed_on(monkeypatch: pytest.MonkeyPatch) -> list[Message]:
    """Return a list of the messages that FLARE receives from now on; all of them pass."""
    found: list[Message] = []
    monkeypatch.setattr(
        CoreCell, "_process_received_msg", lambda cell, endpoint, connection, message: found.append(message)
    )
    monkeypatch.setattr(MessageGuard, "passes", lambda *given: True)
    guard._guard_messages(MessageGuard())
    return found


def receive(message: Message) -> None:
    process: Any = CoreCell._process_received_msg
    process(None, None, SimpleNamespace(name="CN00007"), message)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=400) | st.just("x\n2026-11-28 00:00:00,000 - door - WARNING - forged"))
def test_the_text_of_a_failure_makes_no_line_of_its_own_in_the_log(
    handed_on: list[Message], caplog: pytest.LogCaptureFixture, text: str
) -> None:
    headers = {
        MessageHeaderKey.ORIGIN: "north-clinic",
        MessageHeaderKey.ERROR: text,
        StreamHeaderKey.STREAM_ID: 1,
        StreamHeaderKey.ERROR_MSG: text,
    }
    receive(Message(headers))
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        streamer = SimpleNamespace(cell=SimpleNamespace(my_info=SimpleNamespace(fqcn="server")))
        ByteStreamer._error_handler(streamer, handed_on[-1])
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.isprintable() and len(line) < 500
    assert handed_on[-1].get_header(MessageHeaderKey.ERROR).isprintable()


def test_a_message_has_its_connection_with_it(handed_on: list[Message]) -> None:
    receive(Message({}))
    assert handed_on[0].get_prop(stream_guard.CONNECTION) == "CN00007"


def test_what_does_not_pass_does_not_reach_flare(handed_on: list[Message], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MessageGuard, "passes", lambda *given: False)
    receive(Message({}))
    assert handed_on == []
