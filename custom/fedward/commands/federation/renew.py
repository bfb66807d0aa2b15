"""Define ``fedward federation renew``: a new certificate before the old one ends, or the older ones revoked."""

from __future__ import annotations

import json
from pathlib import Path

import typer

from fedward.commands.audit_notes import federation_log, note
from fedward.commands.federation.options import FEDERATION, NAME, OUT, SERVER, folder_of
from fedward.commands.federation.revoke import note_revoked, show_revoked
from fedward.commands.output_format import FORMAT, Format
from fedward.provisioning.participants import Kind
from fedward.provisioning.revocation import revoke as put_out


def renew(
    name: str = NAME,
    out: Path = OUT,
    federation: str | None = FEDERATION,
    days: int = typer.Option(365, min=1, help="Days that the new certificate is valid."),
    revoke_old: bool = typer.Option(
        False, "--revoke-old", help="Issue nothing; revoke the older certificates, once the renewed one is in use."
    ),
    server: Path | None = SERVER,
    format: Format = FORMAT,
) -> None:
    """Issue a new certificate before the old one ends. The key stays, and no other kit changes."""
    folder = folder_of(out, federation)
    if revoke_old:
        revoked = put_out(name, folder, reason="superseded", server=server, older_alone=True)
        note_revoked(revoked, folder, reason="superseded")
        show_revoked(revoked, format)
        return
    from fedward.flare.kits.renew import renew as issue

    renewed = issue(name, folder, days=days)
    note(federation_log(folder.root), "certificate-renewed", name=name)
    if format is Format.json:
        answer = {"path": str(renewed.path), "in_place": renewed.in_place, "not_after": str(renewed.not_after)}
        typer.echo(json.dumps(answer, indent=2))
        return
    typer.echo(f"renewed  {renewed.path}")
    typer.echo(f"  certificate until {renewed.not_after.date()}")
    file = "server.crt" if renewed.kind is Kind.server else "client.crt"
    if renewed.path.name.endswith(".signed.zip"):
        typer.echo(
            f"Send it to {name}. They run `fedward site join {renewed.path.name} --request FOLDER --kit KIT` with the "
            "same folders and --authority as before; key and local/ stay."
        )
    elif not renewed.in_place:
        typer.echo(f"Its kit is on another machine: copy this file to startup/{file} there.")
    else:
        typer.echo(f"A copy of this kit elsewhere needs this file as its startup/{file}.")
    restart = "the server, between jobs" if renewed.kind is Kind.server else f"the service of {name}"
    if renewed.kind is not Kind.person:
        typer.echo(f"Restart {restart}, to use it. Then `fedward federation renew {name} --revoke-old`.")
