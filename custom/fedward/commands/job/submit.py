"""Define ``fedward job submit``: export the job, submit it, and print its id."""

from __future__ import annotations

import json
import time
from pathlib import Path

import typer

from fedward.commands.job.options import JOB, STUDY
from fedward.commands.output_format import FORMAT, Format
from fedward.errors import JobError
from fedward.settings import read_job


def submit(
    folder: Path = JOB,
    kit: Path = typer.Option(..., help="Your startup kit's folder."),
    out: Path = typer.Option(Path("build/jobs"), help="Folder for the exported job and its result."),
    study: str | None = STUDY,
    wait: bool = typer.Option(False, help="Wait for the job's end and download its result."),
    format: Format = FORMAT,
) -> None:
    """Export the job, submit it with your kit, and print its id."""
    from fedward.flare.admin_session import console
    from fedward.flare.export import export_job
    from fedward.training.check import require_sound

    job = read_job(folder)
    require_sound(job)
    answer: dict[str, str | None] = {"job_id": None, "status": None, "result": None}
    exported = export_job(job, out, study=study)
    with console(kit, study=study) as session:
        job_id = answer["job_id"] = session.submit(exported)
        typer.echo(job_id, err=format is Format.json)
        if wait:
            start = time.monotonic()
            answer["status"] = session.wait(job_id, each=lambda: None, poll_s=1.0)
            result = session.download(job_id, out)
            answer["result"] = str(result)
            typer.echo(f"{answer['status']} after {time.monotonic() - start:.0f} s; {report_of(result)}", err=True)
    if format is Format.json:
        typer.echo(json.dumps(answer))
    if wait and answer["status"] != "FINISHED:COMPLETED":
        raise JobError("job did not complete", where=job_id, value=answer["status"], remedy="read the sites' reasons")


def report_of(result: Path) -> str:
    return f"read it with `fedward job report {result.parent}`"
