"""Bound the memory and threads that FLARE 2.9 uses for its peers, and accept a stream's answers from its receiver only.

FLARE fills a buffer of the size that a stream's first frame declares, up to 4 GiB, before any data has come; waits five
minutes for each further frame, on one of 64 shared threads; keeps a thread for each stream that has ended, as long as
its sender requests; accepts frames of 2 GiB; keeps figures for ever under names that senders write; and allows any
sender to acknowledge or end a stream to another receiver, since the stream's number can be guessed. ``install`` changes
FLARE's classes: memory grows with the data that has come, a sender has few open streams at a time (``stream_slots``), a
stalled stream ends, an ended stream leaves no thread, a frame is no larger than any that is sent, figures are bounded,
and only a stream's receiver can answer it.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

from nvflare.fuel.f3.cellnet.defs import MessageHeaderKey, MessagePropKey
from nvflare.fuel.f3.drivers import grpc_driver, socket_conn
from nvflare.fuel.f3.stats_pool import CounterPool, HistPool
from nvflare.fuel.f3.streaming import blob_streamer, byte_receiver
from nvflare.fuel.f3.streaming.blob_streamer import BlobHandler, BlobTask
from nvflare.fuel.f3.streaming.byte_receiver import ByteReceiver, RxTask
from nvflare.fuel.f3.streaming.byte_streamer import TxTask
from nvflare.fuel.f3.streaming.stream_const import StreamHeaderKey
from nvflare.fuel.f3.streaming.stream_types import StreamError
from nvflare.fuel.f3.streaming.stream_utils import FastBuffer

from fedward.flare.messages.refusal_log import RefusalLog
from fedward.flare.messages.stream_slots import KEPT_S, STALL_S, Remembered, Sender, StreamSlots
from fedward.flare.repeating import repeat

LARGEST_FRAME = 16 * 1024 * 1024
"""Largest frame, in bytes. FLARE's streams have frames of 1 MiB; the largest single message is a job, 4 MiB at most."""
MOST_AHEAD = 65
"""Largest number of frames that may come before the one that is due: a sender's window of 64 MiB, and one more."""
MOST_FIGURES = 10_000
"""Largest number of names under which FLARE keeps figures of one kind; it keeps none under further names."""

CONNECTION = "fedward_connection"
"""Property of a message: name of the connection that it came over."""

_READ_LATER = (StreamHeaderKey.STREAM_REQ_ID, StreamHeaderKey.OPTIONAL)
"""Headers that FLARE reads after a stream has ended."""
_log = logging.getLogger("fedward.door")


class GrowingBlob(BlobTask):  # type: ignore[misc]
    """FLARE's buffer of a stream, which grows with the data that has come and never beyond the declared size."""

    def __init__(self, future: Any, stream: Any, max_size: int = 0, preserve_chunks: bool = False) -> None:
        super().__init__(future, stream, max_size, preserve_chunks=True)  # so FLARE fills no buffer
        self.preserve_chunks = preserve_chunks
        if not preserve_chunks:
            self.buffer = FastBuffer()


class StreamGuard:
    """Streams that this process receives."""

    def __init__(self) -> None:
        self._slots, self._ended = StreamSlots(), Remembered(lambda task: task._remove_task())
        self._refusals, self._thread = RefusalLog(), threading.local()

    def begin(self, find: Any, message: Any, cell: Any) -> Any:
        """Return FLARE's task for the first received frame of a stream; None if its sender has too many streams."""
        origin, number = message.get_header(MessageHeaderKey.ORIGIN), message.get_header(StreamHeaderKey.STREAM_ID)
        participant = message.get_prop(MessagePropKey.COMMON_NAME) or origin
        sender = Sender(origin, participant, message.get_prop(CONNECTION))
        task, refused = self._slots.begin(sender, number, lambda: find(message, cell), now=time.monotonic())
        if refused:
            self._refusals.say("too many open streams", str(participant), f"from {origin}")
        return task

    def process(self, process: Any, task: Any, message: Any) -> bool:
        """Do FLARE's work on a frame; from a stream's first frame, its handler occupies a thread until ``done``."""
        if message.get_header(StreamHeaderKey.SEQUENCE) != 0 or not self._slots.take(task):
            return bool(process(task, message))
        self._thread.taken = task
        begun = bool(process(task, message))
        if not begun:
            self._slots.done(task)
        return begun

    def receive(self, receive: Any, receiver: Any, message: Any) -> None:
        """Do all of FLARE's work on a frame; if that fails, the stream gets no handler."""
        self._thread.taken = None
        try:
            receive(receiver, message)
        except BaseException:
            self._slots.done(self._thread.taken)
            raise

    def done(self, task: Any) -> None:
        """Record that the handler of a stream has returned, or that it has none."""
        self._slots.done(task)

    def keep(self, task: Any, ttl_s: float | None = None) -> None:
        """Remember a stream that has ended, without its data and without a thread."""
        if task.failed:
            with task.lock:
                task.chunks.clear()
                task.out_seq_chunks.clear()
        if task.stream_future is None:
            _let_go(task, None)
        else:
            task.stream_future.add_done_callback(_let_go, task, task.stream_future)
        self._ended.keep(task.origin, task, until=time.monotonic() + (KEPT_S if ttl_s is None else min(ttl_s, KEPT_S)))

    def end_of(self, connection: str) -> None:
        """End the streams of the connection of that name, which has ended."""
        for task in self._slots.of_connection(connection):
            task.stop(StreamError("connection of the stream's sender has ended"), notify=False)

    def sweep(self) -> None:
        """End the stalled streams, and forget those that ended long ago."""
        now = time.monotonic()
        for task in self._slots.stalled(now):
            task.stop(StreamError(f"no further frame of the stream has come for {STALL_S:.0f} s"), notify=False)
        self._ended.expire(now)


