"""Memory, threads and workers that a participant would take from the others, who are served meanwhile; other users of a
hospital's machine."""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator

import grpc
import msgpack
import psutil
import pytest
from nvflare.fuel.f3.cellnet.core_cell import CoreCell
from nvflare.fuel.f3.drivers.grpc.streamer_pb2_grpc import StreamerStub
from nvflare.fuel.f3.endpoint import Endpoint
from nvflare.fuel.f3.message import Message
from nvflare.fuel.f3.sfm.constants import HandshakeKeys, Types
from nvflare.fuel.f3.sfm.prefix import PREFIX_LEN, Prefix

from fedward.flare.listener.connection_guard import MOST_CALLS
from fedward.flare.messages.local_peers import owner_of
from fedward.flare.messages.silent_connections import HANDSHAKE_S
from tests.integration.red_team.raw import Participant, is_heard_as, participant
from tests.integration.red_team.scene import LEAD, MEMBER, OPERATOR, ROGUE, Scene

pytestmark = pytest.mark.integration

MEGABYTE = 2**20
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


def stream_frame(
    attacker: Participant, number: int, *, place: int, size: int, job: str | None = None, last: bool = False
) -> dict[str, object]:
    """Of a console to the server, or in the name of a hospital's process of a job to the server's."""
    mine = attacker.cell.core_cell.get_fqcn() + ("" if job is None else f".{job}")
    inner = ("hci_channel", "command") if job is None else ("server_command", "get_task")
    return {
        "cn__msg_type": "req",
        "cn__channel": "sm__STREAM",
        "cn__topic": "sm__DATA",
        "cn__origin": mine,
        "cn__route": [(mine, 0.0)],
        "cn__destination": "server" if job is None else f"server.{job}",
        "cn__reply_expected": False,
        "sm__ch": inner[0],
        "sm__tp": inner[1],
        "sm__id": number,
        "sm__sq": place,
        "sm__sz": size,
        "sm__dt": 2 if last else 1,
        "sm__pe": "bytes",
    }


def signed(attacker: Participant, headers: dict[str, object], payload: bytes | None) -> None:
    """With the token that the server gave the attacker, which FLARE asks of every message."""
    message = Message(dict(headers), payload)
    for found in attacker.cell.core_cell.out_req_filter_reg.find("*", "*") or []:
        found.cb(message, *found.args, **found.kwargs)
    attacker.cell.core_cell.communicator.send(Endpoint("server"), CoreCell.APP_ID, message)


def until(condition: Callable[[], bool], *, within_s: float) -> bool:
    end = time.monotonic() + within_s
    while not condition() and time.monotonic() < end:
        time.sleep(0.1)
    return condition()


@pytest.fixture
def member(stage: Scene) -> Iterator[Participant]:
    with participant(stage.kits.people[MEMBER], stage.spec, name=MEMBER, is_console=True) as connected:
        yield connected


@pytest.mark.parametrize("attacker", [MEMBER, LEAD, OPERATOR], indirect=True)
def test_a_consoles_streams_hold_up_no_other_and_fill_no_memory(stage: Scene, attacker: Participant) -> None:
    server = parent_of(stage, "server")
    before = server.memory_info().rss
    for number in range(200):
        size = 900 * MEGABYTE if number < 4 else 100
        signed(attacker, stream_frame(attacker, 1000 + number, place=0, size=size), b"short")
    for number in range(2000):
        signed(attacker, stream_frame(attacker, 5000 + number, place=1, size=10), b"x" * 10_000)
    mine = attacker.cell.core_cell.get_fqcn()
    assert until(lambda: f"too many open streams; from {mine}" in stage.log_of_the_server, within_s=20.0)
    assert stage.victim in stage.session.connected(), "another console is served"
    assert server.memory_info().rss - before < 200 * MEGABYTE


def test_a_hospitals_streams_hold_up_no_job_and_fill_no_memory(stage: Scene, running_job: str) -> None:
    """At the server's process of a job, to which the server's parent process passes them on."""
    folder, log = stage.kits.server / running_job, stage.kits.sites[stage.victim] / running_job / "log.txt"
    process = next(one for one in stage.federation.processes() if running_job in " ".join([*one.cmdline(), one.cwd()]))
    before = process.memory_info().rss

    def rounds() -> int:
        return log.read_text(errors="replace").count("pull_task completed. Task name:fedward_round")

    with participant(stage.kits.folder / ROGUE, stage.spec, name=ROGUE, is_console=False) as rogue:
        for number in range(200):
            size = 900 * MEGABYTE if number < 4 else 100
            signed(rogue, stream_frame(rogue, 1000 + number, place=0, size=size, job=running_job), b"x")
        refused = f"too many open streams; from {ROGUE}.{running_job}"
        assert until(lambda: refused in (folder / "log.txt").read_text(errors="replace"), within_s=20.0)
        before_them = rounds()
        assert until(lambda: rounds() >= before_them + 2, within_s=60.0), "the other hospitals' job goes on"
    assert process.memory_info().rss - before < 200 * MEGABYTE


