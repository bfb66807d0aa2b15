"""Bind a console's session at the server to the certificate of its connection.

FLARE binds a session to a token that the server signed, and a console's cell to no certificate at all. Here a console's
name belongs to the certificate that used it first, a command runs only in the name of that certificate's owner, and a
person's certificate cannot sign in as a hospital.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from nvflare.fuel.f3.cellnet.defs import MessageHeaderKey, ReturnCode
from nvflare.fuel.f3.cellnet.net_manager import NetManager
from nvflare.fuel.f3.cellnet.utils import make_reply
from nvflare.fuel.hci.proto import InternalCommands
from nvflare.fuel.hci.reg import CommandModuleSpec
from nvflare.fuel.hci.server.constants import ConnProps
from nvflare.fuel.hci.server.login import LoginModule
from nvflare.fuel.hci.server.sess import SessionManager
from nvflare.private.defs import CellMessageHeaderKeys, ClientType
from nvflare.private.fed.server.fed_server import FederatedServer
from nvflare.private.fed.server.server_engine import ServerEngine

from fedward.flare.console import uploads

MOST_EACH = 1000
"""Largest number of consoles that the server remembers per certificate; a new one replaces the oldest, so that no
person can fill the memory or lock others out."""

LONGEST_ADDRESS = 64

_log = logging.getLogger("fedward.door")
_sender: ContextVar[str | None] = ContextVar("fedward_console", default=None)
"""Cell that sent the current message, where FLARE does not pass it on: for a job folder that is uploaded."""


class Consoles:
    """Certificates of consoles, by console name; safe from several threads."""

    def __init__(self) -> None:
        self._owners: dict[str, str] = {}
        self._names: dict[str, deque[str]] = {}
        self._lock = threading.Lock()

    def bind(self, console: str, certificate: str) -> bool:
        """Assign a console's name to a certificate; return False if another certificate has it."""
        with self._lock:
            if console in self._owners:
                return self._owners[console] == certificate
            names = self._names.setdefault(certificate, deque())
            if len(names) >= MOST_EACH:
                del self._owners[names.popleft()]
            names.append(console)
            self._owners[console] = certificate
            return True

    def owner(self, console: object) -> str | None:
        """Return the common name of the certificate that has a console's name; None for an unused name."""
        with self._lock:
            return self._owners.get(console) if type(console) is str else None


def install(consoles: Consoles) -> None:
    """Check every command of a console against its certificate, from now on."""
    before, login, aux = LoginModule.pre_command, LoginModule.handle_cert_login, ServerEngine._handle_aux_message
    register = FederatedServer.register_client

    def pre_command(self: Any, conn: Any, args: list[str]) -> bool:
        if not before(self, conn, args):
            return False
        session = conn.get_prop(ConnProps.SESSION)
        if session is None or session.user_name == consoles.owner(_origin(conn)):
            return True  # without a session FLARE accepts only a sign-in and a request to check the session
        _log.warning("refused: a command in a session of another person's certificate")
        conn.append_error("fedward: session is of another certificate")
        return False

    def handle_cert_login(self: Any, conn: Any, args: list[str]) -> None:
        if len(args) == 2 and args[1] == consoles.owner(_origin(conn)):
            login(self, conn, args)
        else:
            conn.append_string("REJECT: sign-in is for another person than the certificate's")

    def handle_aux_message(self: Any, request: Any) -> Any:
        with _from(request):
            return aux(self, request)

    def register_client(self: Any, request: Any) -> Any:
        person = consoles.owner(request.get_header(MessageHeaderKey.ORIGIN)) is not None
        kind, address = (request.get_header(name) for name in _TOLD)
        if kind != (ClientType.ADMIN if person else ClientType.REGULAR) or not _is_address(address):
            _log.warning("refused: a person who signs in as a hospital, or a hospital as a person")
            return make_reply(
                ReturnCode.UNAUTHENTICATED, error="fedward: certificate is of another kind of participant"
            )
        return register(self, request)

    FederatedServer.register_client = register_client
    LoginModule.pre_command = pre_command
    LoginModule.handle_cert_login = handle_cert_login
    ServerEngine._handle_aux_message = handle_aux_message
    _withdraw_commands()
    uploads.install(lambda: consoles.owner(_sender.get()))


def _withdraw_commands() -> None:
    """Take FLARE's commands that need no right from every console."""
    # FLARE 2.9 requires no right for these: any person could stop a site's process, or connect it to another server
    NetManager.get_spec = lambda self: CommandModuleSpec(name="cellnet", cmd_specs=[])
    # ... or list the other people who are signed in, with their sessions
    sessions = SessionManager.get_spec

    def get_spec(self: Any) -> Any:
        spec = sessions(self)
        kept = [one for one in spec.cmd_specs if one.name == InternalCommands.CHECK_SESSION]
        return CommandModuleSpec(name=spec.name, cmd_specs=kept)

    SessionManager.get_spec = get_spec


_TOLD = (CellMessageHeaderKeys.CLIENT_TYPE, CellMessageHeaderKeys.CLIENT_IP)
"""Headers of a sign-in: kind of participant, and its address, which FLARE writes to its log unchanged."""


def _is_address(text: object) -> bool:
    return type(text) is str and len(text) <= LONGEST_ADDRESS and text.isascii() and text.isprintable()


def _origin(conn: Any) -> object:
    request = conn.get_prop(ConnProps.REQUEST)
    return _sender.get() if request is None else request.get_header(MessageHeaderKey.ORIGIN)


@contextmanager
def _from(request: Any) -> Iterator[None]:
    token = _sender.set(request.get_header(MessageHeaderKey.ORIGIN))
    try:
        yield
    finally:
        _sender.reset(token)
