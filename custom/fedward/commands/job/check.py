"""Define ``fedward job check``: list the faults of a job, without running it."""

from __future__ import annotations

import json
from pathlib import Path

import typer

from fedward.commands.job.options import JOB
from fedward.commands.output_format import FORMAT, Format
from fedward.settings import read_job


def check(folder: Path = JOB, format: Format = FORMAT) -> None:
    """List the faults of a job, without running it. Each line says where it is and the remedy; exit code 1 with any
    fault."""
    job = read_job(folder)  # a wrong folder is answered at once, before torch is loaded
    from fedward.dataset.preparation import preparation_words
    from fedward.privacy.policy.copied import copied_remarks
    from fedward.privacy.policy.job_hash import job_hash
    from fedward.privacy.policy.linter import remarks
    from fedward.privacy.policy.wording import how_it_starts, how_updates_leave
    from fedward.training.check import job_faults

    problems, found, leave = job_faults(job), job_hash(job), how_updates_leave(job)
    notes = [*copied_remarks(job, folder), *remarks(job)]
    if format is Format.json:
        answer = {"job": job.job.name, "hash": found, "encryption": leave, "problems": problems, "remarks": notes}
        typer.echo(json.dumps(answer, indent=2))
    else:
        for problem in problems:
            typer.echo(f"fedward: {problem}", err=True)
        if problems:  # a job with a fault gives no guarantee, and runs nowhere; more lines would hide its faults
            if len(problems) > 1:
                typer.echo(f"{job.job.name}: {len(problems)} faults", err=True)
            raise typer.Exit(1)
        for note in notes:
            typer.echo(f"note: {note}")
        for number, done in enumerate(preparation_words(job), 1):
            typer.echo(f"image, step {number}: {done}")
        typer.echo(f"weights: {how_it_starts(job)}")
        typer.echo(leave)
        typer.echo(f"hash {found}, which a hospital approves")
        typer.echo(f"{job.job.name}: nothing wrong")
    if problems:
        raise typer.Exit(1)
