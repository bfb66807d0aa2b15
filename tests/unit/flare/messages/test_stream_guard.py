"""Check the memory and threads that FLARE keeps for a peer, and who may end a stream, with FLARE's own classes."""

from __future__ import annotations

import contextlib
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from nvflare.fuel.f3.cellnet.defs import MessageHeaderKey, MessagePropKey
from nvflare.fuel.f3.comm_error import CommError
from nvflare.fuel.f3.drivers import grpc_driver, socket_conn
from nvflare.fuel.f3.drivers.grpc_driver import GrpcDriver
from nvflare.fuel.f3.message import Message
from nvflare.fuel.f3.sfm.prefix import PREFIX_LEN, Prefix
from nvflare.fuel.f3.stats_pool import CounterPool, HistPool
from nvflare.fuel.f3.streaming import blob_streamer, byte_receiver
from nvflare.fuel.f3.streaming.blob_streamer import BlobHandler, BlobStreamer
from nvflare.fuel.f3.streaming.byte_receiver import ByteReceiver, RxTask
from nvflare.fuel.f3.streaming.byte_streamer import TxTask
from nvflare.fuel.f3.streaming.stream_const import StreamDataType, StreamHeaderKey
from nvflare.fuel.f3.streaming.stream_types import Stream, StreamError, StreamFuture
from nvflare.fuel.f3.streaming.stream_utils import CALLBACK_THREAD_POOL_SIZE

from fedward.flare.messages import stream_guard, stream_slots
from fedward.flare.messages.stream_guard import StreamGuard

MEGABYTE = 2**20
SOON_S = 10.0


@pytest.fixture
def guarded(monkeypatch: pytest.MonkeyPatch) -> Iterator[StreamGuard]:
    for place, name in (
        (TxTask, "handle_ack"),
        (blob_streamer, "BlobTask"),
        (BlobHandler, "handle_blob_cb"),
        (BlobHandler, "_run_blob_cb"),
        (ByteReceiver, "_data_handler"),
        (RxTask, "process_chunk"),
        (RxTask, "_schedule_remove_task"),
        (byte_receiver, "MAX_PEER_DERIVED_OUT_SEQ_CHUNKS"),
        (byte_receiver, "READ_TIMEOUT"),
        (socket_conn, "MAX_FRAME_SIZE"),
        (grpc_driver, "GRPC_DEFAULT_OPTIONS"),
    ):
        monkeypatch.setattr(place, name, getattr(place, name))
    monkeypatch.setattr(HistPool, "record_value", HistPool.record_value)
    monkeypatch.setattr(CounterPool, "increment", CounterPool.increment)
    monkeypatch.setattr(RxTask, "find_or_create_task", RxTask.__dict__["find_or_create_task"])
    monkeypatch.setattr(RxTask, "rx_task_map", {})
    yield stream_guard.install()
    for task in list(RxTask.rx_task_map.values()):  # their threads are those of every test
        task.stop(StreamError("test is over"), notify=False)


class Sent(Stream):  # type: ignore[misc]
    """A stream that announces one size and brings these bytes."""

    def __init__(self, says: int, brings: bytes) -> None:
        super().__init__(says, {})
        self._brings = brings

    def read(self, size: int) -> bytes:
        taken, self._brings = self._brings[:size], self._brings[size:]
        return taken


def received(says: int, brings: bytes) -> Any:
    """Return the content that FLARE's handler of a stream gives its callback."""
    handler, future = blob_streamer.BlobHandler(lambda future: None), StreamFuture(1, {})
    handler._read_stream(blob_streamer.BlobTask(future, Sent(says, brings), handler.max_blob_size))
    return future.result(timeout=5.0)


def peak_of(says: int) -> int:
    tracemalloc.start()
    try:
        with pytest.raises(StreamError):
            received(says, b"short")
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_declared_size_costs_no_memory(guarded: None) -> None:
    assert peak_of(512 * MEGABYTE) < 16 * MEGABYTE  # threads of earlier tests may allocate a little beside it


def test_flare_alone_fills_a_buffer_of_the_declared_size() -> None:
    assert peak_of(512 * MEGABYTE) > 512 * MEGABYTE


