"""Define ``fedward job sweep``: the cost of privacy in accuracy, or the best settings, before a federation starts."""

from __future__ import annotations

import tempfile
from pathlib import Path

import typer
from rich.progress import BarColumn, TimeElapsedColumn, TimeRemainingColumn

from fedward.commands.job.options import JOB
from fedward.commands.output_format import FORMAT, Format
from fedward.commands.splits import split_of
from fedward.errors import SettingsError
from fedward.screen import column, progress
from fedward.settings import read_job

EPSILONS = "1,2,4,8,inf"


def sweep(
    folder: Path = JOB,
    epsilon: str | None = typer.Option(
        None, help=f"Wanted ε at each site, of the whole job; inf: without noise. None: {EPSILONS}, without --set."
    ),
    set_: list[str] = typer.Option(
        [],
        "--set",
        metavar="SETTING=VALUES",
        help="Search instead: try each of these values of a setting, such as training.lr=0.01,0.03; repeatable.",
    ),
    halving: bool = typer.Option(
        False, "--halving", help="Search by successive halving: the whole number of rounds for the best alone."
    ),
    data: Path | None = typer.Option(None, help="Folder with one folder a hospital. None: synthetic hospitals."),
    public_data: bool = typer.Option(
        False, "--public-data", help="No ε protects whom --data shows, so a private job may be searched on it."
    ),
    split: list[str] = typer.Option(
        [], metavar="SITE=PARTS", help="Deal one hospital's images to several; repeatable."
    ),
    split_sites: int | None = typer.Option(None, help="Deal the only hospital's images to this many sites."),
    seeds: int = typer.Option(1, min=1, help="How many seeds each run has, from the job's own upwards."),
    out: Path = typer.Option(
        Path("build/sweep"), help="Folder for sweep.json, .html and .svg; of a search for search.json and .csv."
    ),
    format: Format = FORMAT,
) -> None:
    """Run the job here at several ε, or with other settings. Ctrl-C stops it; finished runs are kept."""
    from fedward.commands.job.sweeps.over_epsilon import OverEpsilon
    from fedward.commands.job.sweeps.search import SettingsSearch
    from fedward.demo.prepare import gather
    from fedward.training.check import require_sound

    job = read_job(folder)
    if set_ and epsilon is not None:
        remedy = "leave one of them out, or write --set privacy.dp_sgd.epsilon=2,8"
        raise SettingsError("draws the cost of ε, and --set searches", where="--epsilon", remedy=remedy)
    if not set_ and (halving or public_data):
        raise SettingsError("is for a search", where="--halving or --public-data", remedy="add --set SETTING=VALUES")
    named = dict(split_of(text) for text in split)
    on_patients = data is not None and not public_data
    require_sound(job)
    question: OverEpsilon | SettingsSearch = (
        SettingsSearch(job, set_, halving=halving, seeds=seeds, on_patients=on_patients, out=out)
        if set_
        else OverEpsilon(job, epsilon or EPSILONS, seeds=seeds, out=out)
    )
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
        question.run(gathered, follow=lambda fraction, words: bar.update(task, completed=fraction, description=words))
    if format is Format.json:
        typer.echo(question.as_json())
    else:
        question.show()
