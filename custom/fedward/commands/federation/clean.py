"""Define ``fedward federation clean``: remove from the server's kit what ended jobs left, by its own limits."""

from __future__ import annotations

from pathlib import Path

import typer

from fedward.commands.cleaned import DRY_RUN, show
from fedward.commands.output_format import FORMAT, Format


def clean(
    kit: Path = typer.Argument(..., metavar="KIT", help="The server's kit."),
    dry_run: bool = DRY_RUN,
    format: Format = FORMAT,
) -> None:
    """Remove what ended jobs left in the server's kit. Old logs and uploads too, by its local/upkeep.toml. The stored
    result of a job goes with it; a job that is not finished stays."""
    from fedward.upkeep.clean import clean_server

    show(clean_server(kit, dry_run=dry_run), dry_run=dry_run, format=format)
