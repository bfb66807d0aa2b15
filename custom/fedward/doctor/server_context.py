"""The server that is looked at, by a person's kit: one session of FLARE's console, opened when a check asks."""

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
    """One visit to one server. Close its ``session`` with ``signed_out``.

    Attributes:
        kit: folder of a person's FLARE kit; its name is the sign-in name.
        now: our clock, in Unix seconds.
        environment: variables of the process, for what gRPC takes from there.
        session: what is to be closed at the end.
        left: the visit is over; a session that opens after that is closed by who opened it.
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
        """The person's."""
        return read_certificate(self.server.certificate)

    @cached_property
    def console(self) -> Console:
        """The session; the first to ask signs in."""
        from fedward.flare.admin_session import console

        opened = self.session.enter_context(console(self.kit, timeout_s=self.limits.sign_in_s))
        if self.left.is_set():
            self.session.close()
        return opened

    @cached_property
    def line(self) -> Line:
        """The session's own cell, to send what FLARE's console would not."""
        from fedward.flare.probes.requests import Line

        return Line(self.console.cell)

    @cached_property
    def sites(self) -> tuple[str, ...]:
        """Hospitals that are connected now."""
        return tuple(sorted(self.console.connected()))


def visited(kit: Path) -> ServerCase:
    """A visit to the server that a person's kit names.

    Raises:
        FederationError: not a person's kit.
    """
    Endpoint.of_person(kit)
    return ServerCase(kit=kit)


@contextmanager
def signed_out(case: ServerCase) -> Iterator[ServerCase]:
    """Sign out at the end, whatever happened, where a check had signed in."""
    try:
        yield case
    finally:
        case.left.set()
        case.session.close()
