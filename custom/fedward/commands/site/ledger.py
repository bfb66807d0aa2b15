"""Define ``fedward site ledger``: the ε spent by the hospital's patients, for hospital IT and the privacy officer."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer
from rich.table import Table
from rich.text import Text

from fedward.commands.audit_notes import note, site_log
from fedward.commands.output_format import FORMAT, Format
from fedward.commands.site.options import SITE_TOML
from fedward.errors import LedgerError
from fedward.privacy.ledger.chain_head import head_path
from fedward.privacy.ledger.chain_store import CREATE
from fedward.privacy.ledger.ledger import Ledger
from fedward.privacy.ledger.statement import CohortLine, JobLine, cohort_lines, curves, job_lines
from fedward.screen import screen
from fedward.settings import SitePolicy, read_site

_LEGEND = (
    "q: chance of a patient to be in a step; σ: noise over the clip; back: steps planned that never began, which cost "
    "nothing; ε alone: of that job; ε after: of the cohort, with every job up to it"
)


def ledger(
    site_toml: Path = SITE_TOML,
    create: bool = typer.Option(False, "--create", help="Make the ledger; once in a hospital's life."),
    verify: bool = typer.Option(False, "--verify", help="Check every entry, and print the head to keep elsewhere."),
    settle: str | None = typer.Option(
        None, metavar="JOB_ID", help="Close a job whose process was killed, and give back its rounds that never began."
    ),
    plot: Path | None = typer.Option(None, metavar="FILE.svg", help="Draw ε over time to this file."),
    format: Format = FORMAT,
) -> None:
    """Print what each cohort's patients have spent and have left. By job; exit code 1 when the ledger is absent or was
    changed."""
    policy = read_site(site_toml)
    book = _open(policy, create=create)
    if create:
        note(site_log(site_toml), "ledger-created", file=policy.ledger.name)
    if settle is not None:
        answer, message = _settle(site_toml, policy, settle)
        note(site_log(site_toml), "ledger-settled", job=settle, steps=answer["refunded_steps"])
    elif plot is not None:
        answer, message = _plot(book, policy, plot)
    elif create or verify:
        answer, message = _verified(book)
    else:
        _state(book, policy, format)
        return
    typer.echo(json.dumps(answer) if format is Format.json else message)


def _open(policy: SitePolicy, *, create: bool) -> Ledger:
    """Open the ledger and check every entry. Without ``create`` neither a ledger nor a key is created."""
    from fedward.indexing.site_key import load_key

    if not policy.key.exists():
        if policy.ledger.exists() or head_path(policy.ledger).exists():
            what = "the site key that the ledger was made with is gone"
            raise LedgerError(what, where=policy.key, remedy="restore it; a new one opens neither ledger nor cohorts")
        if not create:
            raise LedgerError("no privacy ledger here", where=policy.ledger, remedy=CREATE)
    key = load_key(policy.key).secret
    return (Ledger.create if create else Ledger.open)(policy.ledger, site=policy.site, key=key)


def _verified(book: Ledger) -> tuple[dict[str, Any], str]:
    entries = book.entries()
    head = entries[-1].hash
    message = f"{book.path}: {len(entries)} entries, each follows the one before it; head {head}"
    return {"ledger": str(book.path), "entries": len(entries), "head": head}, message


def _settle(site_toml: Path, policy: SitePolicy, job_id: str) -> tuple[dict[str, Any], str]:
    from fedward.flare.site.settlement import destroy_ended_keys, settle_for_good  # loaded late: FLARE takes a moment

    done = settle_for_good(policy, job_id)
    destroy_ended_keys(site_toml.resolve().parent.parent, policy)
    message = (
        f"job {job_id} is over here: {done.refunded_steps} steps that never began are given back, {done.begun_steps} "
        f"stay spent; ε of its patients is now {_number(done.epsilon)}"
    )
    return {**_plain(asdict(done)), "state": "closed"}, message


def _plot(book: Ledger, policy: SitePolicy, file: Path) -> tuple[dict[str, Any], str]:
    from fedward.files import write_atomic
    from fedward.reporting.charts.spending import spend_chart

    drawing = spend_chart(curves(book, policy), site=policy.site)
    if not drawing:
        raise LedgerError("nothing was spent yet, so there is nothing to draw", where=book.path)
    write_atomic(file, drawing + "\n")
    return {"plot": str(file)}, str(file)


def _state(book: Ledger, policy: SitePolicy, format: Format) -> None:
    cohorts, jobs = cohort_lines(book, policy), job_lines(book)
    if format is Format.json:
        content = {
            "site": policy.site,
            "cohorts": [_plain(asdict(line)) for line in cohorts],
            "jobs": [_plain(asdict(line)) for line in jobs],
        }
        typer.echo(json.dumps(content, indent=2, allow_nan=False))
        return
    out = screen()
    out.print(_cohort_table(policy.site, cohorts))
    if jobs:
        out.print(_job_table(jobs))
        out.print(_LEGEND)
    if any(line.state == "open" for line in jobs):
        out.print("open: planned steps count in full; `--settle ID` closes a job whose process was killed")


def _plain(line: dict[str, Any]) -> dict[str, Any]:
    """Return the line for JSON, which has no infinity: infinity becomes the text "inf"."""
    return {key: "inf" if value == math.inf else value for key, value in line.items()}


def _cohort_table(site: str, lines: list[CohortLine]) -> Table:
    table = Table("cohort", title=f"{site}, ε spent", title_justify="left")
    for title in ("patients", "spent ε", "by", "cap", "left", "δ"):
        table.add_column(title, justify="right")
    for line in lines:
        patients = f"{line.patients}" if line.indexed else f"{line.patients} (no index)"
        by = f"{line.at_spent} patients" if line.spent else ""
        numbers = (_number(line.spent), by, _number(line.cap), _number(line.left))
        table.add_row(line.cohort, patients, *numbers, _delta(line.delta))
    return table


def _job_table(lines: list[JobLine]) -> Table:
    """Build a table with three lines for each job, so that a job's id fits a terminal of 80 columns."""
    table = Table("job", title="by job", title_justify="left", show_lines=True)
    for title in ("mechanism", "steps", "ε alone", "ε after"):
        table.add_column(title, justify="right", no_wrap=True)
    for line in lines:
        mechanism, steps = "no privacy", ""
        if line.noise_multiplier is not None:
            mechanism = f"{line.rounds} rounds\nq {line.sampling_rate:.3g}\nσ {line.noise_multiplier:.3g}"
            steps = f"{line.planned_steps} planned\n{line.begun_steps} begun\n{line.refunded_steps} back"
        state = f"{line.state}, reopened {line.reopened}×" if line.reopened else line.state
        named = Text(f"{line.job}, {line.cohort}\n{line.job_id}\n{state}, {line.at[:10]}", overflow="fold")
        table.add_row(named, mechanism, steps, _number(line.epsilon), _number(line.cohort_epsilon))
    return table


def _number(value: float | None) -> str:
    if value is None:
        return "none"
    return "∞" if value == math.inf else f"{value:.2f}"


def _delta(value: float | None) -> str:
    return "none" if value is None else f"{value:g}"
