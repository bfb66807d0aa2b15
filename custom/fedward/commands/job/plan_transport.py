"""Plan a job's transfers for ``fedward job plan``, from options or an earlier run, and print the table for job.toml."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from fedward.commands.job.plan_bytes import round_bytes
from fedward.errors import JobError
from fedward.metrics.events import EVENTS_FILE
from fedward.settings import JobSpec
from fedward.transport.measured import Measured, measured
from fedward.transport.plan import Line, Payload, TransportPlan, plan_transport


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Options of the command about lines; None: not given."""

    mbit_s: float | None
    up_mbit_s: float | None
    server_mbit_s: float | None
    round_trip_ms: float
    stall_s: float
    work_s: float | None
    run: Path | None

    @property
    def any(self) -> bool:
        """True if a line is to be planned for."""
        return self.mbit_s is not None or self.run is not None


def planned(job: JobSpec, asked: Asked, *, sites: int) -> TransportPlan:
    """Return the plan of a job's transfers.

    Raises:
        JobError: as ``plan_transport``; or neither an option nor the run tells the line's speed or the work's seconds.
    """
    past = None if asked.run is None else _measured(asked.run)
    mbit_s = asked.mbit_s if asked.mbit_s is not None else _rate(past)
    work_s = asked.work_s if asked.work_s is not None else None if past is None else past.work_s
    if work_s is None:
        remedy = "give --work-s SECONDS, or --measured RUN of an earlier run"
        raise JobError("slowest hospital's work in a round is not known", where="--work-s", remedy=remedy)
    line = Line(
        down_mbit_s=mbit_s,
        up_mbit_s=mbit_s if asked.up_mbit_s is None else asked.up_mbit_s,
        round_trip_s=asked.round_trip_ms / 1000.0,
        stall_s=asked.stall_s,
    ).through(asked.server_mbit_s, sites=max(sites, job.federation.min_sites))
    return plan_transport(
        job, payload=payload_of(job, sites=max(sites, job.federation.min_sites)), line=line, work_s=work_s
    )


def payload_of(job: JobSpec, *, sites: int) -> Payload:
    """Return the bytes of a round's messages between the server and one of so many hospitals; errors as
    ``round_bytes``.
    """
    found = round_bytes(job, sites=sites)
    return Payload(down=found.down, up=found.up, in_pieces=job.encryption is None)


def show(plan: TransportPlan) -> None:
    """Print the plan, and what to write where."""
    table = plan.transport
    typer.echo(
        f"a round at the slowest hospital: {plan.down_s:.1f} s down, {plan.work_s:.1f} s work, {plan.up_s:.1f} s up, "
        f"{plan.round_s:.1f} s in all"
    )
    for warning in plan.warnings:
        typer.echo(f"warning: {warning}")
    typer.echo("in job.toml:\n\n[transport]")
    for name, value in table.model_dump().items():
        typer.echo(f"{name} = {value:g}")
    seconds = {**plan.timeouts.server, **plan.timeouts.client}
    typer.echo("\nwhat FLARE gets from it, in seconds:")
    typer.echo("\n".join(f"  {name} {value:g}" for name, value in sorted(seconds.items())))
    if plan.kit:
        typer.echo(f"each kit needs in local/comm_config.json: {json.dumps(plan.kit)}")


def plain(plan: TransportPlan) -> dict[str, Any]:
    """Return the plan for JSON."""
    return {
        "down_s": plan.down_s,
        "work_s": plan.work_s,
        "up_s": plan.up_s,
        "round_s": plan.round_s,
        "transport": plan.transport.model_dump(),
        "client": dict(plan.timeouts.client),
        "server": dict(plan.timeouts.server),
        "kit": plan.kit,
        "warnings": list(plan.warnings),
    }


def _measured(run: Path) -> Measured:
    inside = (run / EVENTS_FILE, run / "workspace" / EVENTS_FILE)
    path = run if run.is_file() else next((path for path in inside if path.is_file()), inside[0])
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        events = [json.loads(line) for line in lines]
    except OSError as error:
        remedy = f"give a downloaded result, or a run's folder with its {EVENTS_FILE}"
        raise JobError("run cannot be read", where=path, value=error.strerror, remedy=remedy) from None
    except ValueError:
        raise JobError("is not a run's events", where=path, remedy="give another run") from None
    return measured([event for event in events if isinstance(event, dict)], where=str(path))


def _rate(past: Measured | None) -> float:
    if past is None or past.mbit_s is None:
        remedy = "give --mbit-s: the run's transfers were too short to tell" if past else "give --mbit-s"
        raise JobError("slowest line is not known", where="--mbit-s", remedy=remedy)
    return past.mbit_s
