"""Define ``fedward job parts``: the networks, losses, transforms and optimizers that a job may name."""

from __future__ import annotations

import typer

from fedward.errors import JobError

WHAT = typer.Argument(
    "all", metavar="[TABLE|NAME]", help="networks, losses, transforms or optimizers; or the name of one part."
)


def parts(what: str = WHAT) -> None:
    """List the networks, losses, transforms and optimizers. With a part's name, its arguments with their defaults, and
    its lines for job.toml."""
    from fedward.parts.tables import KINDS, parts_of, similar
    from fedward.parts.text import names_text, part_text

    wanted = what.lower()
    kinds = [kind for kind in KINDS if wanted in ("all", kind)]
    if kinds:
        for number, kind in enumerate(kinds):
            typer.echo(f"{'' if number == 0 else chr(10)}{kind}\n\n{names_text(tuple(parts_of(kind)))}")
        typer.echo("\n`fedward job parts NAME` shows the arguments of one. More, with sources: docs/parts.md")
        return
    known = {part.name: part for kind in KINDS for part in parts_of(kind)}
    found = next((part for name, part in known.items() if name.lower() == wanted), None)
    if found is None:
        near = similar(what, [*known, *KINDS])
        remedy = f"did you mean {' or '.join(near)}" if near else f"give one of {', '.join(KINDS)}"
        raise JobError("is on no table", where=what, remedy=remedy)
    typer.echo(part_text(found))
