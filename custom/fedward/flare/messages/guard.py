"""Holds every message that reaches a process of FLARE 2.9 against ``message_rules``, before FLARE reads it.

The one place that reaches into FLARE's cells. ``install`` changes FLARE's classes, so that it covers every cell that
the process opens afterwards, and does six things:

* a message that is on no list is dropped, and the log says so; its payload is never decoded;
* the name that a peer gives at the handshake is held against its connection and certificate;
* a request handler that FLARE, or whatever runs inside it, registers for a channel and topic that no list has is not
  registered: there is nothing to reach even for a message that slipped through;
* a payload may hold objects of a closed list of classes alone (``payload_types``);
* within the machine, only processes of its own user are heard (``local_peers``);
* what a peer can have FLARE keep in memory and on threads is bounded, and a stream is its receiver's to answer
  (``stream_guard``); a connection whose peer gives no name ends (``connection_guard``).

FLARE ends the server's job process when it cannot read one site's answer, and when any sender says that a stream was
too large. Here that site's answer is lost, and the job goes on.

Whatever throws in here refuses.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Any

from nvflare.fuel.f3.cellnet import cell as flare_cell
from nvflare.fuel.f3.cellnet.core_cell import CoreCell
from nvflare.fuel.f3.comm_error import CommError
from nvflare.fuel.f3.connection import Connection
from nvflare.fuel.f3.drivers.driver_params import DriverParams
from nvflare.fuel.f3.sfm.conn_manager import ConnManager, NullConnection
from nvflare.fuel.f3.streaming.byte_receiver import ByteReceiver

from fedward.errors import FederationError, GateError
from fedward.flare import payload_types
from fedward.flare.messages import silent_connections, stream_guard
from fedward.flare.messages.allowed import Party, serves
from fedward.flare.messages.header_forms import FREE_TEXTS, printable
from fedward.flare.messages.local_peers import refuse_local
from fedward.flare.messages.refusal_log import RefusalLog
from fedward.flare.messages.rules import Arrival, Link, plain_headers, read_name, refuse_message, refuse_peer

JOB_PROCESSES = frozenset(
    {
        "nvflare.private.fed.app.server.runner_process",
        "nvflare.private.fed.app.client.worker_process",
        "nvflare.private.fed.app.client.sub_worker_process",
    }
)
"""Processes of one job, by the module that FLARE starts them with."""

_log = logging.getLogger("fedward.door")
_MARK = "_fedward_guard"

Person = Callable[[str], bool]
"""Given the common name of a certificate that the server has let in: whether it is a person's."""
Bind = Callable[[str, str], bool]
"""Given a console's name and a certificate's common name: whether no other certificate has had that name."""


class MessageGuard:
    """The door of one process: it lets a message in or drops it.

    Args:
        is_person: at a server.
        binds: at a server.
    """

    def __init__(
        self, *, is_person: Person = lambda certificate: False, binds: Bind = lambda console, certificate: False
    ) -> None:
        self._is_person, self._binds = is_person, binds
        self._refusals = RefusalLog()

    def passes(self, cell: Any, endpoint: Any, connection: Any, message: Any) -> bool:
        """True where FLARE may have a message; False also where anything of it cannot be judged."""
        arrival: Arrival | None = None
        headers: Any = None
        try:
            arrival = self._arrival(cell, endpoint.name, connection)
            headers = plain_headers(message.headers)
            why = refuse_message(cell.my_info.fqcn, headers, arrival, empty=not message.payload)
        except Exception as error:  # noqa: BLE001 - fail closed, whatever it was
            why = f"message cannot be judged ({type(error).__name__})"
        if why is None:
            return True
        about = "from nobody known" if arrival is None else f"from {_word(arrival.peer)}"
        if type(headers) is dict:
            about += f", {_word(headers.get('channel'))} {_word(headers.get('topic'))}"
        self._refusals.say(why, _proven(arrival), about)
        return False

    def welcomes(self, manager: Any, name: object, connection: Any) -> str | None:
        """Why a peer may not have the name that it gives at the handshake; None where it may."""
        arrival: Arrival | None = None
        try:
            cell = manager.receivers.get(CoreCell.APP_ID)
            if cell is None or type(name) is not str:
                return "peer gives no name"
            arrival = self._arrival(cell, name, connection)
            why = refuse_peer(cell.my_info.fqcn, arrival)
            if why is None and arrival.link is Link.MACHINE:
                why = refuse_local(connection.sock.getsockname()[:2], connection.sock.getpeername()[:2])
            known = read_name(name)
            if why is None and known is not None and known.party is Party.CONSOLE:
                why = None if self._binds(name, str(arrival.certificate)) else "console's name is another person's"
        except Exception as error:  # noqa: BLE001 - fail closed, whatever it was
            why = f"peer cannot be judged ({type(error).__name__})"
        if why is not None:
            self._refusals.say(why, _proven(arrival), f"from {_word(name) or 'nobody known'}")
        return why

    def _arrival(self, cell: Any, peer: str, connection: Any) -> Arrival:
        link = link_of(cell, connection)
        if link is not Link.FEDERATION:
            return Arrival(link, peer)
        certificate = connection.get_conn_properties().get(DriverParams.PEER_CN.value)
        known = type(certificate) is str and certificate not in ("", "N/A")
        return Arrival(link, peer, certificate if known else None, known and self._is_person(certificate))


