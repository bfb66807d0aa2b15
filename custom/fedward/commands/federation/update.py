"""Define ``fedward federation update``: one signed file that brings every kit to the version that runs here."""

from __future__ import annotations

import json
from pathlib import Path

import typer

from fedward.commands.federation.options import FEDERATION, folder_of
from fedward.commands.output_format import FORMAT, Format


def update(
    folder: Path = typer.Argument(..., metavar="FOLDER", help="The --out that the federation was provisioned with."),
    out: Path = typer.Option(..., metavar="UPDATE.zip", help="File to write; send it to every site."),
    federation: str | None = FEDERATION,
    format: Format = FORMAT,
) -> None:
    """Sign an update of all kits to this version. Sites install the package, then run `fedward site update`. Keys,
    certificates and the hospitals' own files are not in it."""
    from fedward.flare.kits.update import make_update

    made = make_update(folder_of(folder, federation), out)
    if format is Format.json:
        kits = [{"name": kit.participant, "was": kit.was, "files": len(kit.files)} for kit in made.kits]
        answer = {"update": str(out), "fedward": made.fedward, "flare": made.flare, "wheel": made.wheel, "kits": kits}
        typer.echo(json.dumps(answer, indent=2))
        return
    typer.echo(f"update  {out}, to Fedward {made.fedward}, wheel {made.wheel}")
    for kit in made.kits:
        typer.echo(f"  {kit.participant}: made with {kit.was}, {len(kit.files)} files")
    typer.echo(
        "Send it with the wheel. Each site, and the server, between jobs: install the wheel, run "
        f"`fedward site update KIT {out.name}`, restart the service."
    )
