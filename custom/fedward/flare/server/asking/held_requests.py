"""Hold a site's request for a task until there is one, so that a round waits for no poll.

FLARE's sites poll: a site sleeps between two requests, and each request costs the server's two processes 6 ms of a core
and the site 4 ms. A request that is held costs a thread of the server's job process, and is answered at once when a
task is sent. The same threads take the sites' answers: half of them is left for these. A site has one request held, and
requests beyond ``MOST_HELD`` are answered as FLARE does, with the pause of ``pacing``.
"""

from __future__ import annotations

import threading

from nvflare.fuel.f3.streaming.stream_utils import CALLBACK_THREAD_POOL_SIZE

HOLD_S = 4.0
"""Longest time that a request is held, in seconds; a site waits ``IDLE_S`` for an answer, or longer."""
MOST_HELD = CALLBACK_THREAD_POOL_SIZE // 2
"""Requests that are held at the same time."""


class HeldRequests:
    """Requests of one job's sites that wait for a task; thread-safe."""

    def __init__(self, most: int = MOST_HELD) -> None:
        self._most, self._changed = most, threading.Condition()
        self._held: set[str] = set()
        self._closed, self._sent = False, 0

    @property
    def sent(self) -> int:
        """Number of tasks sent so far; taken before the job's tasks are looked through."""
        return self._sent

    def send(self) -> None:
        """Note that a task was sent: every held request is answered."""
        with self._changed:
            self._sent += 1
            self._changed.notify_all()

    def close(self) -> None:
        """Answer every held request, and hold none any more: the job sends no task."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def hold(self, site: str, *, sent: int, seconds: float = HOLD_S) -> bool:
        """Return once a task was sent after the first ``sent``, the job ends, or the seconds are over.

        Returns:
            False at once if the request cannot be held: the site has another one here, or there are too many.
        """
        with self._changed:
            if self._closed or site in self._held or len(self._held) >= self._most:
                return False
            self._held.add(site)
            try:
                self._changed.wait_for(lambda: self._closed or self._sent != sent, timeout=seconds)
            finally:
                self._held.discard(site)
        return True
