"""FLARE's waiting times: what its own code does with them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from nvflare.fuel.f3.sfm import conn_manager
from nvflare.fuel.f3.sfm.conn_manager import ConnManager, Mode

from fedward.flare.supervisor.waits import RECONNECT_S, reconnect_soon

ATTEMPTS = 12


class Stopped:
    """Event that is set after so many waits, and keeps how long each was."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    def is_set(self) -> bool:
        return len(self.waits) == ATTEMPTS

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)


def nobody(connector: object) -> None:
    raise ConnectionError("nobody listens")


def test_a_site_finds_its_server_soon_however_long_that_was_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conn_manager, "MAX_WAIT", conn_manager.MAX_WAIT)
    reconnect_soon()
    stopped = Stopped()
    driver = SimpleNamespace(connect=nobody)
    ConnManager.start_connector_task(SimpleNamespace(mode=Mode.ACTIVE, driver=driver, started=False, stopped=stopped))
    assert len(stopped.waits) == ATTEMPTS
    assert max(stopped.waits) == RECONNECT_S
