"""What a process writes to its log of what it refuses: bounded for each sender, so that none can hide another's."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress

MOST_LINES = 20
"""Different lines of one reason about one sender in ``EVERY_S``; then one that says that the others are left out."""
EVERY_S = 3600.0
"""Seconds after which a reason and sender begin anew, and a refusal that goes on is written again."""

_log = logging.getLogger("fedward.door")


class RefusalLog:
    """The refusals of one process. A sender cannot fill a disk with them, and cannot use up what another may cause.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._said: dict[tuple[str, str], tuple[float, set[str]]] = {}
        self._lock = threading.Lock()

    def say(self, why: str, sender: str, about: str) -> None:
        """Write a refusal, where this sender has not used up what is written of this reason.

        Args:
            why: the reason, of a closed list.
            sender: whom the connection proves, so that nobody can have another's or many; "": nobody.
            about: what was refused, in one short printable line.
        """
        now, key = self._clock(), (why, sender)
        with self._lock:
            began, message = self._said.get(key, (now, set()))
            if now - began >= EVERY_S:
                began, message = now, set()
            if about in message or len(message) > MOST_LINES:
                return
            message.add(about)
            self._said[key] = began, message
            full = len(message) > MOST_LINES
        proven = f"certificate {sender}" if sender else "no certificate"
        reported = "more of the same, left out of this log for an hour" if full else about
        with suppress(Exception):  # whatever becomes of the line, it is refused
            _log.warning(f"refused: {why}; {reported} ({proven})")
