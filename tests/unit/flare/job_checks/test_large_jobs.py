"""A job with a large start goes to a site as a stream; every other request as FLARE sends it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from nvflare.fuel.f3.cellnet.defs import CellChannel
from nvflare.private.admin_defs import Message, ok_reply
from nvflare.private.defs import new_cell_message
from nvflare.private.fed.server import admin
from nvflare.private.fed.server.message_send import send_requests

from fedward.errors import FederationError
from fedward.flare.job_checks.large_jobs import IDLE_S, LARGEST_MESSAGE, _sent, install_server
from fedward.flare.messages.allowed import STREAMS, Party
from fedward.flare.messages.stream_guard import LARGEST_FRAME

SITES = {f"token-{site}": SimpleNamespace(token=f"token-{site}", name=site, fqcn=site) for site in ("a", "b", "c")}


class Cell:
    """A cell that answers each request, and keeps how it was sent."""

    def __init__(self) -> None:
        self.streamed: dict[str, tuple[str, str, float]] = {}
        self.single: dict[str, float] = {}

    def _send_request(self, channel: str, target: str, topic: str, request: Any, **how: Any) -> Any:
        self.streamed[target] = (channel, topic, how["timeout"])
        return new_cell_message({}, ok_reply(body=target))

    def broadcast_multi_requests(self, targets: dict[str, Any], timeout_s: float, **how: Any) -> dict[str, Any]:
        self.single |= dict.fromkeys(targets, timeout_s)
        return {target: new_cell_message({}, ok_reply(body=target)) for target in targets}


def request(size: int) -> Message:
    return Message("train.deploy", bytes(size))


def test_only_what_is_larger_than_a_message_is_streamed() -> None:
    cell = Cell()
    sizes = {
        "token-a": LARGEST_MESSAGE + 1,
        "token-b": LARGEST_MESSAGE,
        "token-c": LARGEST_FRAME * 2,
        "token-gone": 2**24,
    }
    requests = {token: request(size) for token, size in sizes.items()}
    replies = _sent(cell, "admin", requests, SITES, timeout_secs=10.0)
    assert cell.single == {"b": 10.0}
    assert cell.streamed == dict.fromkeys(("a", "c"), (CellChannel.CLIENT_MAIN, "admin", IDLE_S))
    assert {one.client_token: one.client_name for one in replies} == {f"token-{site}": site for site in "abc"}
    assert all(one.reply.body == one.client_name and one.request is requests[one.client_token] for one in replies)
    assert (CellChannel.CLIENT_MAIN, "admin") in STREAMS[Party.SERVER, Party.SITE]
    assert LARGEST_MESSAGE < LARGEST_FRAME


def test_ordinary_requests_go_as_flare_sends_them() -> None:
    cell = Cell()
    _sent(cell, "admin", {token: Message("sys", "") for token in SITES}, SITES, timeout_secs=2.0)
    assert cell.single == dict.fromkeys("abc", 2.0) and not cell.streamed


def test_another_release_of_flare_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin, "send_requests", send_requests)
    install_server()
    install_server()
    assert admin.send_requests is _sent
    monkeypatch.setattr(admin, "send_requests", print)
    with pytest.raises(FederationError, match="another release"):
        install_server()
