"""Define ``fedward job plan``: the privacy cost of a job for each hospital's patients, before it runs."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer
from rich.table import Table

from fedward.commands.job.options import JOB
from fedward.commands.job.plan_bytes import round_bytes
from fedward.commands.job.plan_transport import Asked, plain, planned, show
from fedward.commands.output_format import FORMAT, Format
from fedward.errors import JobError
from fedward.privacy.budget_plan import SitePlan, plan_site, steps_a_round, sum_multiplier, union_patients
from fedward.privacy.policy.linter import faults
from fedward.privacy.policy.wording import how_it_starts, how_updates_leave
from fedward.privacy.sum_words import sum_words
from fedward.screen import screen
from fedward.settings import MIN_CONTRIBUTORS, JobSpec, read_job

_NEAR = 0.1
"""Part by which the sites' patients may differ from those that the job expects, without a word."""
_COLUMNS = ("site", "patients", "sampling rate", "noise multiplier", "steps", "ε", "at most ε", "δ")


def plan(
    folder: Path = JOB,
    site: list[str] = typer.Option([], metavar="NAME=PATIENTS", help="A site and its training patients; repeatable."),
    mbit_s: float | None = typer.Option(None, min=0.001, help="Mbit/s to the slowest hospital; plans its transfers."),
    up_mbit_s: float | None = typer.Option(None, min=0.001, help="Mbit/s from it, where that is another figure."),
    server_mbit_s: float | None = typer.Option(
        None, min=0.001, help="Mbit/s of the server's line; all sites share it."
    ),
    round_trip_ms: float = typer.Option(0.0, min=0.0, help="Longest round trip to a hospital."),
    stall_s: float = typer.Option(0.0, min=0.0, help="Longest pause of a line that the job shall survive."),
    work_s: float | None = typer.Option(None, min=0.0, help="The slowest hospital's seconds of work in a round."),
    measured: Path | None = typer.Option(None, metavar="RUN", help="Earlier run: what is not given follows from it."),
    format: Format = FORMAT,
) -> None:
    """Print each site's noise or ε for a job, without running it. A job gives ε or the noise; the other follows. With a
    line's speed, also the seconds of a round there and the time-outs that follow; exit code 1 where a round does not
    fit, or the job has a fault."""
    job = read_job(folder)
    sites = _sites(site)
    if problems := faults(job):
        for problem in problems:
            typer.echo(f"fedward: {problem}", err=True)
        raise typer.Exit(1)
    _room(job, sites)
    asked = Asked(
        mbit_s=mbit_s,
        up_mbit_s=up_mbit_s,
        server_mbit_s=server_mbit_s,
        round_trip_ms=round_trip_ms,
        stall_s=stall_s,
        work_s=work_s,
        run=measured,
    )
    lines = planned(job, asked, sites=len(sites)) if asked.any else None
    if lines is not None and not sites:
        if format is Format.json:
            typer.echo(json.dumps({"job": job.job.name, "transport": plain(lines)}, indent=2))
        else:
            show(lines)
        return
    more = {} if lines is None else {"transport": plain(lines)}
    if job.is_masked:
        count = max(len(sites), job.federation.min_sites, MIN_CONTRIBUTORS)
        size = round_bytes(job, sites=count)
        more["round_bytes"] = {"hospitals": count, **asdict(size)}
    _privacy(job, sites, format, more)
    if job.is_masked and format is Format.text:
        typer.echo(size.words(count))
    if job.noises_sum and format is Format.text:
        count = max(len(sites), job.federation.min_sites, MIN_CONTRIBUTORS)
        for line in [*sum_words(job, sites=count, noise_multiplier=sum_multiplier(job)), *_expected(job, sites)]:
            typer.echo(line)
    if lines is not None and format is Format.text:
        show(lines)