def _let_go(task: Any, future: Any) -> None:
    """Drop a stream's data and most headers, which FLARE would keep as long as it remembers the stream."""
    headers = task.headers or {}
    task.headers = {name: headers[name] for name in _READ_LATER if name in headers}
    if future is not None and future.error is None:  # its reader, which uses the task, has finished
        task.stream_future = None


def install() -> StreamGuard:
    """Install the bounds, before the process opens its first connection.

    Returns:
        The guard; report ended connections to it (``end_of``).
    """
    guard = StreamGuard()
    _bound_streams(guard)
    _bound_figures()
    acknowledge = TxTask.handle_ack

    def by_its_receiver(self: Any, message: Any) -> None:
        if message.get_header(MessageHeaderKey.ORIGIN) == self.target:
            acknowledge(self, message)

    TxTask.handle_ack = by_its_receiver
    blob_streamer.BlobTask = GrowingBlob
    byte_receiver.MAX_PEER_DERIVED_OUT_SEQ_CHUNKS = MOST_AHEAD
    byte_receiver.READ_TIMEOUT = STALL_S
    socket_conn.MAX_FRAME_SIZE = LARGEST_FRAME
    grpc_driver.GRPC_DEFAULT_OPTIONS = [
        ("grpc.max_send_message_length", LARGEST_FRAME),
        ("grpc.max_receive_message_length", LARGEST_FRAME),
    ]
    repeat(guard.sweep, every_s=1.0, name="watch over streams", log=_log.warning)
    return guard


def _bound_streams(guard: StreamGuard) -> None:
    find, process = RxTask.find_or_create_task.__func__, RxTask.process_chunk
    receive, handle, call_back = ByteReceiver._data_handler, BlobHandler.handle_blob_cb, BlobHandler._run_blob_cb

    def bounded(cls: Any, message: Any, cell: Any) -> Any:
        origin, number = message.get_header(MessageHeaderKey.ORIGIN), message.get_header(StreamHeaderKey.STREAM_ID)
        if (origin, number) in cls.rx_task_map:
            return find(cls, message, cell)
        return guard.begin(lambda *given: find(cls, *given), message, cell)

    def processed(self: Any, message: Any) -> bool:
        return guard.process(process, self, message)

    def received(self: Any, message: Any) -> None:
        guard.receive(receive, self, message)

    def handled(self: Any, future: Any, stream: Any, *args: Any, **named: Any) -> Any:
        try:
            return handle(self, future, stream, *args, **named)
        except BaseException:
            guard.done(stream.task)
            raise

    def called_back(self: Any, future: Any, stream: Any, *args: Any) -> None:
        try:
            call_back(self, future, stream, *args)
        finally:
            guard.done(stream.task)

    RxTask.find_or_create_task, RxTask.process_chunk = classmethod(bounded), processed
    RxTask._schedule_remove_task = lambda self, ttl=None: guard.keep(self, ttl)
    ByteReceiver._data_handler = received
    BlobHandler.handle_blob_cb, BlobHandler._run_blob_cb = handled, called_back


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
