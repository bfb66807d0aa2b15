"""Define ``fedward federation status``: participants, their kits and the ends of their certificates."""

from __future__ import annotations

import json
import sys
from contextlib import redirect_stdout
from datetime import UTC, datetime, timedelta
from pathlib import Path

import typer

from fedward.commands.federation.options import FEDERATION, OUT, SERVER, folder_of
from fedward.commands.output_format import FORMAT, Format
from fedward.provisioning.folder import FederationFolder
from fedward.provisioning.inventory import Inventory
from fedward.provisioning.stamp import Stamp, package_hash, read_stamp
from fedward.provisioning.status import KitStatus, fleet, standing, wants_attention

_SHORT = 12
"""Digits of a wheel's hash that a line shows."""


def status(
    out: Path = OUT,
    federation: str | None = FEDERATION,
    kit: Path | None = typer.Option(None, help="A person's kit: also ask the server when it last heard of each site."),
    server: Path | None = SERVER,
    format: Format = FORMAT,
) -> None:
    """List participants, their kits and when their certificates end. Also which version each runs, how old that figure
    is, and whether the fleet is mixed. Exit code 1 when a certificate in use ends within 30 days, or has ended."""

    folder = folder_of(out, federation)
    inventory, now = folder.known(), datetime.now(UTC)
    seen = _seen(kit) if kit is not None else None
    runs = _runs(server or folder.kit(inventory.host), required=server is not None)
    kits = _stamps(folder, inventory)
    rows = standing(inventory, today=now, wheel=package_hash(), seen=seen, kits=kits, runs=runs)
    if format is Format.json:
        typer.echo(json.dumps([_plain(row) for row in rows], indent=2))
    else:
        typer.echo("\n".join(_lines(rows, now)))
        versions = fleet(rows)
        if len(versions) > 1:
            named = "; ".join(f"{version} at {', '.join(names)}" for version, names in versions.items())
            typer.echo(f"mixed fleet: {named}. `fedward federation update` brings all to the version of this machine.")
    if wants_attention(rows):
        raise typer.Exit(1)


def _seen(kit: Path) -> dict[str, datetime]:
    from fedward.flare.admin_session import console

    with redirect_stdout(sys.stderr), console(kit) as session:  # FLARE prints there that it connects
        return session.last_seen()


def _runs(kit: Path, *, required: bool) -> dict[str, tuple[str, datetime]]:
    """Return each site's version in its last job, from the metrics store in the server's kit, if it is here."""
    from fedward.metrics.queries import versions
    from fedward.metrics.store import STORE_FILE, Store

    if not (kit / STORE_FILE).is_file() and not required:
        return {}
    with Store.open(kit / STORE_FILE) as store, store.turn() as connection:
        found = versions(connection)
    return {site: (version, datetime.fromtimestamp(at, UTC)) for site, (version, at) in found.items()}


def _stamps(folder: FederationFolder, inventory: Inventory) -> dict[str, Stamp]:
    """Return the stamps of the kits in the operator's folder; a kit that was moved away has none."""

    here = [one.name for one in inventory.participants if (folder.kit(one.name) / "local").is_dir()]
    return {name: read_stamp(folder.kit(name)) for name in here}


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
        "kit": None if row.kit is None else row.kit.model_dump(include={"fedward", "flare", "wheel", "updated"}),
        "runs": row.runs,
        "runs_at": None if row.runs_at is None else row.runs_at.isoformat(),
    }


def _lines(rows: tuple[KitStatus, ...], now: datetime) -> list[str]:
    """Return one line for each participant, in columns; scripts use --format json."""

    here = package_hash()
    table = [("name", "way", "state", "days left", "fedward", "flare", "wheel", "runs", "last seen")]
    for row in rows:
        made = row.kit or row
        wheel = made.wheel[:_SHORT] + ("" if made.wheel == here else " (not this one)")
        runs = "—" if row.runs_at is None else f"{row.runs}, {_age(now - row.runs_at)} ago"
        seen = "—" if row.last_seen is None else f"{row.last_seen:%Y-%m-%d %H:%M:%S} UTC"
        left = "—" if row.days_left is None else str(row.days_left)
        table.append((row.name, row.way, row.state, left, made.fedward, made.flare, wheel, runs, seen))
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in table]


def _age(age: timedelta) -> str:
    """Return an age in its largest whole unit."""
    seconds = max(0, int(age.total_seconds()))
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"
