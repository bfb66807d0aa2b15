"""The server's outermost door: TLS 1.3 with a certificate of this federation that is not revoked, or nothing.

A component of the server's ``local/resources.json``. FLARE builds it before it listens, and it does five things: it
proves that gRPC refuses TLS 1.2 (``tls_floor``), puts a guarded driver in place of FLARE's (``server_driver``), watches
the list of revoked certificates (``doorkeeper``), holds every message against the closed list (``message_guard``), and
binds a console's session to its certificate (``console_sessions``). If one of them fails, the server does not start.
Whom it has last seen, and until when their certificates hold, goes to the metrics store (``watch``), whose faults stop
nothing.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nvflare.apis.event_type import EventType
from nvflare.apis.fl_component import FLComponent
from nvflare.apis.fl_constant import FLContextKey
from nvflare.apis.fl_context import FLContext
from nvflare.fuel.f3.drivers.grpc_driver import GrpcDriver

from fedward.encryption.keys.site_identity import read_certificate
from fedward.errors import FederationError, FedwardError
from fedward.flare.console import sessions
from fedward.flare.job_checks import server as job_door
from fedward.flare.listener import grpc_driver
from fedward.flare.listener.connection_guard import ConnectionGuard, watch
from fedward.flare.listener.heartbeat import SiteWatch
from fedward.flare.listener.tls13 import ServerFiles, prove_floor, set_floor
from fedward.flare.messages import guard
from fedward.metrics.store import STORE_FILE
from fedward.provisioning.crl import CRL_FILE

_log = logging.getLogger("fedward.door")


class ServerDoor(FLComponent):  # type: ignore[misc]
    """Guards the kit in whose folder the process runs.

    Raises:
        SystemExit: with one line and exit code 1, before anything listens: the door cannot be guarded.
    """

    def __init__(self) -> None:
        super().__init__()
        self._server: Any = None
        try:
            if guard.main_module() in guard.JOB_PROCESSES:  # FLARE builds the components there again
                guard.install(guard.MessageGuard())
                return
            set_floor()
            doorkeeper = connection_guard_of(Path.cwd())
            consoles = sessions.Consoles()
            guard.install(guard.MessageGuard(is_person=doorkeeper.is_person, binds=consoles.bind))
            sessions.install(consoles)
            job_door.install()
        except (FedwardError, OSError, AttributeError) as error:
            sys.exit(f"fedward: server does not start: {error}")
        watch(doorkeeper, sign_out=self._sign_out, log=_log.warning)
        SiteWatch(
            Path.cwd() / STORE_FILE,
            clients=self._clients,
            certificates=lambda: doorkeeper.certificates,
            log=_log.warning,
        ).start()

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        if event_type == EventType.SYSTEM_BOOTSTRAP:
            self._server = fl_ctx.get_prop(FLContextKey.SITE_OBJ)

    def _sign_out(self, names: Iterable[str]) -> None:
        """Forget those clients as FLARE forgets one that is silent for too long: no job is sent to them any more."""
        names = frozenset(names)
        for token, client in self._by_token().items():
            if client.name in names:
                self._server.logout_client(token)
                _log.warning(f"{client.name} is signed out")

    def _by_token(self) -> dict[str, Any]:
        """FLARE's clients that are signed in; none before the server is there."""
        return {} if self._server is None else dict(self._server.client_manager.get_clients())

    def _clients(self) -> dict[str, float]:
        """When each of them was last heard of: name, as its certificate says -> seconds since the epoch."""
        return {client.name: float(client.last_connect_time) for client in self._by_token().values()}


def connection_guard_of(kit: Path) -> ConnectionGuard:
    """Prove the floor, read the list, and have FLARE use the guarded driver.

    Args:
        kit: the server's.

    Returns:
        The doorkeeper, whose list nobody watches yet.

    Raises:
        FederationError: the kit's files cannot serve, or gRPC cannot be brought to refuse TLS 1.2.
        EncryptionError: the authority's certificate cannot be read.
    """
    files = ServerFiles.of(kit / "startup")
    _require_guarded(kit / "startup" / "fed_server.json")
    doorkeeper = ConnectionGuard(kit / "local" / CRL_FILE, root=read_certificate(files.root), log=_log.warning)
    GrpcDriver.setup_grpc_env_var()  # FLARE's own settings, which gRPC reads at its first server: the one of the proof
    prove_floor(files)
    grpc_driver.install(doorkeeper)
    return doorkeeper


def _require_guarded(path: Path) -> None:
    """The guarded driver is that of two schemes: with another, or without mutual TLS, the door would stand open."""
    try:
        servers = json.loads(path.read_bytes())["servers"]
        kinds = {(server["service"]["scheme"], server.get("connection_security", "mtls")) for server in servers}
    except OSError as error:
        raise FederationError("not a server's kit", where=path, value=error.strerror) from None
    except (ValueError, LookupError, TypeError, AttributeError):
        raise FederationError("does not say how the server listens", where=path) from None
    if not kinds <= {(scheme, "mtls") for scheme in grpc_driver.SCHEMES}:
        remedy = "provision the server's kit anew, with scheme grpc and mutual TLS"
        raise FederationError("server would listen without Fedward's door", where=path, remedy=remedy)
