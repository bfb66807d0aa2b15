"""What FLARE keeps in memory for a peer, and whose word ends a stream, with FLARE's own classes."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from nvflare.fuel.f3.cellnet.defs import MessageHeaderKey
from nvflare.fuel.f3.comm_error import CommError
from nvflare.fuel.f3.drivers import grpc_driver, socket_conn
from nvflare.fuel.f3.drivers.grpc_driver import GrpcDriver
from nvflare.fuel.f3.message import Message
from nvflare.fuel.f3.sfm.prefix import PREFIX_LEN, Prefix
from nvflare.fuel.f3.stats_pool import CounterPool, HistPool
from nvflare.fuel.f3.streaming import blob_streamer, byte_receiver
from nvflare.fuel.f3.streaming.byte_receiver import RxTask
from nvflare.fuel.f3.streaming.byte_streamer import TxTask
from nvflare.fuel.f3.streaming.stream_const import StreamHeaderKey
from nvflare.fuel.f3.streaming.stream_types import Stream, StreamError, StreamFuture

from fedward.flare import stream_guard

MEGABYTE = 2**20


@pytest.fixture
def guarded(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for place, name in (
        (TxTask, "handle_ack"),
        (blob_streamer, "BlobTask"),
        (byte_receiver, "MAX_PEER_DERIVED_OUT_SEQ_CHUNKS"),
        (socket_conn, "MAX_FRAME_SIZE"),
        (grpc_driver, "GRPC_DEFAULT_OPTIONS"),
    ):
        monkeypatch.setattr(place, name, getattr(place, name))
    monkeypatch.setattr(HistPool, "record_value", HistPool.record_value)
    monkeypatch.setattr(CounterPool, "increment", CounterPool.increment)
    monkeypatch.setattr(RxTask, "find_or_create_task", RxTask.__dict__["find_or_create_task"])
    monkeypatch.setattr(RxTask, "rx_task_map", {})
    stream_guard.install()
    yield


class Sent(Stream):  # type: ignore[misc]
    """A stream that says one size and brings these bytes."""

    def __init__(self, says: int, brings: bytes) -> None:
        super().__init__(says, {})
        self._brings = brings

    def read(self, size: int) -> bytes:
        taken, self._brings = self._brings[:size], self._brings[size:]
        return taken


def received(says: int, brings: bytes) -> Any:
    """What FLARE's handler of a stream gives its callback."""
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
    assert peak_of(512 * MEGABYTE) < MEGABYTE


def test_flare_alone_fills_a_buffer_of_the_declared_size() -> None:
    assert peak_of(512 * MEGABYTE) > 512 * MEGABYTE


@pytest.mark.parametrize("size", [1, 1023, MEGABYTE, 3 * MEGABYTE + 7])
def test_a_stream_arrives_as_it_was_sent(guarded: None, size: int) -> None:
    content = bytes(range(256)) * (size // 256 + 1)
    assert bytes(received(size, content[:size])) == content[:size]


def test_a_stream_is_no_longer_than_it_said(guarded: None) -> None:
    with pytest.raises(StreamError):
        received(10, b"eleven bytes")


def tasks_of(origin: str, numbers: range) -> list[Any]:
    cell = SimpleNamespace(fire_and_forget=lambda *given, **named: {})
    found = []
    for number in numbers:
        headers = {StreamHeaderKey.STREAM_ID: number, MessageHeaderKey.ORIGIN: origin}
        found.append(RxTask.find_or_create_task(Message(headers, b""), cell))
    return found


def test_a_sender_has_a_bounded_number_of_streams_open_and_keeps_nobody_else_out(guarded: None) -> None:
    assert sum(task is not None for task in tasks_of("north-clinic", range(10_000))) == stream_guard.MOST_OPEN
    assert tasks_of("south-clinic", range(1)) != [None]
    known = tasks_of("north-clinic", range(1))[0]
    assert known is not None, "a stream that is open goes on"
    known.completed = True
    assert tasks_of("north-clinic", range(10_000, 10_001)) != [None], "one that ended makes room"


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
