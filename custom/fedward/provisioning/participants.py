"""Read the lines of ``federation.yml`` as participants: server, sites and people, by the names in certificates."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from fedward.errors import FederationError
from fedward.settings import Email, FederationSpec, Hospital, HostName, SiteId
from fedward.settings.names import FLARE_WORDS

PARTICIPANT_NAME = r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,254}"
"""Form of a name in a certificate and of a folder: it cannot leave its folder, and is not hidden."""


class Kind(StrEnum):
    """Kind of a participant; FLARE calls it type, and role in a certificate."""

    server = "server"
    site = "site"
    person = "person"


_FORMS: dict[Kind, TypeAdapter[str]] = {
    Kind.server: TypeAdapter(HostName),
    Kind.site: TypeAdapter(SiteId),
    Kind.person: TypeAdapter(Email),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Participant, as the file has it.

    Attributes:
        name: name in its certificate: the server's host, the site's id, the person's e-mail.
        role: a person's role; None for others.
        hospital: a site's hospital; None for others.
    """

    name: str
    kind: Kind
    organisation: str
    role: str | None = None
    hospital: Hospital | None = None

    @property
    def certificate_role(self) -> str:
        """Role in a certificate that is approved from a request."""
        return {Kind.server: "server", Kind.site: "client"}.get(self.kind) or str(self.role)


def lines_of(spec: FederationSpec) -> tuple[Line, ...]:
    """Return server, hospitals and people, in this order. Their names differ, and are allowed for a certificate."""
    server = Line(name=spec.server.host, kind=Kind.server, organisation=spec.server.organisation)
    sites = [Line(name=h.site, kind=Kind.site, organisation=h.organisation, hospital=h) for h in spec.hospitals]
    people = [Line(name=p.email, kind=Kind.person, organisation=p.organisation, role=p.role) for p in spec.people]
    return (server, *sites, *people)


def line_of(spec: FederationSpec, name: str) -> Line:
    """Return the line of that name.

    Raises:
        FederationError: the file has none, or can have none because FLARE reserves the name.
    """
    for line in lines_of(spec):
        if line.name == name:
            return line
    require_free(name, where=spec.name)
    raise FederationError(
        "is not in the federation's file", where=spec.name, value=name, remedy="add its line to the file first"
    )


def require_free(name: str, *, where: str | Path) -> None:
    """Refuse a name that FLARE keeps for itself.

    Raises:
        FederationError: it does.
    """
    if (meaning := FLARE_WORDS.get(name)) is not None:
        remedy = "have the hospital get another id in the federation's file"
        raise FederationError(f"is reserved by FLARE, for {meaning}", where=where, value=name, remedy=remedy)


def require_name(name: str, kind: Kind, *, where: str | Path) -> None:
    """Refuse a name, brought by a file from elsewhere, that its kind's certificate, folder or FLARE cannot hold.

    Raises:
        FederationError: one line with length or form, and the remedy.
    """
    try:
        _FORMS[kind].validate_python(name)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
        remedy = "ask the operator for an invitation by another name"
        raise FederationError(f"{kind}'s name {fault}", where=where, value=name, remedy=remedy) from None
