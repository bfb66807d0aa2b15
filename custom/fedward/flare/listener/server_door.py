"""Guard the server: only TLS 1.3 with a certificate of this federation that is not revoked may connect.

A component of the server's ``local/resources.json``. FLARE builds it before it listens. It proves that gRPC refuses TLS
1.2 (``tls13``), replaces FLARE's driver with a guarded one (``grpc_driver``), watches the list of revoked certificates
(``connection_guard``), checks every message against the closed list (``messages.guard``), binds a console's session to
its certificate (``console.sessions``) and checks every job (``job_checks.server``). If one of these fails, or the kit's
certificates are not valid (``certificate_watch``), the server does not start. Last heartbeats and the ends of
certificates go to the metrics store (``heartbeat``), whose failures stop nothing.
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
from nvflare.apis.job_def import JobMetaKey
from nvflare.fuel.f3.drivers.grpc_driver import GrpcDriver

from fedward.encryption.keys.site_identity import read_certificate
from fedward.errors import FederationError, FedwardError
from fedward.flare.audit_trail.processes import note_process, note_revoked
from fedward.flare.audit_trail.sign_ins import SignIns
from fedward.flare.console import job_states, sessions
from fedward.flare.job_checks import server as job_door
from fedward.flare.listener import certificate_watch, grpc_driver
from fedward.flare.listener.connection_guard import ConnectionGuard, watch
from fedward.flare.listener.heartbeat import SiteWatch
from fedward.flare.listener.tls13 import ServerFiles, prove_floor, set_floor
from fedward.flare.messages import guard
from fedward.flare.repeating import repeat
from fedward.flare.supervisor import job_reactions, reactions, single_process, waits
from fedward.flare.supervisor.supervisor import Supervisor
from fedward.metrics.store import STORE_FILE
from fedward.provisioning.crl import CRL_FILE
from fedward.provisioning.participants import Kind
from fedward.upkeep.clean import UPKEEP_S, daily

_log = logging.getLogger("fedward.door")


class ServerDoor(FLComponent):  # type: ignore[misc]
    """Gate of the server whose kit is the process's working folder.

    Raises:
        SystemExit: with one line, before anything listens: with exit code 1 if the server cannot be guarded, and with
            ``fedward.provisioning.validity.NOT_VALID`` if a certificate is not valid.
    """

    def __init__(self) -> None:
        super().__init__()
        self._server: Any = None
        self._supervisor: Supervisor | None = None
        self._sign_ins = SignIns()
        try:
            if guard.main_module() in guard.JOB_PROCESSES:  # FLARE builds the components there again
                guard.install(guard.MessageGuard())
                waits.set_waits()
                job_reactions.install()
                single_process.hold(Path.cwd())
                return
            set_floor()
            certificate_watch.guard_process(Kind.server, log=_log)
            doorkeeper = connection_guard_of(Path.cwd())
            consoles = sessions.Consoles()
            guard.install(guard.MessageGuard(is_person=doorkeeper.is_person, binds=consoles.bind))
            sessions.install(consoles)
            job_states.install(Path.cwd() / STORE_FILE)
            job_door.install()
            self._supervisor = Supervisor(Path.cwd())
            reactions.install(self._supervisor)
        except (FedwardError, OSError, AttributeError) as error:
            sys.exit(f"fedward: server does not start: {error}")
        watch(doorkeeper, sign_out=self._sign_out, log=_log.warning)
        SiteWatch(
            Path.cwd() / STORE_FILE,
            clients=self._clients,
            certificates=lambda: doorkeeper.certificates,
            log=_log.warning,
        ).start()
        repeat(daily(Path.cwd(), _log.warning), every_s=UPKEEP_S, name="upkeep", log=_log.warning)
        note_process("process-started")

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        if event_type == EventType.SYSTEM_BOOTSTRAP:
            self._server = fl_ctx.get_prop(FLContextKey.SITE_OBJ)
        elif event_type == EventType.SYSTEM_START and self._supervisor is not None:
            self._supervisor.begin(self._server)
        elif event_type == EventType.JOB_COMPLETED and self._supervisor is not None:
            data = fl_ctx.get_prop(FLContextKey.EVENT_DATA) or {}
            self._supervisor.archived(str(data.get(JobMetaKey.JOB_ID.value)))
        elif event_type == EventType.SYSTEM_END:
            note_process("process-stopped")

    def _sign_out(self, names: Iterable[str]) -> None:
        """Sign these clients out, as FLARE does after a long silence: they get no more jobs."""
        names = frozenset(names)
        for token, client in self._by_token().items():
            if client.name in names:
                self._server.logout_client(token)
                _log.warning(f"{client.name} is signed out")

    def _by_token(self) -> dict[str, Any]:
        """Return FLARE's signed-in clients, by token; none before the server is there."""
        return {} if self._server is None else dict(self._server.client_manager.get_clients())

    def _clients(self) -> dict[str, float]:
        """Return each client's last heartbeat: name in its certificate -> seconds since the epoch."""
        clients = self._by_token()
        self._sign_ins.seen({token: client.name for token, client in clients.items()})
        return {client.name: float(client.last_connect_time) for client in clients.values()}


def connection_guard_of(kit: Path) -> ConnectionGuard:
    """Prove that TLS 1.2 is refused, read the revocation list, and make FLARE use the guarded driver.

    Args:
        kit: the server's.

    Returns:
        The guard; its list is not watched yet.

    Raises:
        FederationError: the kit's files are unusable, or gRPC cannot be made to refuse TLS 1.2.
        EncryptionError: the authority's certificate cannot be read.
    """
    files = ServerFiles.of(kit / "startup")
    _require_guarded(kit / "startup" / "fed_server.json")
    root = read_certificate(files.root)
    doorkeeper = ConnectionGuard(kit / "local" / CRL_FILE, root=root, log=_log.warning, on_revoked=note_revoked)
    GrpcDriver.setup_grpc_env_var()  # FLARE's own settings: gRPC reads them at its first server, in ``prove_floor``
    prove_floor(files)
    grpc_driver.install(doorkeeper)
    return doorkeeper


def _require_guarded(path: Path) -> None:
    """Refuse another scheme than the guarded driver's two, or a server without mutual TLS: it would not be guarded."""
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
