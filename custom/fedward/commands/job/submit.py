"""Define ``fedward job submit``: export the job, submit it, and print its id."""

from __future__ import annotations

import json
from pathlib import Path

import typer

from fedward.commands.job.follow import follow_to_end, signed_in
from fedward.commands.job.options import JOB, KIT, STUDY
from fedward.commands.output_format import FORMAT, Format
from fedward.settings import read_job


def submit(
    folder: Path = JOB,
    kit: Path = KIT,
    out: Path = typer.Option(Path("build/jobs"), help="Folder for the exported job and its result."),
    study: str | None = STUDY,
    wait: bool = typer.Option(False, help="Say where the job is until its end, and download its result."),
    format: Format = FORMAT,
) -> None:
    """Export the job, submit it with your kit, and print its id. With --wait, exit code 0 only for a job that
    finished; Ctrl-C leaves it running."""
    from fedward.flare.export import export_job
    from fedward.training.check import require_sound

    job = read_job(folder)
    require_sound(job)
    exported = export_job(job, out, study=study)
    with signed_in(kit, study) as (session, stdout):
        job_id = session.submit(exported)
        as_json = format is Format.json
        typer.echo(job_id, **({"err": True} if as_json else {"file": stdout}))
        stdout.flush()
        if wait:
            follow_to_end(session, job_id, kit=kit, study=study, out=out, format=format, stdout=stdout)
        elif as_json:
            empty = dict.fromkeys(("status", "end", "state", "worth", "result"))
            typer.echo(json.dumps({"job_id": job_id, **empty}), file=stdout)
