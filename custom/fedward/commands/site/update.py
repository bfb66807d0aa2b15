"""Define ``fedward site update``: bring a kit to a new version from the operator's signed file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from fedward.commands.output_format import FORMAT, Format
from fedward.provisioning.participants import Kind

if TYPE_CHECKING:
    from fedward.flare.kits.update import Updated


def update(
    kit: Path = typer.Argument(..., metavar="KIT", help="The kit's folder; also the server's."),
    file: Path = typer.Argument(..., metavar="UPDATE.zip", help="Update that the operator signed."),
    dry_run: bool = typer.Option(False, "--dry-run", help="Write nothing; show what would change."),
    format: Format = FORMAT,
) -> None:
    """Bring a kit to a new version, whole or not at all. Keys, certificates, site.toml and the ledger stay; an edited
    file is refused by its name. The old files stay in the kit's `replaced/`."""
    from fedward.flare.kits.update import update_kit

    done = update_kit(kit, file, dry_run=dry_run)
    running = _running(kit, done.kind)
    if format is Format.json:
        typer.echo(json.dumps(_plain(done, running), indent=2))
        return
    for change in done.plan.changes:
        typer.echo(change.diff)
    before, after = done.plan.before, done.plan.after
    step = f"Fedward {before.fedward} → {after.fedward}, {len(done.plan.changes)} files"
    if done.plan.done:
        typer.echo(f"{kit}: already so, Fedward {before.fedward}")
    elif done.kept is None:
        typer.echo(f"{kit}: would be {step}")
    else:
        typer.echo(f"{kit}: {step}; the old ones are in {done.kept}")
        pids = ", ".join(map(str, running))
        typer.echo(f"Restart its service to use it{f': it runs now, process {pids}' if pids else ', where it runs'}.")


def _running(kit: Path, kind: Kind) -> list[int]:
    """Return the processes of a site's service that this user can see."""
    from fedward.doctor.site.process import running

    return [one.pid for one in running(kit)] if kind is Kind.site else []


def _plain(done: Updated, running: list[int]) -> dict[str, object]:
    return {
        "name": done.plan.before.participant,
        "from": done.plan.before.fedward,
        "to": done.plan.after.fedward,
        "changed": [change.path for change in done.plan.changes],
        "applied": done.kept is not None,
        "kept": None if done.kept is None else str(done.kept),
        "restart": done.kept is not None,
        "running": running,
    }
