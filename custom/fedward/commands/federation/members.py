"""Define ``fedward federation invite`` and ``approve``, for a hospital that makes its own key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from fedward.commands.output_format import Format
from fedward.provisioning.crl import CRL_FILE
from fedward.provisioning.folder import STATE
from fedward.provisioning.invitation import LocalExtras
from fedward.provisioning.participants import Kind, line_of
from fedward.settings import FederationSpec, read_federation

if TYPE_CHECKING:
    from fedward.flare.kits.distributed import Approved

OUT: Path = typer.Option(Path("build/federation"), help="Folder for the kits and the certificate authority.")
FILE: Path = typer.Option(..., "--file", help="The federation's file.")
TEMPLATES: Path | None = typer.Option(
    None, help="Folder of a site's files to start from; by default site_templates beside the file's folder."
)
_BESIDE = "site_templates"
FORMAT: Format = typer.Option(Format.text, "--format", help="text for people, json for scripts.")
_DAYS = typer.Option(365, min=1, help="Days that the certificate is valid.")


def invite(
    name: str = typer.Argument(
        ..., metavar="NAME", help="A site's id, the server's host, or a person's e-mail, as in the file."
    ),
    file: Path = FILE,
    out: Path = OUT,
    templates: Path | None = TEMPLATES,
    format: Format = FORMAT,
) -> None:
    """Write an invitation for one participant. It holds no secret."""
    from fedward.flare.kits.distributed import write_invitation

    spec = read_federation(file)
    invited = write_invitation(spec, name, out, extras=extras_for(name, spec, file, templates))
    if format is Format.json:
        typer.echo(json.dumps({"invitation": str(invited.path), "authority": invited.authority}, indent=2))
        return
    typer.echo(f"invitation  {invited.path}")
    typer.echo(f"  authority's fingerprint {invited.authority}")
    typer.echo(
        f"Send the invitation to {name}; there is no secret in it. They run `fedward site join {invited.path.name} "
        "--request FOLDER`, send you the request, and read its key's fingerprint to you on a number that you know. "
        "Read them the authority's fingerprint in the same call, and write theirs down for `federation approve`."
    )


def approve(
    request: Path = typer.Argument(..., metavar="REQUEST", help="The SITE.request.zip that was sent to you."),
    file: Path = FILE,
    out: Path = OUT,
    expect: str = typer.Option(..., metavar="FINGERPRINT", help="The key's fingerprint that they read to you."),
    days: int = _DAYS,
    format: Format = FORMAT,
) -> None:
    """Sign the request of an invited participant. It must agree with the federation's file and with the fingerprint
    read over the telephone."""
    from fedward.flare.kits.distributed import approve as sign

    approved = sign(request, read_federation(file), out, expect=expect, days=days)
    show_signed(approved, format)


def show_signed(approved: Approved, format: Format) -> None:
    """Print the signed request's path and the next step."""
    if format is Format.json:
        answer = {"signed": str(approved.path), "not_after": str(approved.not_after), "authority": approved.authority}
        typer.echo(json.dumps(answer, indent=2))
        return
    typer.echo(f"signed  {approved.path}")
    typer.echo(f"  certificate until {approved.not_after.date()}")
    typer.echo(f"  authority's fingerprint {approved.authority}")
    typer.echo(
        f"Send it to {approved.name}. They run `fedward site join {approved.path.name} --request FOLDER --kit KIT "
        "--authority FINGERPRINT` with the fingerprint that you read to them."
    )
    if approved.kind is Kind.server:
        typer.echo(
            f"Before the server starts, copy {approved.path.parent.parent / STATE / CRL_FILE} to its kit's local/: who "
            "was revoked since the invitation is only in this one."
        )


def extras_for(name: str, spec: FederationSpec, file: Path, templates: Path | None) -> LocalExtras:
    """Return the template files for a hospital's kit; none, with a note, if there are no templates."""
    hospital = line_of(spec, name).hospital
    if hospital is None:
        return LocalExtras()
    folder = templates if templates is not None else file.resolve().parent.parent / _BESIDE
    if not folder.is_dir():
        typer.echo(f"note: no templates in {folder}; the kit of {name} gets none of their files", err=True)
        return LocalExtras()
    from fedward.provisioning.templates import render, resource_components

    components = resource_components(folder, spec=spec, hospital=hospital)
    return LocalExtras(render(folder, spec=spec, hospital=hospital), components)
