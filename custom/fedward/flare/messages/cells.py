"""Read the names of a federation's cells, and describe the connections between them. Pure: no nvflare, no state."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from fedward.flare.messages.allowed import Party

_LONGEST = 256
_REMEMBERED = 1024
_JOB = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SITE = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_CONSOLE = re.compile(rf"_admin_{_JOB.pattern}")
_TRANSFER_PREFIX = "ws_transfer_"


class Link(StrEnum):
    """Kind of connection between two cells."""

    FEDERATION = "federation"
    """Mutual TLS between a site or a console and the server."""
    MACHINE = "machine"
    """Connection between a parent process and the processes of its jobs."""
    SELF = "self"
    """Connection of a process with itself."""


@dataclass(frozen=True, slots=True)
class Cell:
    """Parts of a cell's name.

    Attributes:
        party: its kind.
        site: the site's id; "" for the server and a console.
        job: FLARE's id of the job; "" for a parent and a console.
    """

    party: Party
    site: str = ""
    job: str = ""


@dataclass(frozen=True, slots=True)
class Arrival:
    """Connection that a message came over.

    Attributes:
        link: its kind.
        peer: name that the cell at the other end gave in the handshake.
        certificate: common name in the peer's certificate; None if there is none, or if FLARE does not know it (gRPC
            does not show a client the server's certificate, which TLS has compared with the server's name).
        person: true if the certificate is a person's.
    """

    link: Link
    peer: str
    certificate: str | None = None
    person: bool = False


def read_name(name: object) -> Cell | None:
    """Return the cell of that name; None for a name that no cell of a federation has."""
    return _cell(name) if type(name) is str and len(name) <= _LONGEST else None


@lru_cache(_REMEMBERED)
def _cell(name: str) -> Cell | None:
    if _CONSOLE.fullmatch(name):
        return Cell(Party.CONSOLE)
    root, _, rest = name.partition(".")
    if root != "server" and not _SITE.fullmatch(root):
        return None
    site = "" if root == "server" else root
    if "." not in name:
        return Cell(Party.SITE, site) if site else Cell(Party.SERVER)
    if site and rest.startswith(_TRANSFER_PREFIX) and _JOB.fullmatch(rest.removeprefix(_TRANSFER_PREFIX)):
        return Cell(Party.TRANSFER, site, rest.removeprefix(_TRANSFER_PREFIX))
    if not _JOB.fullmatch(rest):
        return None
    return Cell(Party.SITE_JOB if site else Party.SERVER_JOB, site, rest)
