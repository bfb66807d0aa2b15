"""Define the options that several verbs of ``fedward federation`` share."""

from __future__ import annotations

from pathlib import Path

import typer

from fedward.errors import FederationError
from fedward.provisioning.folder import STATE, FederationFolder
from fedward.provisioning.inventory import INVENTORY_FILE

OUT: Path = typer.Option(Path("build/federation"), help="Folder for the kits and the certificate authority.")
FILE: Path = typer.Option(..., "--file", help="The federation's file.")
TEMPLATES: Path | None = typer.Option(
    None, help="Folder of a site's files to start from; by default site_templates beside the file's folder."
)
NAME = typer.Argument(..., metavar="NAME", help="A site's id, the server's host, or a person's e-mail.")
FEDERATION = typer.Option(None, "--federation", help="Its name, where --out holds more than one.")
SERVER = typer.Option(None, help="The server's kit, if it is on this machine in another folder.")


def folder_of(out: Path, federation: str | None) -> FederationFolder:
    """Return the federation's folder below ``--out``.

    Raises:
        FederationError: there is none, or more than one and no name.
    """
    if federation is not None:
        return FederationFolder(out / federation)
    found = sorted(path.parent.parent for path in out.glob(f"*/{STATE}/{INVENTORY_FILE}"))
    if len(found) != 1:
        what = "no federation is here" if not found else "more than one federation is here"
        remedy = "give the --out that it was provisioned with" if not found else "name one with --federation"
        raise FederationError(what, where=out, remedy=remedy)
    return FederationFolder(found[0])
