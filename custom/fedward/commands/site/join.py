"""Define ``fedward site join``: a hospital makes its own key, and its kit from the operator's signed file."""

from __future__ import annotations

import json
from pathlib import Path

import typer

from fedward.commands.audit_notes import kit_log, note
from fedward.commands.output_format import FORMAT, Format
from fedward.errors import FederationError

_INVITATION, _SIGNED = ".invitation.json", ".signed.zip"


def join(
    what: Path = typer.Argument(
        ..., metavar="FILE", help="SITE.invitation.json first; then SITE.signed.zip, also after a renewal."
    ),
    request: Path = typer.Option(..., metavar="FOLDER", help="Folder of this kit's private key and request; keep it."),
    kit: Path | None = typer.Option(None, help="Folder for the kit, with the signed zip; a person's has their name."),
    authority: str | None = typer.Option(
        None, metavar="FINGERPRINT", help="The authority's fingerprint that the operator read over the telephone."
    ),
    format: Format = FORMAT,
) -> None:
    """Answer an invitation, then make the kit from the signed zip. A later signed zip renews the kit's certificate."""
    if what.name.endswith((_INVITATION, _SIGNED)) and not what.is_file():
        raise FederationError("no such file", where=what, remedy="give the path of what the operator sent")
    if what.name.endswith(_INVITATION):
        _request(what, request, format)
    elif what.name.endswith(_SIGNED):
        if kit is None or authority is None:
            remedy = "give --kit FOLDER and --authority FINGERPRINT"
            raise FederationError("a signed zip needs a kit's folder and the authority's fingerprint", remedy=remedy)
        _join(what, request, kit, authority, format)
    else:
        remedy = f"give a file that ends in {_INVITATION} or {_SIGNED}"
        raise FederationError("is neither an invitation nor a signed zip", where=what, remedy=remedy)


def _request(invitation: Path, folder: Path, format: Format) -> None:
    from fedward.flare.kits.distributed import make_request

    made = make_request(invitation, folder)
    if format is Format.json:
        typer.echo(json.dumps({"request": str(made.path), "key": made.key, "authority": made.authority}, indent=2))
        return
    typer.echo(f"request  {made.path}")
    typer.echo(f"  key's fingerprint {made.key}")
    typer.echo(f"  invitation is by the authority {made.authority}")
    typer.echo(
        f"Send the request to the operator, then call them on a number that you know. Read the key's fingerprint to "
        "them, and have them read the authority's to you: if it is not the one above, go no further. "
        f"The private key stays in {folder}; keep that folder, a renewal needs it."
    )


def _join(signed: Path, request: Path, kit: Path, authority: str, format: Format) -> None:
    from fedward.flare.kits.join import join as make

    joined = make(signed, request, kit, authority=authority)
    if joined.done != "kept":
        note(kit_log(joined.kit), "kit-joined", name=joined.name, way=joined.done)
    if format is Format.json:
        typer.echo(
            json.dumps({"kit": str(joined.kit), "done": joined.done, "not_after": str(joined.not_after)}, indent=2)
        )
        return
    until = f"certificate until {joined.not_after.date()}"
    answer = {
        "made": f"kit of {joined.name}, {until}",
        "renewed": f"renewed, {until}; restart its service to use it",
        "kept": f"already so, {until}",
    }
    typer.echo(f"{joined.kit}: {answer[joined.done]}")
