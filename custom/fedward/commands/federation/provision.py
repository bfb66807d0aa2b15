"""Define ``fedward federation provision``: a startup kit for each participant without one."""

from __future__ import annotations

import json
from pathlib import Path

import typer

from fedward.commands.audit_notes import federation_log, note
from fedward.commands.federation.extras import extras_for
from fedward.commands.federation.options import OUT, TEMPLATES
from fedward.commands.output_format import FORMAT, Format
from fedward.settings import read_federation


def provision(
    file: Path = typer.Argument(
        ..., metavar="FILE", help="The federation's file, such as provisioning/federation.yml."
    ),
    out: Path = OUT,
    only: list[str] = typer.Option([], metavar="NAME", help="Make kits for these alone; once for each."),
    anew: list[str] = typer.Option([], metavar="NAME", help="Give a name that was revoked a new kit; once for each."),
    templates: Path | None = TEMPLATES,
    dry_run: bool = typer.Option(False, "--dry-run", help="Print the plan and write nothing."),
    format: Format = FORMAT,
) -> None:
    """Make a startup kit for each participant without one. Prints the plan first; kits that exist do not change.

    Whoever runs this holds the keys. In production, make the server's and the operator's own kit with --only, and
    `federation invite` the hospitals.
    """
    from fedward.flare.kits.central import plan_provisioning
    from fedward.flare.kits.central import provision as make

    spec = read_federation(file)
    plan = plan_provisioning(spec, out, only=only, anew=anew)
    if format is Format.json:
        steps = [{"name": s.name, "kind": s.kind, "action": s.action, "note": s.note} for s in plan.steps]
        typer.echo(json.dumps({"federation": spec.name, "written": not dry_run, "steps": steps}, indent=2))
    else:
        for step in plan.steps:
            typer.echo(str(step))
    plan.require_possible()
    if dry_run:
        return
    new = plan.names("new")
    extras = {name: extras_for(name, spec, file, templates) for name in sorted(new)}
    kits = make(spec, out, extras=extras, only=only, anew=anew)
    if new:
        note(federation_log(kits.folder.parent), "kits-provisioned", name=spec.name, sites=sorted(new))
    if format is Format.text:
        for name in sorted(new):
            typer.echo(f"kit  {kits.folder / name}")
