"""Show what a cleaning of a kit removed, or would remove, and what stays and why."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import typer

from fedward.commands.output_format import Format

if TYPE_CHECKING:
    from fedward.upkeep.clean import Cleaning

DRY_RUN: bool = typer.Option(False, "--dry-run", help="Remove nothing; show what would be removed.")
_NONE = (
    "no limits are set, so nothing is removed: write keep_days, keep_jobs, max_gb "
    "([upkeep] of a site's local/site.toml, or the server's local/upkeep.toml)"
)


def show(done: Cleaning, *, dry_run: bool, format: Format) -> None:
    """Print one line for each unit that went, or would go, and for each that must stay."""
    kept = [unit for unit in done.units if unit.kept is not None]
    if format is Format.json:
        answer = {
            "kit": str(done.kit),
            "limits": None if done.retention is None else done.retention.model_dump(),
            "dry_run": dry_run,
            "removed": [{"name": one.unit.name, "bytes": one.unit.size, "why": one.why} for one in done.removals],
            "audit": [path.name for path in done.audit],
            "kept": [{"name": unit.name, "bytes": unit.size, "why": unit.kept} for unit in kept],
            "bytes": sum(unit.size for unit in done.units),
            "freed_bytes": done.freed,
        }
        typer.echo(json.dumps(answer, indent=2))
        return
    verb = "would remove" if dry_run else "removed"
    for one in done.removals:
        day = datetime.fromtimestamp(one.unit.changed, UTC).date()
        typer.echo(f"{verb}  {one.unit.kind} {one.unit.name}  {_size(one.unit.size)}  last change {day}  {one.why}")
    for path in done.audit:
        typer.echo(f"{verb}  audit log {path.name}  an entry of the log says so")
    for unit in kept:
        typer.echo(f"stays  {unit.kind} {unit.name}  {_size(unit.size)}  {unit.kept}")
    left = sum(unit.size for unit in done.units) - done.freed
    typer.echo(f"{done.kit}: {verb} {_size(done.freed)}, {_size(left)} left" if done.retention is not None else _NONE)


def _size(size: int) -> str:
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} bytes"
