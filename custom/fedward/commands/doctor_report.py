"""Print progress and report of both doctors, and set the exit code."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer
from rich.text import Text

from fedward.commands.output_format import Format
from fedward.errors import FederationError
from fedward.screen import screen

if TYPE_CHECKING:
    from fedward.doctor.checks import Check
    from fedward.doctor.context import Visit
    from fedward.doctor.run import Heard

FAILED, NOT_A_KIT = 1, 4


def examined(case: Visit, checks: Sequence[Check]) -> tuple[Heard, ...]:
    """Run the checks; show the current one on stderr."""
    from fedward.doctor.run import examine

    with _progress() as say:
        return examine(case, checks=checks, on_check=say)


def show(heard: tuple[Heard, ...], case: Visit, format: Format) -> None:
    """Print the report; exit with code 1 if a check failed."""
    from fedward.doctor.report import as_json, as_text, result

    typer.echo(as_json(heard, case) if format is Format.json else as_text(heard, case))
    if result(heard) == "fail":
        raise typer.Exit(FAILED)


def not_a_kit(error: FederationError, format: Format) -> typer.Exit:
    """Print the reason why a folder is not the requested kit; return the exit to raise."""
    if format is Format.json:
        typer.echo(json.dumps({"schema": "fedward.doctor", "version": 1, "error": str(error)}))
    typer.echo(f"fedward: {error}", err=True)
    return typer.Exit(NOT_A_KIT)


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """Show the current check on stderr and remove it at the end; show nothing if stderr is not a terminal."""
    console = screen(stderr=True)
    if not console.is_terminal:
        yield lambda name: None
        return
    with console.status("") as status:
        yield lambda name: status.update(Text(name))
