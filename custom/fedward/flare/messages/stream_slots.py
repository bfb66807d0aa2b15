"""Limit the streams of messages that a sender may have open, and find stalled streams, which must end.

FLARE 2.9 reads each open stream on a separate thread, and the stream's receiver waits for its end on one of 64 others.
A stream counts from its first frame until all of it has come *and* its handler is done: it occupies a thread that long.
Pure: no nvflare; a stream is any object with FLARE's names for its state (``completed``, ``failed``, ``reliable``,
``received_offset``, ``seq``).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

MOST_OF_A_CELL = 8
"""Largest number of open streams of one process. A job has two or three, a console one or two; an update is one."""
MOST_OF_A_PARTICIPANT = 16
"""Largest number of open streams of all consoles of one person: a quarter of FLARE's 64 threads."""
MOST_TOGETHER = 48
"""Open streams of all senders together, above which each may have ``ALWAYS`` at most: other threads stay free."""
ALWAYS = 2
"""Open streams that a participant may always have, regardless of the others."""
STALL_S = 60.0
"""Seconds without a further frame after which a stream ends. A frame has at most 1 MiB: 0.15 Mbit/s are enough."""
MOST_KEPT = 256
"""Largest number of ended streams remembered of one sender, so that a repeated frame begins no new stream."""
KEPT_S = 65.0
"""Seconds that they are remembered: as long as FLARE's sender tries again. The sender's request is ignored."""


@dataclass(frozen=True, slots=True)
class Sender:
    """Sender of a stream.

    Attributes:
        cell: name of the process that sends it.
        participant: owner of that process; the same for all processes that share a certificate.
        connection: name of the connection that its first frame came over.
    """

    cell: object
    participant: object
    connection: object = None


@dataclass(eq=False, slots=True)
class _Slot:
    number: object
    stream: Any
    sender: Sender
    since: float
    came: tuple[int, int] = (0, -1)
    handled: bool = True
    """True if no handler has the stream, or its handler is done."""

    def goes_on(self) -> bool:
        return not (self.stream.completed or self.stream.failed)


class StreamSlots:
    """Open streams; thread-safe."""

    def __init__(self) -> None:
        self._slots: dict[Any, _Slot] = {}
        self._lock = threading.Lock()

    def begin(self, sender: Sender, number: object, make: Callable[[], Any], *, now: float) -> tuple[Any, bool]:
        """Open a further stream, if its sender may.

        Args:
            sender: of the stream.
            number: number that the sender gave to the stream.
            make: makes the stream; returns None if there is nothing to open.
            now: seconds, on a monotonic clock.

        Returns:
            The stream, or None; and true if it is refused because the sender has too many.
        """
        with self._lock:
            self._slots = {one: slot for one, slot in self._slots.items() if slot.goes_on() or not slot.handled}
            for slot in self._slots.values():  # another of its frames has opened it meanwhile
                if (slot.sender.cell, slot.number) == (sender.cell, number) and slot.goes_on():
                    return slot.stream, False
            if self._is_full(sender):
                return None, True
            made = make()
            if made is not None and made not in self._slots:
                self._slots[made] = _Slot(number, made, sender, since=now)
            return made, False

    def _is_full(self, sender: Sender) -> bool:
        senders = [slot.sender for slot in self._slots.values()]
        own = sum(one.cell == sender.cell for one in senders)
        shared = sum(one.participant == sender.participant for one in senders)
        if own >= MOST_OF_A_CELL or shared >= MOST_OF_A_PARTICIPANT:
            return True
        return len(senders) >= MOST_TOGETHER and shared >= ALWAYS

    def take(self, stream: Any) -> bool:
        """Give a stream to a handler; False if one has it already."""
        with self._lock:
            slot = self._slots.get(stream)
            if slot is None or not slot.handled:
                return False
            slot.handled = False
            return True

    def done(self, stream: Any) -> None:
        """Record that the handler of a stream has returned, or that none has it after all."""
        with self._lock:
            if stream in self._slots:
                self._slots[stream].handled = True

    def of_connection(self, connection: object) -> list[Any]:
        """Return the streams that cannot continue because their connection has ended.

        Streams whose sender repeats lost data (FLARE's *reliable*) are not among them: they may continue over its next
        connection, and stall otherwise.
        """
        with self._lock:
            slots = [slot for slot in self._slots.values() if slot.sender.connection == connection]
            return [slot.stream for slot in slots if slot.goes_on() and not slot.stream.reliable]

    def stalled(self, now: float) -> list[Any]:
        """Return the streams that have received no further frame in sequence for ``STALL_S``."""
        found = []
        with self._lock:
            for slot in self._slots.values():
                came = (slot.stream.received_offset, slot.stream.seq)
                if came != slot.came:
                    slot.came, slot.since = came, now
                elif now - slot.since >= STALL_S and slot.goes_on():
                    found.append(slot.stream)
        return found


class Remembered:
    """Streams that have ended, by sender, until they are forgotten; thread-safe.

    Args:
        forget: called with each stream that is no longer remembered.
    """

    def __init__(self, forget: Callable[[Any], None]) -> None:
        self._forget = forget
        self._ends: dict[object, dict[Any, float]] = {}
        self._lock = threading.Lock()

    def keep(self, sender: object, stream: Any, *, until: float) -> None:
        """Remember a stream; if a sender has more than ``MOST_KEPT``, forget its oldest."""
        with self._lock:
            mine = self._ends.setdefault(sender, {})
            mine.setdefault(stream, until)
            over = list(mine)[: max(0, len(mine) - MOST_KEPT)]
            for one in over:
                del mine[one]
        for one in over:
            self._forget(one)

    def expire(self, now: float) -> None:
        """Forget the streams whose time is up."""
        over: list[Any] = []
        with self._lock:
            for sender, mine in list(self._ends.items()):
                over += [stream for stream, until in mine.items() if until <= now]
                self._ends[sender] = {stream: until for stream, until in mine.items() if until > now}
                if not self._ends[sender]:
                    del self._ends[sender]
        for one in over:
            self._forget(one)
