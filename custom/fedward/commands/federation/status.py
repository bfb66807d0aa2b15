"""Define ``fedward federation status``: participants, their kits and the ends of their certificates."""

from __future__ import annotations

import json
import sys
from contextlib import redirect_stdout
from datetime import UTC, datetime
from pathlib import Path

import typer

from fedward.commands.federation.options import FEDERATION, OUT, folder_of
from fedward.commands.output_format import FORMAT, Format
from fedward.provisioning.status import KitStatus, standing, wants_attention

_SHORT = 12
"""Digits of a wheel's hash that a line shows."""


def status(
    out: Path = OUT,
    federation: str | None = FEDERATION,
    kit: Path | None = typer.Option(None, help="A person's kit: also ask the server when it last heard of each site."),
    format: Format = FORMAT,
) -> None:
    """List participants, their kits and when their certificates end. Exit code 1 when a certificate in use ends
    within 30 days, or has ended."""
    from fedward.provisioning.stamp import package_hash

    inventory = folder_of(out, federation).known()
    seen = _seen(kit) if kit is not None else None
    rows = standing(inventory, today=datetime.now(UTC), wheel=package_hash(), seen=seen)
    if format is Format.json:
        typer.echo(json.dumps([_plain(row) for row in rows], indent=2))
    else:
        typer.echo("\n".join(_lines(rows)))
    if wants_attention(rows):
        raise typer.Exit(1)


def _seen(kit: Path) -> dict[str, datetime]:
    from fedward.flare.admin_session import console

    with redirect_stdout(sys.stderr), console(kit) as session:  # FLARE prints there that it connects
        return session.last_seen()


def _plain(row: KitStatus) -> dict[str, object]:
    return {
        "name": row.name,
        "kind": row.kind,
        "way": row.way,
        "state": row.state,
        "days_left": row.days_left,
        "fedward": row.fedward,
        "flare": row.flare,
        "wheel": row.wheel,
        "same_wheel": row.same_wheel,
        "last_seen": None if row.last_seen is None else row.last_seen.isoformat(),
    }


def _lines(rows: tuple[KitStatus, ...]) -> list[str]:
    """Return one line for each participant, in columns; scripts use --format json."""
    table = [("name", "way", "state", "days left", "fedward", "flare", "wheel", "last seen")]
    for row in rows:
        wheel = row.wheel[:_SHORT] + ("" if row.same_wheel else " (not this one)")
        seen = "—" if row.last_seen is None else f"{row.last_seen:%Y-%m-%d %H:%M:%S} UTC"
        left = "—" if row.days_left is None else str(row.days_left)
        table.append((row.name, row.way, row.state, left, row.fedward, row.flare, wheel, seen))
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in table]