def _privacy(job: JobSpec, sites: dict[str, int], format: Format, more: dict[str, Any]) -> None:
    leave = how_updates_leave(job)
    if job.model.start is not None and format is Format.text:
        typer.echo(f"weights: {how_it_starts(job)}")
    if job.parent is not None and job.privacy.mechanism != "none" and format is Format.text:
        typer.echo("ε below is of this job's rounds; each hospital's ledger adds it to that of the jobs before")
    if job.privacy.mechanism == "none":
        if format is Format.json:
            nothing = {"job": job.job.name, "mechanism": "none", "encryption": leave, "sites": [], **more}
            typer.echo(json.dumps(nothing, indent=2))
        else:
            typer.echo(f"{job.job.name}: no differential privacy, so no ε; privacy.mechanism is none")
            typer.echo(leave)
        return
    if not sites:
        raise JobError("names no site", where="--site", remedy="give --site NAME=PATIENTS for each hospital")
    plans = [
        plan_site(job, site=name, patients=patients, steps_a_round=steps_a_round(job, patients=patients))
        for name, patients in sites.items()
    ]
    if format is Format.json:
        answer = {
            "job": job.job.name,
            "mechanism": job.privacy.mechanism,
            "encryption": leave,
            "sites": [_plain(plan) for plan in plans],
            **more,
        }
        typer.echo(json.dumps(answer, indent=2, allow_nan=False))
    else:
        screen().print(_table(job.job.name, plans))
        typer.echo(leave)


def _expected(job: JobSpec, sites: dict[str, int]) -> list[str]:
    """Return a line where the sites' patients are not those that a job with noise for the sum expects in a step."""
    asked = job.privacy.dp_sgd
    if asked is None or asked.sampling_rate is None or not sites:
        return []
    patients, expected = sum(sites.values()), union_patients(asked)
    if abs(patients - expected) <= _NEAR * patients:
        return []
    drawn = asked.sampling_rate * patients
    what = f"patients_per_step is {asked.patients_per_step:g}, and these sites draw {drawn:.4g} in a step"
    return [f"{what} (sampling_rate × their training patients): give {round(drawn)}"]


def _sites(given: list[str]) -> dict[str, int]:
    """Return name -> patients, in the order given."""
    sites: dict[str, int] = {}
    for text in given:
        name, _, count = text.partition("=")
        if not name or not (count.isascii() and count.isdigit()) or int(count) < 1:
            raise JobError("not NAME=PATIENTS", where="--site", value=text, remedy="such as --site north=120")
        if name in sites:
            raise JobError("a site is given twice", where="--site", value=name, remedy="give each once")
        sites[name] = int(count)
    return sites


def _room(job: JobSpec, sites: dict[str, int]) -> None:
    """Refuse a site that is too large for an encrypted sum, before it trains in vain."""
    encryption = job.encryption
    if encryption is None or job.federation.weighting != "patients":
        return
    for name, patients in sites.items():
        if patients > encryption.max_patients:
            what = f"more patients than encryption.max_patients, {encryption.max_patients}"
            raise JobError(what, where=name, value=patients, remedy="raise it, or say weighting 'equal'")


def _plain(plan: SitePlan) -> dict[str, Any]:
    """Return the plan for JSON: an infinite ε is null."""
    shown = {"epsilon": plan.epsilon, "ceiling": plan.ceiling}
    return asdict(plan) | {name: value if math.isfinite(value) else None for name, value in shown.items()}


def _table(job: str, plans: list[SitePlan]) -> Table:
    table = Table(*_COLUMNS, title=f"{job}, {plans[0].mechanism}, ε for each patient", title_justify="left")
    for plan in plans:
        table.add_row(
            plan.site,
            str(plan.patients),
            f"{plan.sampling_rate:.4g}",
            f"{plan.noise_multiplier:.5g}",
            str(plan.steps),
            _upwards(plan.epsilon),
            _upwards(plan.ceiling),
            f"{plan.delta:.3g}",
        )
    return table


def _upwards(epsilon: float) -> str:
    """Format with two decimals, rounded up, so that the ε spent is never understated."""
    return f"{math.ceil(epsilon * 100) / 100:.2f}" if math.isfinite(epsilon) else "infinite"
