"""Define ``fedward job wait`` and ``fedward job abort``, for a job that was submitted before."""

from __future__ import annotations

from pathlib import Path

import typer

from fedward.commands.job.follow import follow_to_end, signed_in
from fedward.commands.job.options import JOB_ID, KIT, STUDY
from fedward.commands.output_format import FORMAT, Format
from fedward.errors import JobError


def wait(
    job_id: str = JOB_ID,
    kit: Path = KIT,
    out: Path = typer.Option(Path("build/jobs"), help="Folder for the result."),
    study: str | None = STUDY,
    format: Format = FORMAT,
) -> None:
    """Follow a submitted job to its end, and download its result. Exit code 0 only for a job that finished; Ctrl-C
    leaves it running."""
    with signed_in(kit, study) as (session, stdout):
        follow_to_end(session, job_id, kit=kit, study=study, out=out, format=format, stdout=stdout)


def abort(job_id: str = JOB_ID, kit: Path = KIT, study: str | None = STUDY) -> None:
    """Stop a job at the server and at every site. The record names you as who aborted it."""
    from fedward.ends import end_of

    with signed_in(kit, study) as (session, stdout):
        stands = session.standing(job_id)
        end = None if stands is None else end_of(stands.flare, stands.job)
        if end is not None and end.ended:
            raise JobError("job has ended", where=job_id, value=end.words, remedy="there is nothing to abort")
        session.abort(job_id)
        typer.echo(f"{job_id} is being aborted", file=stdout)
