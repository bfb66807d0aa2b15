"""Attack as a participant without rules: a cell of FLARE's with any kit's certificate sends anything.

It signs in as FLARE's own console and sites do, since the server forwards nothing without its token, and then speaks
past every check on its own side. All that reaches it is kept, as the bytes that came off the wire.
"""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nvflare.apis.fl_constant import ReservedKey
from nvflare.apis.fl_context import FLContext
from nvflare.apis.signal import Signal
from nvflare.apis.utils.decomposers import flare_decomposers
from nvflare.fuel.f3.cellnet.cell import Cell
from nvflare.fuel.f3.cellnet.core_cell import CoreCell
from nvflare.fuel.f3.comm_error import CommError
from nvflare.fuel.f3.communicator import Communicator, Mode
from nvflare.fuel.f3.drivers.driver_params import DriverParams
from nvflare.fuel.f3.endpoint import Endpoint
from nvflare.fuel.f3.message import Message, MessageReceiver
from nvflare.fuel.f3.stats_pool import StatsPoolManager
from nvflare.fuel.sec.authn import set_add_auth_headers_filters
from nvflare.private.admin_defs import Message as AdminMessage
from nvflare.private.defs import ClientType
from nvflare.private.fed.authenticator import Authenticator

from fedward.settings import FederationSpec


@dataclass
class Participant:
    """Somebody with a kit, and everything that was sent to them."""

    cell: Cell
    received: list[bytes]

    def ask(self, target: str, channel: str, topic: str, payload: Any = None, *, timeout_s: float = 3.0) -> Message:
        """A request to any cell, as FLARE would carry it; the answer, or one that says why there is none."""
        core: CoreCell = self.cell.core_cell
        return core.send_request(channel, topic, target, Message({}, payload), timeout=timeout_s)

    def command(self, site: str, topic: str, body: Any = "", **headers: Any) -> Message:
        """A request to a site's parent process, with the headers of the sender's choice."""
        message = AdminMessage(topic, body)
        message.set_headers(headers)
        return self.ask(site, "admin", "admin", message)

    def each(self, asked: Sequence[Callable[[], Message]]) -> list[Message]:
        """The answers to several requests at a time: most of them get none, and that takes its time."""
        with ThreadPoolExecutor(max_workers=max(1, len(asked))) as pool:
            return [one.result() for one in [pool.submit(ask) for ask in asked]]

    def raw(self, headers: dict[str, Any], payload: bytes | None = None) -> None:
        """A frame with any headers at all, to the server."""
        self.cell.core_cell.communicator.send(Endpoint("server"), CoreCell.APP_ID, Message(dict(headers), payload))

    def holds(self, secret: bytes) -> bool:
        """True if any received frame holds these bytes."""
        return any(secret in frame for frame in self.received)


@contextmanager
def participant(
    kit: Path,
    spec: FederationSpec,
    *,
    name: str,
    is_console: bool,
    signs_in_as: str | None = None,
) -> Iterator[Participant]:
    """Connect with a kit's certificate, and sign in.

    Args:
        kit: of a person, or of a site whose own process does not run.
        name: common name in its certificate.
        is_console: as a console, under a name like theirs; else as a site.
        signs_in_as: another kind of client than its own.
    """
    startup, received = kit / "startup", []
    flare_decomposers.register()
    cell = Cell(
        fqcn=f"_admin_{uuid.uuid4()}" if is_console else name,
        root_url=f"grpc://{spec.server.host}:{spec.server.port}",
        secure=True,
        credentials=_credentials(kit),
        create_internal_listener=False,
        auth_identity_map={"server": spec.server.host},
    )
    _keep(cell, received)
    cell.core_cell.start()
    try:
        kind = signs_in_as or (ClientType.ADMIN if is_console else ClientType.REGULAR)
        _sign_in(cell, startup, spec, name=name, kind=kind)
        yield Participant(cell, received)
    finally:
        cell.core_cell.stop()
        name = cell.core_cell.get_fqcn()
        CoreCell.ALL_CELLS.pop(name, None)
        for pool in [pool for pool in StatsPoolManager.pools if pool.endswith(f"@{name}".lower())]:
            StatsPoolManager.pools.pop(pool)  # a cell of that name may come again


def is_heard_as(kit: Path, spec: FederationSpec, name: str, *, wait_s: float = 4.0) -> bool:
    """True if the server answers a cell of that name with that certificate: at least its farewell."""
    heard = threading.Event()

    class Ear(MessageReceiver):  # type: ignore[misc]
        def process_message(self, endpoint: Any, connection: Any, app_id: int, message: Message) -> None:
            heard.set()

    communicator = Communicator(Endpoint(name, conn_props=_credentials(kit)))
    communicator.register_message_receiver(CoreCell.APP_ID, Ear())
    communicator.add_connector(f"grpc://{spec.server.host}:{spec.server.port}", Mode.ACTIVE, True)
    communicator.start()
    farewell = {
        "cn__msg_type": "req",
        "cn__channel": "cellnet.channel",
        "cn__topic": "bye",
        "cn__origin": name,
        "cn__destination": "server",
        "cn__from": name,
        "cn__to": "server",
        "cn__req_id": "1",
        "cn__reply_expected": True,
        "cn__route": [(name, 0.0)],
        "cn__payload_encoding": "none",
    }
    try:
        end = time.monotonic() + wait_s
        while not heard.wait(0.2) and time.monotonic() < end:
            with contextlib.suppress(CommError):  # until the connection stands, and where it is refused
                communicator.send(Endpoint("server"), CoreCell.APP_ID, Message(dict(farewell), None))
        return heard.is_set()
    finally:
        communicator.stop()


def _credentials(kit: Path) -> dict[str, str]:
    startup = kit / "startup"
    return {
        DriverParams.CA_CERT.value: str(startup / "rootCA.pem"),
        DriverParams.CLIENT_CERT.value: str(startup / "client.crt"),
        DriverParams.CLIENT_KEY.value: str(startup / "client.key"),
    }


def _keep(cell: Cell, received: list[bytes]) -> None:
    manager = cell.core_cell.communicator.conn_manager
    process = manager.process_frame

    def kept(connection: Any, frame: Any) -> None:
        received.append(bytes(frame))
        process(connection, frame)

    manager.process_frame = kept


def _sign_in(cell: Cell, startup: Path, spec: FederationSpec, *, name: str, kind: str) -> None:
    context = FLContext()
    context.set_public_props({ReservedKey.IDENTITY_NAME: name})
    token, signature, ssid, _ = Authenticator(
        cell=cell,
        project_name=spec.name,
        client_name=name,
        client_type=kind,
        expected_sp_identity=spec.server.host,
        secure_mode=True,
        root_cert_file=str(startup / "rootCA.pem"),
        private_key_file=str(startup / "client.key"),
        cert_file=str(startup / "client.crt"),
        msg_timeout=10.0,
        retry_interval=0.5,
        timeout=60.0,
    ).authenticate(shared_fl_ctx=context, abort_signal=Signal())
    set_add_auth_headers_filters(cell, name, token, signature, ssid)