@pytest.mark.parametrize("size", [1, 1023, MEGABYTE, 3 * MEGABYTE + 7])
def test_a_stream_arrives_as_it_was_sent(guarded: None, size: int) -> None:
    content = bytes(range(256)) * (size // 256 + 1)
    assert bytes(received(size, content[:size])) == content[:size]


def test_a_stream_is_no_longer_than_it_said(guarded: None) -> None:
    with pytest.raises(StreamError):
        received(10, b"eleven bytes")


Serve = Callable[[str, bytes], None]


class Receiver:
    """FLARE's receiver of a process, from the frame on; each stream is handled as the process handles requests.

    Args:
        serve: given a stream's sender and what came, on one of FLARE's threads.
    """

    def __init__(self, serve: Serve = lambda origin, content: None) -> None:
        cell = SimpleNamespace(
            register_request_cb=lambda **named: None,
            fire_and_forget=lambda *given, **named: {},
            my_info=SimpleNamespace(fqcn="server"),
        )
        self._bytes = ByteReceiver(cell)

        def blob(future: Any) -> None:
            serve(future.headers[MessageHeaderKey.ORIGIN], bytes(future.result()))

        BlobStreamer(None, self._bytes).register_blob_callback("c", "t", blob)

    def frame(
        self,
        origin: str,
        number: int,
        content: bytes = b"x",
        *,
        place: int = 0,
        size: int = 100,
        last: bool = False,
        person: str | None = None,
        connection: str | None = None,
        **more: Any,
    ) -> Any:
        """One frame; FLARE's task for its stream, or None."""
        headers = {
            MessageHeaderKey.ORIGIN: origin,
            StreamHeaderKey.STREAM_ID: number,
            StreamHeaderKey.CHANNEL: "c",
            StreamHeaderKey.TOPIC: "t",
            StreamHeaderKey.SEQUENCE: place,
            StreamHeaderKey.SIZE: size,
            StreamHeaderKey.DATA_TYPE: StreamDataType.FINAL if last else StreamDataType.CHUNK,
        }
        message = Message(headers | {getattr(StreamHeaderKey, name): value for name, value in more.items()}, content)
        message.set_prop(MessagePropKey.COMMON_NAME, person)
        message.set_prop(stream_guard.CONNECTION, connection)
        self._bytes._data_handler(message)
        return RxTask.rx_task_map.get((origin, number))

    def whole(self, origin: str, number: int, content: bytes = b"whole", **more: Any) -> Any:
        return self.frame(origin, number, content, size=len(content), last=True, **more)


class Served:
    """Handler that notes the origins that it served; those of ``slow`` only when the test is over."""

    def __init__(self, *slow: str) -> None:
        self.slow, self.over, self.names = slow, threading.Event(), []  # type: ignore[var-annotated]

    def __call__(self, origin: str, content: bytes) -> None:
        if origin in self.slow:
            self.over.wait(60.0)
        self.names.append(origin)

    def soon(self, name: str) -> bool:
        return until(lambda: name in self.names)


def until(condition: Callable[[], bool], *, within_s: float = SOON_S) -> bool:
    end = time.monotonic() + within_s
    while not condition() and time.monotonic() < end:
        time.sleep(0.002)
    return condition()


def test_who_leaves_streams_open_keeps_nobody_from_being_served(guarded: StreamGuard) -> None:
    served = Served()
    receiver = Receiver(served)
    kept = [receiver.frame("north-clinic", number) for number in range(500)]
    assert sum(task is not None for task in kept) == stream_slots.MOST_OF_A_CELL
    receiver.whole("south-clinic", 1)
    assert served.soon("south-clinic")
    receiver.frame("north-clinic", 0, bytes(99), place=1, last=True)
    assert served.soon("north-clinic"), "a stream that is open goes on"
    assert until(lambda: receiver.frame("north-clinic", 900) is not None), "one that ended makes room"


def test_who_asks_for_what_takes_long_keeps_nobody_from_being_served(guarded: StreamGuard) -> None:
    """All of a stream has come, and its handler still holds one of the threads that everybody shares."""
    served = Served("north-clinic")
    receiver = Receiver(served)
    for number in range(500):
        receiver.whole("north-clinic", number)
    receiver.whole("south-clinic", 1)
    try:
        assert served.soon("south-clinic")
    finally:
        served.over.set()
    assert until(lambda: len(served.names) == stream_slots.MOST_OF_A_CELL + 1), "what was taken was served"


@pytest.mark.parametrize("fault", ["handler", "figure", "buffer"])
def test_a_stream_that_fails_holds_no_place(guarded: StreamGuard, fault: str) -> None:
    def broken(origin: str, content: bytes) -> None:
        raise RuntimeError("not now")

    receiver, size = Receiver(broken), {"figure": 10**400, "buffer": -1}.get(fault, 5)
    for number in range(5 * stream_slots.MOST_OF_A_CELL):
        with contextlib.suppress(OverflowError):
            receiver.frame("north-clinic", number, b"whole", size=size, last=True)
    assert until(lambda: receiver.frame("north-clinic", 900) is not None)


def test_all_consoles_of_a_person_share_and_one_that_hangs_leaves_room_for_another(guarded: StreamGuard) -> None:
    receiver = Receiver()

    def most(*names: str) -> int:
        given = [receiver.frame(name, number, person="it@north") for name in names for number in range(100)]
        return sum(task is not None for task in given)

    assert most("_admin_1") == stream_slots.MOST_OF_A_CELL
    assert most("_admin_2", "_admin_3", "_admin_4") == stream_slots.MOST_OF_A_PARTICIPANT - stream_slots.MOST_OF_A_CELL


def test_many_senders_together_leave_threads_for_the_next(guarded: StreamGuard) -> None:
    served = Served()
    receiver, names = Receiver(served), [f"clinic-{number}" for number in range(10)]
    kept = [receiver.frame(name, number) for name in names for number in range(50)]
    assert sum(task is not None for task in kept) < CALLBACK_THREAD_POOL_SIZE
    assert all(sum((name, number) in RxTask.rx_task_map for number in range(50)) >= 2 for name in names)
    receiver.whole("south-clinic", 1)
    assert served.soon("south-clinic")


def test_frames_of_one_stream_at_the_same_time_are_of_one_stream(guarded: StreamGuard) -> None:
    """Also where the stream is the last that its sender may have."""
    cell = SimpleNamespace(fire_and_forget=lambda *given, **named: {})
    headers = {MessageHeaderKey.ORIGIN: "north-clinic"}

    def second(number: int) -> Any:
        message = Message(headers | {StreamHeaderKey.STREAM_ID: number}, b"")
        return guarded.begin(lambda *given: RxTask(number, "north-clinic", cell), message, cell)

    first = [second(number) for number in range(stream_slots.MOST_OF_A_CELL)]
    assert None not in first
    assert [second(number) for number in range(stream_slots.MOST_OF_A_CELL)] == first


@pytest.mark.parametrize("place", [0, 1])
def test_a_stream_that_does_not_go_on_ends(guarded: StreamGuard, monkeypatch: pytest.MonkeyPatch, place: int) -> None:
    """Also one whose first frame never comes, for which FLARE has neither a reader nor an end."""
    assert byte_receiver.READ_TIMEOUT == stream_slots.STALL_S <= 60.0
    monkeypatch.setattr(stream_slots, "STALL_S", 0.5)
    monkeypatch.setattr(byte_receiver, "READ_TIMEOUT", 0.5)
    served = Served()
    receiver = Receiver(served)
    task, slow = receiver.frame("north-clinic", 1, place=place), receiver.frame("south-clinic", 2, size=8)
    for place in range(1, 8):
        time.sleep(0.3)
        receiver.frame("south-clinic", 2, place=place, last=place == 7)
    assert task.failed
    assert not slow.failed and served.soon("south-clinic"), "one that goes on slowly does not end"


def test_streams_end_with_their_connection(guarded: StreamGuard) -> None:
    """But those that FLARE's sender sends again, over its next connection."""
    receiver = Receiver()
    lost, again, other = (
        receiver.frame("north-clinic", 1, connection="CN1"),
        receiver.frame("north-clinic", 2, connection="CN1", RELIABLE=True),
        receiver.frame("south-clinic", 1, connection="CN2"),
    )
    guarded.end_of("CN1")
    assert [task.failed for task in (lost, again, other)] == [True, False, False]
    assert again.reliable


@pytest.mark.parametrize("asked", [3600.0, "for ever"])
def test_streams_that_have_ended_leave_no_thread_and_a_bounded_memory(guarded: StreamGuard, asked: object) -> None:
    """Whatever their sender says of how long it will try again."""
    served = Served()
    receiver = Receiver(served)
    receiver.whole("north-clinic", 10_000)
    before, more = threading.active_count(), {"RELIABLE": True, "RETRY_TIMEOUT": asked, "RETRY_WAIT": 0.0}
    last = stream_slots.MOST_KEPT + 50
    for number in range(last + 1):
        receiver.whole("north-clinic", number, **more)
        assert until(lambda so_far=number: len(served.names) == so_far + 2)  # type: ignore[misc]
    assert threading.active_count() - before < 2 * stream_slots.MOST_OF_A_CELL, "those that read and serve"
    assert len(RxTask.rx_task_map) <= stream_slots.MOST_KEPT
    assert all(task.stream_future is None and len(task.headers) == 0 for task in list(RxTask.rx_task_map.values())[:-1])
    receiver.whole("north-clinic", last, **more)
    time.sleep(0.2)
    assert len(served.names) == last + 2, "a frame that comes again begins no new stream"


def test_what_came_of_a_stream_is_not_kept_with_it(guarded: StreamGuard) -> None:
    served = Served()
    receiver = Receiver(served)
    tracemalloc.start()
    try:
        for number in range(40):
            receiver.whole("north-clinic", number, bytes(MEGABYTE), RELIABLE=True)
            assert until(lambda so_far=number: len(served.names) > so_far)  # type: ignore[misc]
        for number in range(8):
            failed = receiver.frame("south-clinic", number, bytes(MEGABYTE), place=1, RELIABLE=True)
            failed.stop(StreamError("it goes on no more"), notify=False)
        assert tracemalloc.get_traced_memory()[0] < 5 * MEGABYTE
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("reliable", [False, True])
@pytest.mark.parametrize("error", [None, "out of memory"])
def test_a_stream_is_acknowledged_and_ended_by_its_receiver_alone(
    guarded: None, reliable: bool, error: str | None
) -> None:
    for answering, heard in (("south-clinic", False), ("north-clinic", True)):
        cell = SimpleNamespace(fire_and_forget=lambda *given, **named: {})
        task = TxTask(cell, MEGABYTE, "c", "t", "north-clinic", {}, Sent(3, b"abc"), reliable, False, False)
        headers = {
            MessageHeaderKey.ORIGIN: answering,
            StreamHeaderKey.STREAM_ID: task.sid,
            StreamHeaderKey.OFFSET: 3,
            StreamHeaderKey.SEQUENCE: 0,
            StreamHeaderKey.ERROR_MSG: error,
        }
        task.handle_ack(Message(headers))
        assert (task.offset_ack == 3 or task.stopped) is heard, answering
        task.stop(StreamError("test is over"), notify=False)


def test_no_frame_is_larger_than_any_that_is_sent(guarded: None) -> None:
    assert dict(GrpcDriver().options)["grpc.max_receive_message_length"] == stream_guard.LARGEST_FRAME
    head = bytearray(PREFIX_LEN)
    Prefix(2**30, 0, 1, 0, 0, 1, 1, 1).to_buffer(head, 0)
    connection = socket_conn.SocketConnection.__new__(socket_conn.SocketConnection)
    connection.sock = SimpleNamespace(
        recv_into=lambda view, size: view.__setitem__(slice(0, size), bytes(head)[:size]) or size
    )
    with pytest.raises(CommError, match="exceeds limit"):
        connection.read_frame()


def test_figures_are_kept_under_a_bounded_number_of_names(guarded: None) -> None:
    times, counts = HistPool("times", "", [1.0, 2.0], "s"), CounterPool("counts", "", [], dynamic_counter_name=True)
    for number in range(stream_guard.MOST_FIGURES + 50):
        times.record_value(f"drawn {number}", 1.5)
        counts.increment(f"drawn {number}", "received")
        counts.increment("drawn 0", f"drawn {number}")
    assert len(times.cat_bins) == len(counts.cat_counters) == len(counts.counter_names) == stream_guard.MOST_FIGURES
    counts.increment("drawn 0", "received")
    assert counts.cat_counters["drawn 0"]["received"] == 2, "what is known is counted on"
