"""Define ``fedward federation revoke``: put all certificates of a participant on the revocation list."""

from __future__ import annotations

import json
from pathlib import Path

import typer

from fedward.commands.audit_notes import federation_log, note
from fedward.commands.federation.options import FEDERATION, NAME, OUT, SERVER, folder_of
from fedward.commands.output_format import FORMAT, Format
from fedward.provisioning.folder import FederationFolder
from fedward.provisioning.inventory import Reason
from fedward.provisioning.participants import Kind
from fedward.provisioning.revocation import Revoked
from fedward.provisioning.revocation import revoke as put_out


def revoke(
    name: str = NAME,
    out: Path = OUT,
    federation: str | None = FEDERATION,
    reason: Reason = typer.Option("unspecified", help="Why, as RFC 5280 names it."),
    server: Path | None = SERVER,
    format: Format = FORMAT,
) -> None:
    """Revoke all certificates of a participant at once. The server's revocation list names them, and the server
    cuts their connections."""
    folder = folder_of(out, federation)
    revoked = put_out(name, folder, reason=reason, server=server)
    note_revoked(revoked, folder, reason=reason)
    show_revoked(revoked, format, rotate=True)


def note_revoked(revoked: Revoked, folder: FederationFolder, *, reason: Reason) -> None:
    """Record in the operator's audit log which certificates were revoked."""
    serials = list(revoked.serials)
    note(federation_log(folder.root), "certificates-revoked", name=revoked.name, serials=serials, reason=reason)


def show_revoked(revoked: Revoked, format: Format, *, rotate: bool = False) -> None:
    if format is Format.json:
        server = None if revoked.server is None else str(revoked.server)
        answer = {"serials": revoked.serials, "number": revoked.number, "crl": str(revoked.crl), "server": server}
        typer.echo(json.dumps(answer, indent=2))
        return
    if revoked.withdrawn:
        typer.echo(f"{revoked.name}: invitation is withdrawn")
    if not revoked.serials:
        typer.echo(f"{revoked.name}: has no certificate that is not revoked")
    for serial in revoked.serials:
        typer.echo(f"{revoked.name}: revoked certificate {serial}")
    typer.echo(f"revocation list number {revoked.number}: {revoked.crl}")
    if revoked.server is not None:
        typer.echo(f"put into the server's kit: {revoked.server}; it takes effect within seconds, without a restart")
    else:
        typer.echo(
            f"NOT in effect yet: the server's kit is on another machine. Copy {revoked.crl} to its "
            "local/revoked.crl; it takes effect within seconds, without a restart."
        )
    if rotate and revoked.kind is Kind.person:
        typer.echo("A person's kit holds no key of the federation. Jobs that are under way go on: `nvflare job list`.")
    if rotate and revoked.kind is Kind.site:
        typer.echo(
            f"If the hospitals share a federation key, {revoked.name} may still hold it. One of the others runs "
            "`fedward key rotate KEY` (after a breach with --destroy-old) and `fedward key seal` to the others; a "
            "hospital's own key (site.toml's `key`) needs no change."
        )
