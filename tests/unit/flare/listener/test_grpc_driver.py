"""Check the server's gRPC driver with real calls over TLS: who holds its workers, and for how long."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import msgpack
import pytest
from nvflare.fuel.f3.drivers import grpc_driver
from nvflare.fuel.f3.drivers.driver_params import DriverParams
from nvflare.fuel.f3.drivers.grpc.streamer_pb2 import Frame
from nvflare.fuel.f3.drivers.grpc.streamer_pb2_grpc import StreamerStub
from nvflare.fuel.f3.drivers.grpc_driver import GrpcDriver
from nvflare.fuel.f3.endpoint import Endpoint
from nvflare.fuel.f3.sfm.conn_manager import ConnManager, Mode
from nvflare.fuel.f3.sfm.constants import HandshakeKeys, Types
from nvflare.fuel.f3.sfm.prefix import PREFIX_LEN, Prefix

from fedward.flare.listener import grpc_driver as server_driver
from fedward.flare.listener.connection_guard import CROWDED, MOST_CALLS, ConnectionGuard
from fedward.flare.listener.health import hello_handler
from fedward.flare.local_federation import free_port
from fedward.flare.messages import silent_connections
from fedward.provisioning.crl import make_crl
from tests.support.authority import authority, key_pem, pem

AUTHORITY = authority()
WORKERS = 24
SOON_S = 20.0


class Call:
    """A call of a participant, which says these frames and stays open as long as the server lets it."""

    def __init__(self, channel: grpc.Channel, frames: tuple[bytes, ...], over: threading.Event) -> None:
        self.answers: list[Any] = []
        self.error: grpc.RpcError | None = None
        self._call = StreamerStub(channel).Stream(self._said(frames, over))
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    @staticmethod
    def _said(frames: tuple[bytes, ...], over: threading.Event) -> Iterator[Frame]:
        yield from (Frame(seq=1, data=frame) for frame in frames)
        over.wait()

    def _read(self) -> None:
        try:
            self.answers.extend(self._call)
        except grpc.RpcError as error:
            self.error = error

    def has_ended(self) -> bool:
        return not self._reading.is_alive()

    def is_crowded_out(self) -> bool:
        found: Any = self.error
        return found is not None and (found.code(), found.details()) == (grpc.StatusCode.RESOURCE_EXHAUSTED, CROWDED)


@dataclass(frozen=True)
class Door:
    """A server that listens.

    Attributes:
        ended: names of the connections that have ended.
    """

    address: str
    ended: list[str]

    @contextmanager
    def calls(self, name: str, count: int, *frames: bytes) -> Iterator[list[Call]]:
        """Calls over one connection of a participant."""
        credentials = grpc.ssl_channel_credentials(pem(AUTHORITY.root), key_pem(), pem(AUTHORITY.issue(name)))
        over = threading.Event()
        with grpc.secure_channel(self.address, credentials) as channel:
            try:
                yield [Call(channel, frames, over) for _ in range(count)]
            finally:
                over.set()

    def serves(self, name: str) -> bool:
        """True if the server answers a handshake of that participant."""
        with self.calls(name, 1, hello(name)) as (call,):
            return until(lambda: bool(call.answers) or call.has_ended()) and bool(call.answers)


def hello(name: str) -> bytes:
    payload = msgpack.packb({HandshakeKeys.ENDPOINT_NAME: name, HandshakeKeys.TIMESTAMP: 0.0})
    head = bytearray(PREFIX_LEN)
    Prefix(PREFIX_LEN + len(payload), 0, Types.HELLO, 0, 0, 0, 1, 1).to_buffer(head, 0)
    return bytes(head) + payload


def until(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + SOON_S
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


@pytest.fixture
def door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Door]:
    monkeypatch.setattr(ConnManager, "handle_new_connection", ConnManager.handle_new_connection)
    monkeypatch.setattr(ConnManager, "close_connection", ConnManager.close_connection)
    monkeypatch.setattr(grpc_driver, "StreamConnection", server_driver._DoorConnection)
    monkeypatch.setattr(silent_connections, "HANDSHAKE_S", 1.0)
    ended: list[str] = []
    silent_connections.install(ended.append)
    (tmp_path / "revoked.crl").write_bytes(
        make_crl(root=AUTHORITY.root, key=AUTHORITY.key, revoked={3: datetime.now(UTC)}, number=1)
    )
    doorkeeper = ConnectionGuard(tmp_path / "revoked.crl", root=AUTHORITY.root, log=lambda line: None)

    class Driver(server_driver._DoorDriver):
        keeper, answering = doorkeeper, hello_handler(doorkeeper)

    files = {
        DriverParams.CA_CERT: pem(AUTHORITY.root),
        DriverParams.SERVER_CERT: pem(AUTHORITY.issue("localhost", server_only=True)),
        DriverParams.SERVER_KEY: key_pem(),
    }
    params: dict[str, Any] = {"scheme": "grpc", "host": "localhost", "port": free_port(), "path": ""}
    params["secure"] = True
    for param, content in files.items():
        (tmp_path / param.value).write_bytes(content)
        params[param.value] = str(tmp_path / param.value)
    driver, manager = Driver(), ConnManager(Endpoint("server"))
    driver.max_workers = WORKERS
    manager.add_connector(driver, params, Mode.PASSIVE)
    manager.start()
    assert until(lambda: getattr(driver, "server", None) is not None)
    with ExitStack() as stack:
        stack.callback(manager.stop)
        yield Door(f"localhost:{params['port']}", ended)


def test_a_participants_calls_are_a_small_part_of_the_servers_workers() -> None:
    assert GrpcDriver().max_workers > MOST_CALLS * 4


def test_idle_calls_of_one_participant_keep_nobody_out_and_end(door: Door) -> None:
    with door.calls("north-clinic", 3 * WORKERS) as idle:
        assert until(lambda: sum(call.is_crowded_out() for call in idle) == 3 * WORKERS - MOST_CALLS)
        assert door.serves("south-clinic")
        assert until(lambda: all(call.has_ended() for call in idle)), "a call without a handshake ends"
        assert until(lambda: door.serves("north-clinic")), "there is room again"


def test_a_call_that_begins_with_nonsense_ends_and_one_with_a_name_stays(door: Door) -> None:
    broken = hello("north-clinic")[:-9]
    with (
        door.calls("north-clinic", 1, broken) as (nonsense,),
        door.calls("south-clinic", 1, hello("south-clinic")) as (named,),
    ):
        assert until(nonsense.has_ended)
        time.sleep(1.5)
        assert not named.has_ended()
    assert until(lambda: len(door.ended) == 2), "who keeps streams for a connection hears of its end"


def test_a_call_whose_name_is_refused_holds_no_worker(door: Door) -> None:
    with door.calls("north-clinic", MOST_CALLS, hello("south-clinic")) as refused:
        assert until(lambda: all(call.has_ended() for call in refused))
        assert until(lambda: door.serves("north-clinic"))
