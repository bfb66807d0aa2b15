"""Read the lines of ``federation.yml`` as participants: server, sites and people, by the names in certificates."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from fedward.errors import FederationError
from fedward.settings import FederationSpec, Hospital

PARTICIPANT_NAME = r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,254}"
"""Form of a name in a certificate and of a folder: it cannot leave its folder, and is not hidden."""
_SAFE = re.compile(PARTICIPANT_NAME)


class Kind(StrEnum):
    """Kind of a participant; FLARE calls it type, and role in a certificate."""

    server = "server"
    site = "site"
    person = "person"


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
    """Return server, hospitals and people, in this order.

    Raises:
        FederationError: two of them have the same name, or a name is not allowed for a folder and a certificate.
    """
    server = Line(name=spec.server.host, kind=Kind.server, organisation=spec.server.organisation)
    sites = [Line(name=h.site, kind=Kind.site, organisation=h.organisation, hospital=h) for h in spec.hospitals]
    people = [Line(name=p.email, kind=Kind.person, organisation=p.organisation, role=p.role) for p in spec.people]
    lines = (server, *sites, *people)
    names = [line.name for line in lines]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise FederationError("one name for two participants", where=spec.name, value=twice[0], remedy="rename one")
    for name in names:
        if not _SAFE.fullmatch(name):
            remedy = "use letters, digits and . _ - + @, a letter or digit first"
            raise FederationError("cannot be a participant's name", where=spec.name, value=name, remedy=remedy)
    return lines


def line_of(spec: FederationSpec, name: str) -> Line:
    """Return the line of that name.

    Raises:
        FederationError: the file has none.
    """
    for line in lines_of(spec):
        if line.name == name:
            return line
    raise FederationError(
        "is not in the federation's file", where=spec.name, value=name, remedy="add its line to the file first"
    )