def link_of(cell: Any, connection: Any) -> Link:
    """The kind of a connection, by the connector that it belongs to; the cell made those itself.

    Raises:
        FederationError: the connector is none of the cell's.
    """
    if connection is None or type(connection) is NullConnection:
        return Link.SELF
    handle = connection.connector.handle
    outer = [cell.bb_ext_connector, *cell.ext_listeners.values()]
    if any(one is not None and one.handle == handle for one in outer):
        return Link.FEDERATION
    if any(one is not None and one.handle == handle for one in (cell.bb_int_connector, cell.int_listener)):
        return Link.MACHINE
    raise FederationError("connection is of no connector of this cell")


def install(guard: MessageGuard) -> None:
    """Put a guard before every cell of this process, for as long as it lives.

    Raises:
        FederationError: FLARE has a cell already, a guard is there already, or FLARE's classes are not those of 2.9.
    """
    if CoreCell.ALL_CELLS or getattr(CoreCell, _MARK, None) is not None:
        raise FederationError("messages are to be guarded before the first cell is opened, and once")
    _guard_messages(guard)
    _guard_handshakes(guard)
    _guard_handlers()
    payload_types.install()
    silent_connections.install(stream_guard.install().end_of)
    flare_cell._is_server_job_cell = lambda info: False
    setattr(CoreCell, _MARK, guard)


def installed() -> bool:
    """True where this process has a guard."""
    return getattr(CoreCell, _MARK, None) is not None


def require_installed() -> None:
    """Refuse to work in a process of FLARE's for a job whose messages nobody holds against the list.

    Raises:
        GateError: the kit has no door.
    """
    if main_module() in JOB_PROCESSES and not installed():
        raise GateError("process has no guard of its messages", remedy="provision the kit anew")


def main_module() -> str:
    """The module that this process was started with by ``python -m``."""
    return getattr(getattr(sys.modules.get("__main__"), "__spec__", None), "name", "")


def _guard_messages(guard: MessageGuard) -> None:
    process = CoreCell._process_received_msg

    def guarded(self: Any, endpoint: Any, connection: Connection | None, message: Any) -> Any:
        if not guard.passes(self, endpoint, connection, message):
            return None
        for name in FREE_TEXTS:
            if type(text := message.get_header(name)) is str:
                message.set_header(name, printable(text))
        message.set_prop(stream_guard.CONNECTION, getattr(connection, "name", None))
        return process(self, endpoint, connection, message)

    CoreCell._process_received_msg = guarded


def _guard_handshakes(guard: MessageGuard) -> None:
    update = ConnManager.update_endpoint

    def guarded(self: Any, sfm_conn: Any, data: Any) -> None:
        why = guard.welcomes(self, data.get("endpoint_name") if type(data) is dict else None, sfm_conn.conn)
        if why is not None:
            sfm_conn.conn.close()
            raise CommError(CommError.BAD_DATA, why)
        update(self, sfm_conn, data)

    ConnManager.update_endpoint = guarded


def _guard_handlers() -> None:
    register, stream = CoreCell.register_request_cb, ByteReceiver.register_callback

    def request(self: Any, channel: str, topic: str, cb: Any, *args: Any, **kwargs: Any) -> None:
        if _serves(self.my_info.fqcn, channel, topic):
            register(self, channel, topic, cb, *args, **kwargs)

    def streamed(self: Any, channel: str, topic: str, stream_cb: Any, *args: Any, **kwargs: Any) -> None:
        if _serves(self.cell.my_info.fqcn, channel, topic):
            stream(self, channel, topic, stream_cb, *args, **kwargs)

    CoreCell.register_request_cb = request
    ByteReceiver.register_callback = streamed


def _serves(me: str, channel: str, topic: str) -> bool:
    cell = read_name(me)
    return cell is not None and serves(cell.party, channel, topic)


def _proven(arrival: Arrival | None) -> str:
    """The certificate that a message came with; "" within the machine, or where there is none."""
    return (arrival.certificate if arrival is not None else None) or ""


def _word(value: object) -> str:
    """A word of a sender's for the log."""
    return printable(value if type(value) is str else type(value).__name__, longest=64)
