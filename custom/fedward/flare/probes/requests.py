"""Send harmless requests from a cell of FLARE and record which get an answer, even one that FLARE would filter out."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from nvflare.apis.utils.decomposers import flare_decomposers
from nvflare.fuel.f3.cellnet.core_cell import CoreCell
from nvflare.fuel.f3.cellnet.defs import IdentityChallengeKey, MessageHeaderKey, MessageType, ReturnCode
from nvflare.fuel.f3.comm_error import CommError
from nvflare.fuel.f3.connection import Connection
from nvflare.fuel.f3.drivers.base_driver import BaseDriver
from nvflare.fuel.f3.drivers.tcp_driver import TcpDriver
from nvflare.fuel.f3.endpoint import Endpoint
from nvflare.fuel.f3.message import Message
from nvflare.private.admin_defs import Message as AdminMessage

from fedward.errors import FederationError
from fedward.flare.probes.outcome import Outcome, Probe

SERVER = "server"
WAIT_S = 2.0
"""Longest time for an answer; it comes from a process that has nothing to compute."""
CONNECT_S = 5.0
_AT_ONCE = 64


def _command(topic: str, body: str = "") -> Callable[[], Any]:
    return lambda: AdminMessage(topic, body)


@dataclass(frozen=True, slots=True)
class Request:
    """One request: target, channel, topic, and content, which is built again each time that it is sent."""

    target: str
    channel: str
    topic: str
    payload: Callable[[], Any] = dict
    headers: dict[str, Any] = field(default_factory=dict)
    name: str | None = None

    @property
    def what(self) -> str:
        """Name of the request in a report."""
        return self.name or f"{self.channel}/{self.topic}"


def off_the_list(site: str) -> tuple[Request, ...]:
    """Return requests that no site answers, whoever asks, and that change nothing if a site does."""
    return (
        Request(site, "admin", "admin", _command("sys.shell", "pwd"), name="sys.shell pwd"),
        Request(site, "admin", "admin", _command("train.get_scopes"), name="train.get_scopes"),
        Request(site, "admin", "admin", _command("sys.report_env"), name="sys.report_env"),
        Request(site, "_net_manager", "config_vars"),
        Request(site, "_net_manager", "process_info"),
        Request(site, "aux_communication", "fed.event"),
    )


def at_a_server() -> tuple[Request, ...]:
    """Return such requests for a server, which answers none of them to a person."""
    return (
        Request(SERVER, "_net_manager", "config_vars"),
        Request(SERVER, "_net_manager", "process_info"),
        Request(SERVER, "server_parent_listener", "get_clients"),
        Request(SERVER, "aux_communication", "fed.event"),
    )


def challenge() -> Request:
    """Return the first request of every sign-in, which a server answers to any holder of a certificate."""
    headers = {IdentityChallengeKey.COMMON_NAME: "fedward-doctor", IdentityChallengeKey.NONCE: str(uuid.uuid4())}
    return Request(SERVER, "task", "challenge", lambda: None, headers)


class Line:
    """Connected cell that sends requests.

    Args:
        core: the cell. From now on every answer that reaches it is recorded, even one that its own filters would drop.
    """

    def __init__(self, core: CoreCell) -> None:
        self._core = core
        self._heard: set[str] = set()
        process = core._process_received_msg

        def noted(endpoint: Any, connection: Any, message: Any) -> Any:
            if message.get_header(MessageHeaderKey.MSG_TYPE) != MessageType.REQ:
                ids = message.get_header(MessageHeaderKey.REQ_ID)
                self._heard.update([ids] if isinstance(ids, str) else ids or [])
            return process(endpoint, connection, message)

        core._process_received_msg = noted

    def ask(self, request: Request, *, wait_s: float = WAIT_S) -> Probe:
        """Send a request as FLARE would, and return its outcome."""
        message = Message(dict(request.headers), request.payload())
        reply = self._core.send_request(
            request.channel, request.topic, request.target, message, timeout=wait_s, optional=True
        )
        if message.get_header(MessageHeaderKey.REQ_ID) in self._heard:
            return Probe(request.what, Outcome.ANSWERED)
        silent = reply.get_header(MessageHeaderKey.RETURN_CODE) == ReturnCode.TIMEOUT
        return Probe(request.what, Outcome.SILENT if silent else Outcome.UNKNOWN)

    def ask_all(self, requests: Sequence[Request], *, wait_s: float = WAIT_S) -> tuple[Probe, ...]:
        """Send several requests at once, and return their outcomes."""
        if not requests:
            return ()
        with ThreadPoolExecutor(max_workers=min(_AT_ONCE, len(requests))) as pool:
            return tuple(pool.map(lambda one: self.ask(one, wait_s=wait_s), requests))

    def ask_as(self, origins: Sequence[str], request: Request, *, wait_s: float = WAIT_S) -> tuple[Probe, ...]:
        """Send a request once for each of ``origins``, with headers that name this origin as the sender."""
        sent: list[tuple[str, str | None]] = []
        for origin in origins:
            request_id = str(uuid.uuid4())
            headers = {
                MessageHeaderKey.MSG_TYPE: MessageType.REQ,
                MessageHeaderKey.CHANNEL: request.channel,
                MessageHeaderKey.TOPIC: request.topic,
                MessageHeaderKey.ORIGIN: origin,
                MessageHeaderKey.DESTINATION: request.target,
                MessageHeaderKey.FROM_CELL: self._core.get_fqcn(),
                MessageHeaderKey.TO_CELL: request.target,
                MessageHeaderKey.REQ_ID: request_id,
                MessageHeaderKey.REPLY_EXPECTED: True,
                MessageHeaderKey.ROUTE: [(origin, time.time())],
                **request.headers,
            }
            try:
                self._core.communicator.send(Endpoint(request.target), CoreCell.APP_ID, Message(headers, None))
            except CommError:
                request_id = ""
            sent.append((f"{request.what} as {_kind(origin)}", request_id))
        time.sleep(wait_s)
        return tuple(Probe(what, self._outcome(request_id)) for what, request_id in sent)

    def _outcome(self, request_id: str | None) -> Outcome:
        if not request_id:
            return Outcome.UNKNOWN
        return Outcome.ANSWERED if request_id in self._heard else Outcome.SILENT


def _kind(origin: str) -> str:
    return "another console" if origin.startswith("_admin_") else "a hospital"


def let_go(driver: BaseDriver, connection: Connection) -> None:
    """Close a connection and its socket: FLARE 2.9 leaves it to the garbage collector if the peer disconnected."""
    BaseDriver.close_connection(driver, connection)
    connection.close()


@contextmanager
def line_of_a_job(site: str, port: int) -> Iterator[Line]:
    """Connect to a site's parent process as one of its jobs does: over loopback, under the name of a new job.

    Args:
        site: id of the site.
        port: port on which the process listens for its jobs.

    Raises:
        FederationError: no process with FLARE's protocol answers there.
    """
    flare_decomposers.register()
    setattr(TcpDriver, "close_connection", let_go)  # noqa: B010 - a method of FLARE's
    cell = CoreCell(
        fqcn=f"{site}.{uuid.uuid4()}", root_url="", secure=False, credentials={}, parent_url=f"tcp://localhost:{port}"
    )
    try:
        cell.start()
        end = time.monotonic() + CONNECT_S
        while not cell.is_cell_connected(site):
            if time.monotonic() > end:
                raise FederationError("site's process does not speak with a job", where=f"localhost:{port}")
            time.sleep(0.02)
        yield Line(cell)
    finally:
        cell.stop()
        CoreCell.ALL_CELLS.pop(cell.get_fqcn(), None)


def ask_site(site: str, port: int) -> tuple[Probe, tuple[Probe, ...]]:
    """Send a site's parent process requests that it must not answer, and at last one that it must.

    Returns:
        The outcome of the last request, which is the control, and those of the others.
    """
    with quiet(), line_of_a_job(site, port) as line:
        probes = line.ask_all(off_the_list(site))
        return line.ask(Request(site, "cellnet.channel", "bye", lambda: None)), probes


@contextmanager
def quiet() -> Iterator[None]:
    """Keep FLARE's log, which reports every request without an answer, out of a report; for the whole process."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)
