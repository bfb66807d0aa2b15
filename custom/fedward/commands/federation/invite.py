"""Define ``fedward federation invite``: an invitation for a participant that makes its own key."""

from __future__ import annotations

import json
from pathlib import Path

import typer

from fedward.commands.audit_notes import federation_log, note
from fedward.commands.federation.extras import extras_for
from fedward.commands.federation.options import FILE, OUT, TEMPLATES
from fedward.commands.output_format import FORMAT, Format
from fedward.settings import read_federation


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
    note(federation_log(invited.path.parent.parent), "invited", name=name)
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
