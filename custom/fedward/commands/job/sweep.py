"""Define ``fedward job sweep``: the cost of privacy in accuracy, measured before a federation starts."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.progress import BarColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from fedward.commands.job.options import JOB
from fedward.commands.output_format import FORMAT, Format
from fedward.commands.splits import split_of
from fedward.measures import TITLES
from fedward.screen import column, line, progress, screen
from fedward.settings import read_job

if TYPE_CHECKING:
    from fedward.reporting.sweep.sweep import Sweep


def sweep(
    folder: Path = JOB,
    epsilon: str = typer.Option("1,2,4,8,inf", help="Wanted ε at each site, of the whole job; inf: without noise."),
    data: Path | None = typer.Option(None, help="Folder with one folder a hospital. None: synthetic hospitals."),
    split: list[str] = typer.Option(
        [], metavar="SITE=PARTS", help="Deal one hospital's images to several; repeatable."
    ),
    split_sites: int | None = typer.Option(None, help="Deal the only hospital's images to this many sites."),
    seeds: int = typer.Option(1, min=1, help="How many seeds each ε runs with, from the job's own upwards."),
    out: Path = typer.Option(Path("build/sweep"), help="Folder for sweep.json, sweep.html and sweep.svg."),
    format: Format = FORMAT,
) -> None:
    """Run the job here at several ε; draw AUC or Dice against ε. Ctrl-C stops it; finished runs are kept."""
    from fedward.demo.prepare import gather
    from fedward.demo.sweep import epsilons_of, run_sweep
    from fedward.reporting.sweep.page import write_sweep
    from fedward.reporting.sweep.sweep import plain_sweep
    from fedward.training.check import require_sound

    job, asked = read_job(folder), epsilons_of(epsilon)
    require_sound(job)
    named = dict(split_of(text) for text in split)
    columns = (column("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with tempfile.TemporaryDirectory(prefix="fedward-sweep-") as beside, progress(*columns) as bar:
        task = bar.add_task("indexing", total=1.0)
        gathered = gather(
            job,
            data,
            Path(beside),
            named=named,
            every=split_sites,
            workers=0,
            log=lambda site, what: bar.update(task, description=f"indexing {site}"),
        )
        done = run_sweep(
            job,
            gathered.cohorts,
            epsilons=asked,
            seeds=seeds,
            refused=gathered.refused,
            follow=lambda fraction, words: bar.update(task, completed=fraction, description=words),
            keep=lambda so_far: _keep(out, so_far),
        )
    page = write_sweep(out, done)
    if format is Format.json:
        typer.echo(json.dumps(plain_sweep(done), indent=2))
        return
    _show(done, page)


def _keep(out: Path, so_far: Sweep) -> None:
    from fedward.reporting.sweep.page import write_sweep

    write_sweep(out, so_far)


def _show(done: Sweep, page: Path) -> None:
    from fedward.reporting.sweep.chart import shown
    from fedward.reporting.sweep.page import table
    from fedward.reporting.sweep.sweep import NOTE

    console, rows = screen(), table(done)
    classes = len({row.name for row in rows}) > 1
    heads = ("way", "site") if len(done.ways) > 1 else ("site", "class")
    columns = [heads[0], *([heads[1]] if classes else []), *(f"ε {shown(epsilon)}" for epsilon in done.epsilons), "few"]
    drawn = Table(*columns, title=f"{done.job}: {TITLES[done.measure]} against ε", title_justify="left")
    for row in rows:
        cells = ["not measured" if cell is None else f"{cell.value}\n{cell.interval}" for cell in row.cells]
        drawn.add_row(row.site, *([row.name or "mean"] if classes else []), *cells, row.few)
    console.print(drawn)
    for site, reason in done.aside.items():
        console.print(line(f"{site} takes no part: {reason}"), soft_wrap=True)
    console.print(NOTE)
    console.print(str(page), soft_wrap=True)
