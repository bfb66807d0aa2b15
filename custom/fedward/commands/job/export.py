"""Define ``fedward job export`` and ``fedward job start``: write a job's folder, and its public start."""

from __future__ import annotations

from pathlib import Path

import typer

from fedward.commands.job.options import JOB, STUDY
from fedward.errors import JobError
from fedward.settings import read_job

MODEL = typer.Argument(..., metavar="MODEL", help="FL_global_model.pt or a result's .npz, trained on public images.")


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


def start(
    model: Path = MODEL,
    out: Path = typer.Option(..., help="File to write beside job.toml; its name ends in .npz."),
) -> None:
    """Write a public model as the start of a job. Prints the lines for job.toml; the job carries the file, and the
    network and its arguments must be those of the job."""
    import hashlib

    from fedward.coldstart.model import read_file
    from fedward.settings.model import LARGEST_START
    from fedward.weights import load_weights, save_weights

    if out.suffix != ".npz" or out.exists():
        what = "file is there already" if out.exists() else "name does not end in .npz"
        raise JobError(f"start cannot be written, its {what}", where=out, remedy="give another --out")
    weights = load_weights(model) if model.suffix == ".npz" else read_file(model)[0]
    save_weights(weights, out)
    content = out.read_bytes()
    if len(content) > LARGEST_START:
        out.unlink()
        what = f"model has more than {LARGEST_START >> 10} KiB, which a job cannot carry"
        raise JobError(what, where=model, value=len(content), remedy="choose a smaller network")
    typer.echo(f'start = "{out.name}"')
    typer.echo(f'start_sha256 = "{hashlib.sha256(content).hexdigest()}"')
