"""Identify the other end of a connection within a machine, by the kernel's own list."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from fedward.flare.messages.local_peers import TABLE, owner_of, refuse_local


def test_a_process_of_ones_own_user_is_heard_from_both_ends() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
        server.accept()[0] as accepted,
    ):
        assert refuse_local(accepted.getsockname(), accepted.getpeername()) is None
        assert refuse_local(client.getsockname(), client.getpeername()) is None


def test_a_process_of_another_user_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()),
        server.accept()[0] as accepted,
    ):
        here, there = accepted.getsockname(), accepted.getpeername()
        assert owner_of(there, here) == os.getuid()
        monkeypatch.setattr(os, "getuid", lambda: 12345)
        assert refuse_local(here, there) == "process at the other end is of another user"


@pytest.mark.parametrize("content", [None, "", "sl local rem\n", "h\n0: 0100007F:0001 0100007F:0002 01\n", "h\n\x00\n"])
def test_who_is_not_told_is_refused(tmp_path: Path, content: str | None) -> None:
    table = tmp_path / "tcp"
    if content is not None:
        table.write_text(content)
    assert refuse_local(("127.0.0.1", 2), ("127.0.0.1", 1), table=table) is not None


def test_another_connections_owner_is_not_taken(tmp_path: Path) -> None:
    """Both ends must be those of this connection: a port alone can be many sockets'."""
    table = tmp_path / "tcp"
    row = "0: 0100007F:{:04X} 0100007F:{:04X} 01 0:0 00:0 0 {} 0 1"
    table.write_text("head\n" + "\n".join([row.format(1, 9, 7), row.format(1, 2, 8), row.format(3, 2, 9)]))
    assert owner_of(("127.0.0.1", 1), ("127.0.0.1", 2), table=table) == 8


NOBODY = 65534


@pytest.mark.parametrize("unread", [0, 1])
def test_a_socket_that_its_process_has_closed_is_nobodys(unread: int) -> None:
    """The kernel goes on listing it, as the administrator's: a service that runs as root would take it for its own."""
    if os.geteuid() != 0:
        pytest.skip("only the machine's administrator can be another user")
    with socket.create_server(("127.0.0.1", 0)) as server:
        os.seteuid(NOBODY)
        try:
            client = socket.create_connection(server.getsockname())
        finally:
            os.seteuid(0)
        with server.accept()[0] as accepted:
            here, there = accepted.getsockname(), accepted.getpeername()
            assert owner_of(there, here) == NOBODY
            client.sendall(bytes(unread))
            client.close()
            assert owner_of(there, here) is None
            assert refuse_local(here, there) is not None


@pytest.mark.parametrize("state", range(1, 13))
@pytest.mark.parametrize("inode", [0, 77])
def test_only_a_connected_socket_with_an_inode_has_an_owner(tmp_path: Path, state: int, inode: int) -> None:
    table = tmp_path / "tcp"
    table.write_text(f"head\n0: 0100007F:0001 0100007F:0002 {state:02X} 0:0 00:0 0 {os.getuid()} 0 {inode}")
    connected = state == 1 and inode != 0
    assert owner_of(("127.0.0.1", 1), ("127.0.0.1", 2), table=table) == (os.getuid() if connected else None)


def test_another_machine_has_no_owner_here() -> None:
    assert TABLE.exists()
    assert refuse_local(("10.0.0.1", 5), ("10.0.0.2", 6)) is None
