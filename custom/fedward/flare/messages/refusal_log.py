"""Write a process's refusals to its log, bounded for each sender, so that no sender can hide another's."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress

MOST_LINES = 20
"""Different lines for one reason and sender in ``EVERY_S``; one more line then reports that others are left out."""
EVERY_S = 3600.0
"""Seconds after which a reason and sender start again, and a refusal that continues is written again."""

_log = logging.getLogger("fedward.door")


class RefusalLog:
    """Refusals of one process. A sender cannot fill a disk with them, and cannot use up another sender's lines.

    Args:
        clock: monotonic clock, in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._logged: dict[tuple[str, str], tuple[float, set[str]]] = {}
        self._lock = threading.Lock()

    def say(self, why: str, sender: str, about: str) -> None:
        """Write a refusal, unless this sender has used up its lines for this reason.

        Args:
            why: the reason, of a closed list.
            sender: name that the connection proves, so that no peer can use another's name or many; "": none.
            about: what was refused, in one short printable line.
        """
        now, key = self._clock(), (why, sender)
        with self._lock:
            began, logged = self._logged.get(key, (now, set()))
            if now - began >= EVERY_S:
                began, logged = now, set()
            if about in logged or len(logged) > MOST_LINES:
                return
            logged.add(about)
            self._logged[key] = began, logged
            full = len(logged) > MOST_LINES
        proven = f"certificate {sender}" if sender else "no certificate"
        reported = "more of the same, left out of this log for an hour" if full else about
        with suppress(Exception):  # the message is refused even if the line cannot be written
            _log.warning(f"refused: {why}; {reported} ({proven})")
