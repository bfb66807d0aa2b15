"""``fedward site …``: what hospital IT does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from fedward.commands import site_ledger, site_policy
from fedward.commands.format import Format
from fedward.dicom.index import Progress as Report
from fedward.dicom.index import index_cohort
from fedward.dicom.quarantine import Table as Reasons
from fedward.dicom.quarantine import TooManyQuarantined
from fedward.dicom.summary import Summary, summarise
from fedward.errors import SettingsError
from fedward.settings import read_site

app = typer.Typer(help="Images, policy and privacy ledger of one hospital: for its IT.", no_args_is_help=True)
app.command(name="ledger")(site_ledger.ledger)
app.add_typer(site_policy.app, name="policy")
_FEW_VALUES = 8


@app.command()
def index(
    site_toml: Path = typer.Argument(..., help="The hospital's site.toml."),
    cohort: str | None = typer.Option(None, help="Index this cohort alone; without it, all of them."),
    workers: int | None = typer.Option(None, min=1, help="Processes that read; without it, one a CPU."),
    format: Format = typer.Option(Format.text, "--format", help="text for people, json for scripts."),
) -> None:
    """Read the cohort's images and write its manifest and quarantine list. Only what changed is read again."""
    policy = read_site(site_toml)
    if not policy.cohorts:
        raise SettingsError("names no cohort", where=site_toml, remedy="add a [cohorts.<name>] table")
    summaries = []
    for name in [cohort] if cohort is not None else sorted(policy.cohorts):
        try:
            with _bar(name) as report:
                manifest = index_cohort(policy, name, progress=report, workers=workers)
        except TooManyQuarantined as refusal:
            Console(stderr=True).print(_reasons(refusal.table, name))
            raise
        summaries.append(summarise(manifest, policy.cohorts[name].index))
    if format is Format.json:
        typer.echo(json.dumps([asdict(summary) for summary in summaries], indent=2))
        return
    for summary in summaries:
        _show(summary)


@contextmanager
def _bar(cohort: str) -> Iterator[Report]:
    """A progress bar on stderr, gone when done; it shows nothing where stderr is no terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(f"indexing {cohort}", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _show(summary: Summary) -> None:
    out = Console()
    table = Table(title=f"{summary.site}, cohort {summary.cohort}", show_header=False, title_justify="left")
    table.add_row("images", str(summary.images))
    sides = f"{summary.train_patients} train, {summary.validation_patients} validation"
    table.add_row("patients", f"{summary.patients} ({sides})")
    table.add_row("masks", f"{summary.masks} of {summary.images} images")
    for column, values in summary.labels.items():
        shown = ", ".join(f"{value}: {count}" for value, count in values.items())
        if len(values) > _FEW_VALUES:
            shown = f"{len(values)} different values"
        table.add_row(f"label {column}", f"{sum(values.values())} of {summary.images} images ({shown})")
    for flag, count in summary.flags.items():
        table.add_row(f"flagged {flag}", str(count))
    table.add_row("index", summary.index)
    out.print(table)
    if summary.quarantined:
        out.print(_reasons(summary.quarantined, summary.cohort))


def _reasons(reasons: Reasons, cohort: str) -> Table:
    table = Table("files", "reason", "which means that the file", title_justify="left")
    table.title = f"set aside from cohort {cohort}: {sum(count for _, count, _ in reasons)} files"
    for reason, count, explanation in reasons:
        table.add_row(str(count), reason, explanation)
    return table
