"""Define ``fedward job export``: write the job's folder for FLARE's own tools."""

from __future__ import annotations

from pathlib import Path

import typer

from fedward.commands.job.options import JOB, STUDY
from fedward.settings import read_job


def export(
    folder: Path = JOB,
    out: Path = typer.Option(Path("build/jobs"), help="Folder to write the job to."),
    site: list[str] = typer.Option([], help="A site to deploy to; repeat for more. None: every connected site."),
    study: str | None = STUDY,
) -> None:
    """Write the job's folder for FLARE's own tools. Its console, `nvflare job submit` and its API take it; it is data
    only, no code."""
    from fedward.flare.export import export_job
    from fedward.training.check import require_sound

    job = read_job(folder)
    require_sound(job)
    typer.echo(str(export_job(job, out, sites=site, study=study)))
