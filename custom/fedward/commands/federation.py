"""``fedward federation …``: what the operator does."""

from __future__ import annotations

from pathlib import Path

import typer

from fedward.settings import read_federation

app = typer.Typer(help="Provision hospitals: for the federation operator.", no_args_is_help=True)


@app.callback()
def federation() -> None:
    """Provision hospitals: for the federation operator."""


@app.command()
def provision(
    file: Path = typer.Argument(..., help="The federation's file, such as provisioning/federation.yml."),
    out: Path = typer.Option(Path("build/federation"), help="Folder for the kits and the certificate authority."),
) -> None:
    """Make certificates and a startup kit for the server, each hospital and each person."""
    from fedward.flare.kits import provision as make

    kits = make(read_federation(file), out)
    typer.echo(f"server    {kits.server}")
    for kit in kits.sites.values():
        typer.echo(f"hospital  {kit}")
    for kit in kits.people.values():
        typer.echo(f"person    {kit}")
