"""Examine a server with a person's kit: one session of FLARE's console, opened when a check needs it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from fedward.doctor.context import Limits
from fedward.encryption.keys.site_identity import read_certificate
from fedward.provisioning.network.connectivity import Endpoint

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

    from fedward.flare.admin_session import Console
    from fedward.flare.probes.requests import Line


@dataclass(frozen=True, kw_only=True)
class ServerCase:
    """Examination of one server. Close its ``session`` with ``signed_out``.

    Attributes:
        kit: folder of a person's FLARE kit; its name is the sign-in name.
        now: our clock, in Unix seconds.
        environment: variables of the process that gRPC reads.
        session: resources to close at the end.
        left: set when the examination is over; a session that opens after that is closed by the check that opened it.
    """

    kit: Path
    limits: Limits = field(default_factory=Limits)
    now: Callable[[], float] = time.time
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    offline: bool = False
    site: str | None = None
    private_folders: tuple[Path, ...] = ()
    session: ExitStack = field(default_factory=ExitStack, repr=False)
    left: threading.Event = field(default_factory=threading.Event, repr=False)

    @cached_property
    def server(self) -> Endpoint:
        return Endpoint.of_person(self.kit)

    @property
    def server_address(self) -> str | None:
        return self.server.address

    @property
    def title(self) -> str:
        return f"server {self.server.address}, asked with"

    @cached_property
    def certificate(self) -> Certificate:
        """Certificate of the person."""
        return read_certificate(self.server.certificate)

    @cached_property
    def console(self) -> Console:
        """Session of the console; the first check that needs it signs in."""
        from fedward.flare.admin_session import console

        opened = self.session.enter_context(console(self.kit, timeout_s=self.limits.sign_in_s))
        if self.left.is_set():
            self.session.close()
        return opened

    @cached_property
    def line(self) -> Line:
        """Cell of the session, to send requests that FLARE's console would not send."""
        from fedward.flare.probes.requests import Line

        return Line(self.console.cell)

    @cached_property
    def sites(self) -> tuple[str, ...]:
        """Hospitals that are connected now."""
        return tuple(sorted(self.console.connected()))


def visited(kit: Path) -> ServerCase:
    """Return an examination of the server that a person's kit names.

    Raises:
        FederationError: it is not a person's kit.
    """
    Endpoint.of_person(kit)
    return ServerCase(kit=kit)


@contextmanager
def signed_out(case: ServerCase) -> Iterator[ServerCase]:
    """Sign out at the end, even after an error, if a check had signed in."""
    try:
        yield case
    finally:
        case.left.set()
        case.session.close()
