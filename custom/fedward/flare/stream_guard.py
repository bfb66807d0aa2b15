"""Bounds on what FLARE 2.9 keeps in memory for its peers, and whose word ends a stream.

FLARE fills a buffer of the size that the first frame of a stream declares, up to 4 GiB, before anything has come; keeps
a stream that never goes on for ever; takes frames of 2 GiB; keeps figures for ever under words that senders write; and
lets any sender acknowledge or end a stream to somebody else, whose number can be guessed. ``install`` changes FLARE's
classes: memory grows with what has really come, a peer has a few streams open at a time, a frame is no larger than any
that is sent, figures are bounded, and a stream is its receiver's to answer.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from nvflare.fuel.f3.cellnet.defs import MessageHeaderKey
from nvflare.fuel.f3.drivers import grpc_driver, socket_conn
from nvflare.fuel.f3.stats_pool import CounterPool, HistPool
from nvflare.fuel.f3.streaming import blob_streamer, byte_receiver
from nvflare.fuel.f3.streaming.blob_streamer import BlobTask
from nvflare.fuel.f3.streaming.byte_receiver import RxTask
from nvflare.fuel.f3.streaming.byte_streamer import TxTask
from nvflare.fuel.f3.streaming.stream_const import StreamHeaderKey
from nvflare.fuel.f3.streaming.stream_utils import FastBuffer

LARGEST_FRAME = 16 * 1024 * 1024
"""Bytes. FLARE sends streams in frames of 1 MiB; the largest message in one piece is a job, 2 MiB at most."""
MOST_OPEN = 128
"""Streams of one sender that have begun and not ended. An ordinary job has two or three."""
MOST_AHEAD = 65
"""Frames that may come before the one that is due: a sender's window of 64 MiB, and one more."""
MOST_FIGURES = 10_000
"""Names under which FLARE keeps figures of one kind; under further ones it keeps none."""
MOST_SAID = 1000
"""Senders of whom the log says so; nobody can fill a disk with it."""

_log = logging.getLogger("fedward.door")


class GrowingBlob(BlobTask):  # type: ignore[misc]
    """FLARE's buffer of a stream, which grows with what has come and never beyond what was declared."""

    def __init__(self, future: Any, stream: Any, max_size: int = 0, preserve_chunks: bool = False) -> None:
        super().__init__(future, stream, max_size, preserve_chunks=True)  # FLARE fills no buffer then
        self.preserve_chunks = preserve_chunks
        if not preserve_chunks:
            self.buffer = FastBuffer()


class OpenStreams:
    """By sender, the streams that have begun and not ended; safe from several threads."""

    def __init__(self) -> None:
        self._open: dict[object, list[Any]] = {}
        self._said: set[object] = set()
        self._lock = threading.Lock()

    def begin(self, origin: object, make: Callable[[], Any]) -> Any:
        """A further stream of a sender; None where it has too many, or FLARE makes none."""
        with self._lock:
            mine = _going_on(self._open.pop(origin, []))
            made = make() if len(mine) < MOST_OPEN else None
            if made is None:
                self._say(origin, full=len(mine) >= MOST_OPEN)
            elif made not in mine:  # two frames of one stream may come at the same time
                mine.append(made)
            if mine:
                self._open[origin] = mine
            if len(self._open) > MOST_FIGURES:
                self._open = {name: left for name, streams in self._open.items() if (left := _going_on(streams))}
            return made

    def _say(self, origin: object, *, full: bool) -> None:
        if full and origin not in self._said and len(self._said) < MOST_SAID:
            self._said.add(origin)
            _log.warning(f"refused: more than {MOST_OPEN} open streams; from {origin}")


def _going_on(streams: list[Any]) -> list[Any]:
    return [one for one in streams if not one.completed and not one.failed]


def install() -> None:
    """Put the bounds in place, before the process opens its first connection."""
    find, handle, streams = RxTask.find_or_create_task.__func__, TxTask.handle_ack, OpenStreams()

    def bounded(cls: Any, message: Any, cell: Any) -> Any:
        origin, number = message.get_header(MessageHeaderKey.ORIGIN), message.get_header(StreamHeaderKey.STREAM_ID)
        if (origin, number) in cls.rx_task_map:
            return find(cls, message, cell)
        return streams.begin(origin, lambda: find(cls, message, cell))

    def by_its_receiver(self: Any, message: Any) -> None:
        if message.get_header(MessageHeaderKey.ORIGIN) == self.target:
            handle(self, message)

    _bound_figures()
    RxTask.find_or_create_task = classmethod(bounded)
    TxTask.handle_ack = by_its_receiver
    blob_streamer.BlobTask = GrowingBlob
    byte_receiver.MAX_PEER_DERIVED_OUT_SEQ_CHUNKS = MOST_AHEAD
    socket_conn.MAX_FRAME_SIZE = LARGEST_FRAME
    grpc_driver.GRPC_DEFAULT_OPTIONS = [
        ("grpc.max_send_message_length", LARGEST_FRAME),
        ("grpc.max_receive_message_length", LARGEST_FRAME),
    ]


def _bound_figures() -> None:
    record, increment = HistPool.record_value, CounterPool.increment

    def recorded(self: Any, category: str, value: float) -> None:
        if category in self.cat_bins or len(self.cat_bins) < MOST_FIGURES:
            record(self, category, value)

    def counted(self: Any, category: str, counter_name: str, amount: int = 1) -> None:
        known = category in self.cat_counters or len(self.cat_counters) < MOST_FIGURES
        if known and (counter_name in self.counter_names or len(self.counter_names) < MOST_FIGURES):
            increment(self, category, counter_name, amount)

    HistPool.record_value, CounterPool.increment = recorded, counted
