"""Check that the doctor's connection to a process leaves nothing open."""

from __future__ import annotations

import socket
from types import SimpleNamespace

from nvflare.fuel.f3.drivers.connector_info import ConnectorInfo, Mode
from nvflare.fuel.f3.drivers.socket_conn import SocketConnection
from nvflare.fuel.f3.drivers.tcp_driver import TcpDriver

from fedward.flare.probes.requests import let_go


def test_a_connection_whose_peer_hung_up_leaves_no_socket() -> None:
    driver = TcpDriver()
    driver.register_conn_monitor(SimpleNamespace(state_change=lambda connection: None))
    here, there = socket.socketpair()
    connection = SocketConnection(here, ConnectorInfo("CH00001", driver, {}, Mode.ACTIVE, 0, 0, False, False))
    driver.add_connection(connection)
    there.close()
    connection.read_loop()
    let_go(driver, connection)
    assert here.fileno() == -1 and driver.connections == {}