def test_streams_that_have_ended_leave_no_threads_at_the_server(stage: Scene, member: Participant) -> None:
    server = parent_of(stage, "server")
    before = server.num_threads()
    for number in range(300):
        ended = stream_frame(member, 200_000 + number, place=0, size=1, last=True)
        signed(member, ended | {"sm__rs": True, "sm__rt": 3600.0, "sm__rw": 0.0}, b"x")
    assert stage.victim in stage.session.connected(), "another console is served"
    assert not until(lambda: server.num_threads() - before > 60, within_s=4.0)


def test_idle_calls_keep_nobody_out(stage: Scene) -> None:
    startup = stage.kits.people[MEMBER] / "startup"
    root, key, own = ((startup / name).read_bytes() for name in ("rootCA.pem", "client.key", "client.crt"))
    address, over = f"{stage.spec.server.host}:{stage.spec.server.port}", threading.Event()

    def nothing() -> Iterator[object]:
        over.wait()
        yield from ()

    with grpc.secure_channel(address, grpc.ssl_channel_credentials(root, key, own)) as channel:
        try:
            calls = [StreamerStub(channel).Stream(nothing()) for _ in range(150)]
            assert until(lambda: sum(call.done() for call in calls) >= 150 - MOST_CALLS, within_s=10.0)
            assert is_heard_as(stage.kits.folder / ROGUE, stage.spec, ROGUE, wait_s=15.0), "another hospital is let in"
            assert stage.victim in stage.session.connected(), "and a console is served"
            assert until(lambda: all(call.done() for call in calls), within_s=HANDSHAKE_S + 10.0)
        finally:
            over.set()


def test_a_participant_writes_no_line_into_the_servers_log(stage: Scene, member: Participant) -> None:
    forged = "2026-11-28 00:00:00,000 - door - WARNING - certificate of 'city-hospital' is revoked: FORGED"
    failure = stream_frame(member, 1, place=0, size=1) | {"cn__topic": "sm__ERROR", "sm__em": f"x\n{forged}"}
    signed(member, failure, None)
    signed(member, failure | {"sm__tp": f"y\n{forged}", "sm__em": "z"}, None)
    assert until(lambda: "FORGED" in stage.log_of_the_server, within_s=10.0), (
        "what was said is there, in a line of FLARE's"
    )
    assert until(lambda: "not short and printable" in stage.log_of_the_server, within_s=10.0)
    assert not any(line.startswith(forged[:24]) for line in stage.log_of_the_server.splitlines())


def test_a_frame_that_is_too_large_costs_its_sender_the_connection(stage: Scene, attacker: Participant) -> None:
    server, ends = parent_of(stage, "server"), attacker.cell.core_cell.communicator.conn_manager.sfm_endpoints

    def connection() -> str:
        open_ones = ends["server"].connections
        return open_ones[0].get_name() if open_ones else ""

    before, first = server.memory_info().rss, connection()
    assert first
    attacker.raw({"cn__msg_type": "req", "cn__origin": "x", "cn__destination": "server"}, bytes(48 * MEGABYTE))
    assert until(lambda: connection() not in ("", first), within_s=20.0), "it has had to connect again"
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
    assert owner_of(connection.getsockname(), connection.getpeername()) == user, "before the door may hang up"
    payload = msgpack.packb({HandshakeKeys.ENDPOINT_NAME: name, HandshakeKeys.TIMESTAMP: 0.0})
    head = bytearray(PREFIX_LEN)
    Prefix(PREFIX_LEN + len(payload), 0, Types.HELLO, 0, 0, 0, 1, 1).to_buffer(head, 0)
    connection.sendall(bytes(head) + payload)
    return connection


def is_closed(connection: socket.socket) -> bool:
    """True if the other end closes the connection, after any bytes that it sends first."""
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
            assert is_closed(theirs)
            assert not is_closed(own), "the service's own user is heard"
