"""``fedward site doctor``: what hospital IT runs before it calls anyone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import typer
from rich.console import Console

from fedward.commands.format import Format
from fedward.errors import FederationError

FAILED, NOT_A_KIT = 1, 4


def doctor(
    kit: Path = typer.Argument(..., help="Folder of this hospital's FLARE kit."),
    site_toml: Path | None = typer.Option(None, metavar="FILE", help="The policy; without it, KIT/local/site.toml."),
    format: Format = typer.Option(Format.text, "--format", help="text for people, json for a ticket."),
    offline: bool = typer.Option(False, "--offline", help="Leave out what needs the server."),
    model_mb: float = typer.Option(28.0, min=0.001, help="Size of a model, in MB, that sending times are told for."),
) -> None:
    """Look a site over: network, certificates, kit, keys, images, policy, side doors, machine. It changes nothing.

    Exit code 0 when all checks pass or warn, 1 when one failed, 4 when the folder is no site's kit.
    """
    from fedward.doctor.case import Case, read_client
    from fedward.doctor.examine import examine
    from fedward.doctor.report import as_json, as_text, result

    try:
        read_client(kit)
    except FederationError as error:
        if format is Format.json:
            typer.echo(json.dumps({"schema": "fedward.doctor", "version": 1, "error": str(error)}, ensure_ascii=False))
        typer.echo(f"fedward: {error}", err=True)
        raise typer.Exit(NOT_A_KIT) from None
    kit = kit.resolve()
    policy = kit / "local" / "site.toml" if site_toml is None else site_toml.absolute()
    case = Case(kit=kit, site_toml=policy, offline=offline, model_mb=model_mb)
    with _progress() as say:
        heard = examine(case, on_check=say)
    typer.echo(as_json(heard, case) if format is Format.json else as_text(heard, case))
    if result(heard) == "fail":
        raise typer.Exit(FAILED)


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """The check that is being made, on stderr, gone when done; nothing where stderr is no terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda name: None
        return
    with console.status("") as status:
        yield status.update
