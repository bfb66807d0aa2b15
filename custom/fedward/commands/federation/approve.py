"""Define ``fedward federation approve``: sign the request of an invited participant."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from fedward.commands.audit_notes import federation_log, note
from fedward.commands.federation.options import FILE, OUT
from fedward.commands.output_format import FORMAT, Format
from fedward.provisioning.crl import CRL_FILE
from fedward.provisioning.folder import STATE
from fedward.provisioning.participants import Kind
from fedward.settings import read_federation

if TYPE_CHECKING:
    from fedward.flare.kits.distributed import Approved


_DAYS = typer.Option(365, min=1, help="Days that the certificate is valid.")


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
    log = federation_log(approved.path.parent.parent)
    note(log, "request-approved", name=approved.name, fingerprint=expect)
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
