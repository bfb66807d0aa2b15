"""Define the arguments that several verbs of ``fedward site`` share."""

from __future__ import annotations

from pathlib import Path

import typer

SITE_TOML: Path = typer.Argument(..., metavar="SITE_TOML", help="The hospital's site.toml.")
