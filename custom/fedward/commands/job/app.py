"""Define ``fedward job …``: the data scientist's commands."""

from __future__ import annotations

import json
import time
from pathlib import Path

import typer

from fedward.commands.job.plan import plan
from fedward.commands.job.report import release, report
from fedward.commands.job.sweep import sweep
from fedward.commands.output_format import Format
from fedward.errors import JobError
from fedward.settings import read_job

app = typer.Typer(help="Check, export and submit jobs: for the data scientist.", no_args_is_help=True)
app.command()(plan)
app.command()(sweep)
app.command()(report)
app.command()(release)


_JOB = typer.Argument(..., metavar="JOB", help="A job's folder, the one with job.toml.")
_STUDY = typer.Option(None, help="FLARE study to submit it in: only that study's hospitals see it. None: no study.")
_FORMAT = typer.Option(Format.text, "--format", help="text for people, json for scripts.")


@app.command()
def check(folder: Path = _JOB, format: Format = _FORMAT) -> None:
    """List the faults of a job, without running it. Each line says where it is and the remedy; exit code 1 with any
    fault."""
    from fedward.privacy.policy.job_hash import job_hash
    from fedward.privacy.policy.linter import remarks
    from fedward.privacy.policy.wording import how_updates_leave
    from fedward.training.check import job_faults

    job = read_job(folder)
    problems, notes, found, leave = job_faults(job), remarks(job), job_hash(job), how_updates_leave(job)
    if format is Format.json:
        answer = {"job": job.job.name, "hash": found, "encryption": leave, "problems": problems, "remarks": notes}
        typer.echo(json.dumps(answer, indent=2, ensure_ascii=False))
    else:
        for problem in problems:
            typer.echo(f"fedward: {problem}", err=True)
        for note in notes:
            typer.echo(f"note: {note}")
        typer.echo(leave)
        typer.echo(f"hash {found}, which a hospital approves")
        if not problems:
            typer.echo(f"{job.job.name}: nothing wrong")
    if problems:
        raise typer.Exit(1)


@app.command()
def export(
    folder: Path = _JOB,
    out: Path = typer.Option(Path("build/jobs"), help="Folder to write the job to."),
    site: list[str] = typer.Option([], help="A site to deploy to; repeat for more. None: every connected site."),
    study: str | None = _STUDY,
) -> None:
    """Write the job's folder for FLARE's own tools. Its console, `nvflare job submit` and its API take it; it is data
    only, no code."""
    from fedward.flare.export import export_job
    from fedward.training.check import require_sound

    job = read_job(folder)
    require_sound(job)
    typer.echo(str(export_job(job, out, sites=site, study=study)))


@app.command()
def submit(
    folder: Path = _JOB,
    kit: Path = typer.Option(..., help="Your startup kit's folder."),
    out: Path = typer.Option(Path("build/jobs"), help="Folder for the exported job and its result."),
    study: str | None = _STUDY,
    wait: bool = typer.Option(False, help="Wait for the job's end and download its result."),
    format: Format = _FORMAT,
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
            typer.echo(f"{answer['status']} after {time.monotonic() - start:.0f} s; {_report_of(result)}", err=True)
    if format is Format.json:
        typer.echo(json.dumps(answer))
    if wait and answer["status"] != "FINISHED:COMPLETED":
        raise JobError("job did not complete", where=job_id, value=answer["status"], remedy="read the sites' reasons")


@app.command()
def download(
    job_id: str = typer.Argument(..., metavar="JOB_ID", help="The id that `submit` printed."),
    kit: Path = typer.Option(..., help="Your startup kit's folder."),
    out: Path = typer.Option(Path("build/jobs"), help="Folder for the result."),
    study: str | None = _STUDY,
) -> None:
    """Download the result of a job that has ended. Prints its folder; a server can write nowhere else."""
    from fedward.flare.admin_session import console

    with console(kit, study=study) as session:
        result = session.download(job_id, out)
    typer.echo(str(result.parent))
    typer.echo(_report_of(result), err=True)


def _report_of(result: Path) -> str:
    return f"read it with `fedward job report {result.parent}`"
