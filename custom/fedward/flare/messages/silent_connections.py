"""Close connections whose peer does not give its name, and report each connection that has ended.

FLARE 2.9 keeps a connection that never begins its handshake as long as the peer likes; each occupies a thread, and at
the server one of the shared workers.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from nvflare.fuel.f3.drivers.connector_info import Mode
from nvflare.fuel.f3.sfm.conn_manager import ConnManager

from fedward.flare.repeating import repeat

HANDSHAKE_S = 20.0
"""Seconds within which a connecting peer must give its name. A FLARE peer gives it with its first frame."""

_log = logging.getLogger("fedward.door")


class Unnamed:
    """Connections to this process whose peer has not given its name yet; thread-safe."""

    def __init__(self) -> None:
        self._since: dict[Any, float] = {}
        self._lock = threading.Lock()

    def add(self, connection: Any, *, now: float) -> None:
        """Watch a new connection, FLARE's ``SfmConnection``."""
        with self._lock:
            self._since[connection] = now

    def close_late(self, now: float) -> None:
        """Close the connections whose time is up, and stop watching those that have a name."""
        with self._lock:
            self._since = {one: since for one, since in self._since.items() if one.sfm_endpoint is None}
            late = [one for one, since in self._since.items() if now - since > HANDSHAKE_S]
            for one in late:
                del self._since[one]
        for one in late:
            try:
                one.conn.close()
            except Exception as error:  # noqa: BLE001 - one failure must not keep the others open
                _log.warning(f"connection cannot be closed: {type(error).__name__}")
        if late:
            _log.warning(f"closed: {len(late)} connections whose peer gave no name within {HANDSHAKE_S:.0f} s")

    def drop(self, name: str) -> None:
        """Stop watching the connection of that name, which has ended."""
        with self._lock:
            self._since = {one: since for one, since in self._since.items() if one.get_name() != name}


def install(ended: Callable[[str], None]) -> None:
    """Watch every connection that others make to this process from now on.

    Args:
        ended: called with the name of each connection that has ended.
    """
    begin, end, unnamed = ConnManager.handle_new_connection, ConnManager.close_connection, Unnamed()

    def begins(self: Any, connection: Any) -> None:
        begin(self, connection)
        made = self.sfm_conns.get(connection.name)
        if made is not None and connection.connector.mode == Mode.PASSIVE:
            unnamed.add(made, now=time.monotonic())

    def ends(self: Any, connection: Any) -> None:
        try:
            end(self, connection)
        finally:
            unnamed.drop(connection.name)
            ended(connection.name)

    ConnManager.handle_new_connection, ConnManager.close_connection = begins, ends
    repeat(
        lambda: unnamed.close_late(time.monotonic()), every_s=1.0, name="watch over new connections", log=_log.warning
    )
