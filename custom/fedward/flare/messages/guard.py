"""Check every message that reaches a process of FLARE 2.9 against ``rules``, before FLARE reads it.

``install`` changes FLARE's classes, so that it covers every cell that the
process opens afterwards, and has six effects:

* a message that is on no list is dropped and logged; its payload is never decoded;
* the name that a peer gives in the handshake is checked against its connection and certificate;
* FLARE, and code that runs inside it, cannot register a request handler for a channel and topic that is on no list: a
  message that passed the guard by mistake would reach no handler;
* a payload may contain only objects of a closed list of classes (``payload_types``);
* within the machine, only processes of the same user are accepted (``local_peers``);
* the memory and threads that a peer can use in FLARE are bounded, and only a stream's receiver may answer it
  (``stream_guard``); a connection whose peer gives no name is closed (``silent_connections``).

FLARE ends the server's job process if it cannot read one site's answer, or if any sender reports that a stream was too
large. Here that site's answer is lost, and the job continues.

Any exception in this module refuses.
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
"""Function from the common name of a certificate that the server has admitted: true if it is a person's."""
Bind = Callable[[str, str], bool]
"""Function from a console's name and a certificate's common name: true if no other certificate has had that name."""


class MessageGuard:
    """Gate of one process: it passes a message or drops it.

    Args:
        is_person: given at a server only.
        binds: given at a server only.
    """

    def __init__(
        self, *, is_person: Person = lambda certificate: False, binds: Bind = lambda console, certificate: False
    ) -> None:
        self._is_person, self._binds = is_person, binds
        self._refusals = RefusalLog()

    def passes(self, cell: Any, endpoint: Any, connection: Any, message: Any) -> bool:
        """True if FLARE may have a message; False also if any part of it cannot be judged."""
        arrival: Arrival | None = None
        headers: Any = None
        try:
            arrival = self._arrival(cell, endpoint.name, connection)
            headers = plain_headers(message.headers)
            why = refuse_message(cell.my_info.fqcn, headers, arrival, empty=not message.payload)
        except Exception as error:  # noqa: BLE001 - fail closed on any error
            why = f"message cannot be judged ({type(error).__name__})"
        if why is None:
            return True
        about = "from nobody known" if arrival is None else f"from {_word(arrival.peer)}"
        if type(headers) is dict:
            about += f", {_word(headers.get('channel'))} {_word(headers.get('topic'))}"
        self._refusals.say(why, _proven(arrival), about)
        return False

    def welcomes(self, manager: Any, name: object, connection: Any) -> str | None:
        """Return why a peer may not have the name that it gives in the handshake; None if it may."""
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
        except Exception as error:  # noqa: BLE001 - fail closed on any error
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
    """Return the kind of a connection, by its connector; the cell made its connectors itself.

    Raises:
        FederationError: the connector does not belong to the cell.
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
    """Guard every cell of this process until the process ends.

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
    """True if this process has a guard."""
    return getattr(CoreCell, _MARK, None) is not None


def require_installed() -> None:
    """Refuse to work in a FLARE process of a job if its messages are not checked against the list.

    Raises:
        GateError: the process has no guard.
    """
    if main_module() in JOB_PROCESSES and not installed():
        raise GateError("process has no guard of its messages", remedy="provision the kit anew")


def main_module() -> str:
    """Return the module that this process was started with by ``python -m``."""
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
    """Return the certificate that a message came with; "" within the machine, or if there is none."""
    return (arrival.certificate if arrival is not None else None) or ""


def _word(value: object) -> str:
    """Return a sender's string in a form that is safe to log."""
    return printable(value if type(value) is str else type(value).__name__, longest=64)
