"""A console's session at the server, bound to the certificate of its connection.

FLARE binds a session to a token that the server signed, and a console's cell to no certificate at all. Here a console's
name belongs to the certificate that had it first, a command is done only in the name of that certificate's owner, and a
person's certificate signs nobody in as a hospital.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from nvflare.fuel.f3.cellnet.defs import MessageHeaderKey, ReturnCode
from nvflare.fuel.f3.cellnet.net_manager import NetManager
from nvflare.fuel.f3.cellnet.utils import make_reply
from nvflare.fuel.hci.reg import CommandModuleSpec
from nvflare.fuel.hci.server.constants import ConnProps
from nvflare.fuel.hci.server.login import LoginModule
from nvflare.private.defs import CellMessageHeaderKeys, ClientType
from nvflare.private.fed.server.fed_server import FederatedServer
from nvflare.private.fed.server.server_engine import ServerEngine

MOST = 100_000
"""Consoles that a server knows in its life; more are not let in, so that nobody fills its memory."""

_log = logging.getLogger("fedward.door")
_sender: ContextVar[str | None] = ContextVar("fedward_console", default=None)
"""The cell whose message the server works on, where FLARE does not hand it on: a job folder that is sent up."""


class Consoles:
    """By name, the certificate that a console came with; safe from several threads."""

    def __init__(self) -> None:
        self._owners: dict[str, str] = {}
        self._lock = threading.Lock()

    def bind(self, console: str, certificate: str) -> bool:
        """Give a console's name to a certificate; False where another has it, or where there are too many."""
        with self._lock:
            if console not in self._owners and len(self._owners) >= MOST:
                return False
            return self._owners.setdefault(console, certificate) == certificate

    def owner(self, console: object) -> str | None:
        """The common name of the certificate that has a console's name; None for a name that nobody has."""
        with self._lock:
            return self._owners.get(console) if type(console) is str else None


def install(consoles: Consoles) -> None:
    """Hold every command of a console against its certificate, from now on."""
    before, login, aux = LoginModule.pre_command, LoginModule.handle_cert_login, ServerEngine._handle_aux_message
    register = FederatedServer.register_client

    def pre_command(self: Any, conn: Any, args: list[str]) -> bool:
        if not before(self, conn, args):
            return False
        session = conn.get_prop(ConnProps.SESSION)
        if session is None or session.user_name == consoles.owner(_origin(conn)):
            return True  # without a session FLARE lets nothing through but a sign-in and a question for the session
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
        if (request.get_header(CellMessageHeaderKeys.CLIENT_TYPE) == ClientType.ADMIN) is not person:
            _log.warning("refused: a person who signs in as a hospital, or a hospital as a person")
            return make_reply(
                ReturnCode.UNAUTHENTICATED, error="fedward: certificate is of another kind of participant"
            )
        return register(self, request)

    FederatedServer.register_client = register_client
    LoginModule.pre_command = pre_command
    LoginModule.handle_cert_login = handle_cert_login
    ServerEngine._handle_aux_message = handle_aux_message
    # commands that FLARE 2.9 asks no right for: any person could stop a site's process, or have it dial another server
    NetManager.get_spec = lambda self: CommandModuleSpec(name="cellnet", cmd_specs=[])


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
