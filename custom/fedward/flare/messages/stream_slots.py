"""How many streams of messages a sender may have open, and when one that does not go on has to end.

FLARE 2.9 reads every stream that is open on a thread of its own, and its receiver waits for the end of it on one of 64
others. A stream counts from its first frame until all of it has come *and* whatever handles it is done: that long it
holds a thread. Pure: no nvflare; a stream is any object with FLARE's names for its state (``completed``, ``failed``,
``reliable``, ``received_offset``, ``seq``).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

MOST_OF_A_CELL = 8
"""Open streams of one process. A job has two or three at a time, a console one or two; an update is one."""
MOST_OF_A_PARTICIPANT = 16
"""Open streams of all consoles of one person: a quarter of FLARE's 64 threads."""
MOST_TOGETHER = 48
"""Open streams of all senders together, beyond which each has ``ALWAYS`` at most: the other threads are kept free."""
ALWAYS = 2
"""Open streams that a participant may have, whatever the others do."""
STALL_S = 60.0
"""Seconds without a further frame after which a stream ends. A frame is 1 MiB at most: 0.15 Mbit/s are enough."""
MOST_KEPT = 256
"""Ended streams of one sender that are remembered, so that a frame which comes again begins no new stream."""
KEPT_S = 65.0
"""Seconds that they are remembered: as long as FLARE's sender tries again. What the sender asks for is not heard."""


@dataclass(frozen=True, slots=True)
class Sender:
    """Where a stream comes from.

    Attributes:
        cell: name of the process that sends it.
        participant: whose process that is; the same for all that share a certificate.
        connection: name of the one that its first frame came over.
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
    """No handler has it, or it is done."""

    def goes_on(self) -> bool:
        return not (self.stream.completed or self.stream.failed)


class StreamSlots:
    """The streams that are open; safe from several threads."""

    def __init__(self) -> None:
        self._slots: dict[Any, _Slot] = {}
        self._lock = threading.Lock()

    def begin(self, sender: Sender, number: object, make: Callable[[], Any], *, now: float) -> tuple[Any, bool]:
        """Open a further stream, where its sender may.

        Args:
            sender: of the stream.
            number: of the stream, its sender's own.
            make: makes the stream; None where there is nothing to open.
            now: seconds, on a monotonic clock.

        Returns:
            The stream, or None; and whether it is refused because the sender has too many.
        """
        with self._lock:
            self._slots = {one: slot for one, slot in self._slots.items() if slot.goes_on() or not slot.handled}
            for slot in self._slots.values():  # another frame of it has opened it at the same time
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
        """A handler is about to have a stream; False where one has it already."""
        with self._lock:
            slot = self._slots.get(stream)
            if slot is None or not slot.handled:
                return False
            slot.handled = False
            return True

    def done(self, stream: Any) -> None:
        """The handler of a stream has returned, or none has it after all."""
        with self._lock:
            if stream in self._slots:
                self._slots[stream].handled = True

    def of_connection(self, connection: object) -> list[Any]:
        """Streams that cannot go on since their connection has ended.

        Not those whose sender sends again what was lost (FLARE's *reliable*): they may go on over its next connection,
        and stall otherwise.
        """
        with self._lock:
            slots = [slot for slot in self._slots.values() if slot.sender.connection == connection]
            return [slot.stream for slot in slots if slot.goes_on() and not slot.stream.reliable]

    def stalled(self, now: float) -> list[Any]:
        """Streams of which no further frame in its turn has come for ``STALL_S``."""
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
    """Streams that have ended, by sender, until they are forgotten; safe from several threads.

    Args:
        forget: called with each stream that is remembered no longer.
    """

    def __init__(self, forget: Callable[[Any], None]) -> None:
        self._forget = forget
        self._ends: dict[object, dict[Any, float]] = {}
        self._lock = threading.Lock()

    def keep(self, sender: object, stream: Any, *, until: float) -> None:
        """Remember one; where a sender has more than ``MOST_KEPT``, its oldest is forgotten."""
        with self._lock:
            mine = self._ends.setdefault(sender, {})
            mine.setdefault(stream, until)
            over = list(mine)[: max(0, len(mine) - MOST_KEPT)]
            for one in over:
                del mine[one]
        for one in over:
            self._forget(one)

    def expire(self, now: float) -> None:
        """Forget those whose time is up."""
        over: list[Any] = []
        with self._lock:
            for sender, mine in list(self._ends.items()):
                over += [stream for stream, until in mine.items() if until <= now]
                self._ends[sender] = {stream: until for stream, until in mine.items() if until > now}
                if not self._ends[sender]:
                    del self._ends[sender]
        for one in over:
            self._forget(one)
