"""Define ``fedward job download``: download the result of a job that has ended."""

from __future__ import annotations

from pathlib import Path

import typer

from fedward.commands.job.follow import report_of
from fedward.commands.job.options import JOB_ID, KIT, STUDY


def download(
    job_id: str = JOB_ID,
    kit: Path = KIT,
    out: Path = typer.Option(Path("build/jobs"), help="Folder for the result."),
    study: str | None = STUDY,
) -> None:
    """Download the result of a job that has ended. Prints its folder; a server can write nowhere else."""
    from fedward.flare.admin_session import console

    with console(kit, study=study) as session:
        result = session.download(job_id, out)
    typer.echo(str(result.parent))
    typer.echo(report_of(result), err=True)
