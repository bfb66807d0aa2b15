"""Define the members of a federation: ``provisioning/federation.yml``, one line for each hospital."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from fedward.settings.base import Settings
from fedward.settings.names import Email, FederationName, HostName, Name, SiteId, ambiguous


class Person(Settings):
    email: Email = Field(description="Sign-in name.")
    organisation: Name = Field(description="Organisation the person belongs to.")
    role: Literal["project_admin", "org_admin", "lead", "member"] = Field(description="FLARE role.")


class Hospital(Settings):
    site: SiteId = Field(description="The hospital's id.")
    organisation: Name = Field(description="Organisation name in its certificate.")
    host: str | None = Field(default=None, min_length=1, description="Host of its service, for the operator's list.")
    template: Literal["clinic", "academic-centre"] = Field(
        default="clinic", description="Folder of site_templates/ that its files start from."
    )
    runtime: Literal["systemd", "docker", "kubernetes"] = Field(
        default="systemd", description="Program that runs its service; another folder of site_templates/."
    )


class Server(Settings):
    host: HostName = Field(
        description="Host name for hospitals, as in the certificate; 'localhost' listens on loopback only."
    )
    port: int = Field(ge=1, le=65_535, description="The server's only external port.")
    organisation: Name = Field(description="Organisation that runs the server.")


class FederationSpec(Settings):
    """``provisioning/federation.yml``: one line for each hospital."""

    name: FederationName = Field(description="The federation's name.")
    server: Server
    hospitals: tuple[Hospital, ...] = Field(min_length=1)
    people: tuple[Person, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _unique(self) -> Self:
        """One name has one participant, whichever kind: it is a certificate's name and a folder's."""
        sites, people = [h.site for h in self.hospitals], [p.email for p in self.people]
        for what, ids in (("hospital", sites), ("person", people)):
            twice = sorted({i for i in ids if ids.count(i) > 1})
            if twice:
                raise ValueError(f"{what} listed twice: {', '.join(twice)}")
        if (twice_named := ambiguous([self.server.host, *sites, *people])) is not None:
            raise ValueError(f"one name for two participants, case ignored: {twice_named!r}: rename one")
        hospitals, persons = (h.organisation for h in self.hospitals), (p.organisation for p in self.people)
        organisations = {self.server.organisation, *hospitals, *persons}
        if (written := ambiguous(sorted(organisations))) is not None:
            raise ValueError(f"one organisation in two spellings, case ignored: {written!r}: write it the same")
        return self
