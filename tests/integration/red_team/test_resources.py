"""Memory that a participant would have the server fill, and a hospital's own machine with others on it."""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Iterator

import msgpack
import psutil
import pytest
from nvflare.fuel.f3.cellnet.core_cell import CoreCell
from nvflare.fuel.f3.endpoint import Endpoint
from nvflare.fuel.f3.message import Message
from nvflare.fuel.f3.sfm.constants import HandshakeKeys, Types
from nvflare.fuel.f3.sfm.prefix import PREFIX_LEN, Prefix

from fedward.flare.local_peers import owner_of
from tests.integration.red_team.raw import Participant
from tests.integration.red_team.scene import Scene

pytestmark = pytest.mark.integration

MEGABYTE = 2**20
SETTLE_S = 2.0
NOBODY = 65534


def parent_of(stage: Scene, name: str) -> psutil.Process:
    """The parent process of the server ("server") or of a site."""
    kit = stage.kits.server if name == "server" else stage.kits.sites[name]
    module = "server_train" if name == "server" else "client_train"
    found = [
        one
        for one in stage.federation.processes()
        if any(module in word for word in one.cmdline()) and str(kit) in " ".join([*one.cmdline(), one.cwd()])
    ]
    return min(found, key=lambda one: one.create_time())


def stream_frame(attacker: Participant, number: int, *, place: int, size: int) -> dict[str, object]:
    mine = attacker.cell.core_cell.get_fqcn()
    console = mine.startswith("_admin_")
    inner = ("hci_channel", "command") if console else ("server_command", "get_task")
    return {
        "cn__msg_type": "req",
        "cn__channel": "sm__STREAM",
        "cn__topic": "sm__DATA",
        "cn__origin": mine,
        "cn__destination": "server",
        "cn__reply_expected": False,
        "sm__ch": inner[0],
        "sm__tp": inner[1],
        "sm__id": number,
        "sm__sq": place,
        "sm__sz": size,
        "sm__dt": 1,
        "sm__pe": "bytes",
    }


def signed(attacker: Participant, headers: dict[str, object], payload: bytes) -> None:
    """With the token that the server gave the attacker, which FLARE asks of every message."""
    message = Message(dict(headers), payload)
    for found in attacker.cell.core_cell.out_req_filter_reg.find("*", "*") or []:
        found.cb(message, *found.args, **found.kwargs)
    attacker.cell.core_cell.communicator.send(Endpoint("server"), CoreCell.APP_ID, message)


def test_no_participant_fills_the_servers_memory(stage: Scene, attacker: Participant) -> None:
    server = parent_of(stage, "server")
    before = server.memory_info().rss
    for number in range(4):
        signed(attacker, stream_frame(attacker, 1000 + number, place=0, size=900 * MEGABYTE), b"short")
    for number in range(2000):
        signed(attacker, stream_frame(attacker, 5000 + number, place=1, size=10), b"x" * 10_000)
    time.sleep(SETTLE_S)
    assert server.memory_info().rss - before < 200 * MEGABYTE
    assert stage.victim in stage.session.connected()


def test_a_frame_that_is_too_large_costs_its_sender_the_connection(stage: Scene, attacker: Participant) -> None:
    server = parent_of(stage, "server")
    before = server.memory_info().rss
    attacker.raw({"cn__msg_type": "req", "cn__origin": "x", "cn__destination": "server"}, bytes(48 * MEGABYTE))
    time.sleep(SETTLE_S)
    assert server.memory_info().rss - before < 40 * MEGABYTE
    assert stage.victim in stage.session.connected()


@pytest.fixture
def as_another_user() -> Iterator[None]:
    if os.geteuid() != 0:
        pytest.skip("only the machine's administrator can be another user")
    yield
    os.seteuid(0)


def hello(port: int, name: str, *, user: int) -> socket.socket:
    """A connection to a listener within the machine, by a process of that user, that gives a name."""
    os.seteuid(user)
    try:
        connection = socket.create_connection(("127.0.0.1", port), timeout=5.0)
    finally:
        os.seteuid(0)
    payload = msgpack.packb({HandshakeKeys.ENDPOINT_NAME: name, HandshakeKeys.TIMESTAMP: 0.0})
    head = bytearray(PREFIX_LEN)
    Prefix(PREFIX_LEN + len(payload), 0, Types.HELLO, 0, 0, 0, 1, 1).to_buffer(head, 0)
    connection.sendall(bytes(head) + payload)
    return connection


def is_closed(connection: socket.socket) -> bool:
    """Whether the other end hangs up, after whatever it has to say."""
    connection.settimeout(3.0)
    try:
        while connection.recv(4096):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True


def test_another_user_of_the_machine_is_not_heard(stage: Scene, as_another_user: None) -> None:
    for name, child in (("server", f"server.{uuid.uuid4()}"), (stage.victim, f"{stage.victim}.{uuid.uuid4()}")):
        listening = parent_of(stage, name).net_connections(kind="inet4")
        federation = stage.spec.server.port
        (port,) = {one.laddr.port for one in listening if one.status == "LISTEN"} - {federation}
        with hello(port, child, user=NOBODY) as theirs, hello(port, child, user=0) as own:
            assert owner_of(theirs.getsockname(), theirs.getpeername()) == NOBODY
            assert is_closed(theirs)
            assert not is_closed(own), "the service's own user is heard"
