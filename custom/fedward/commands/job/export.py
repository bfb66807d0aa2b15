"""Define ``fedward job export``, ``start`` and ``continue``: write a job's folder, its start, or the job after it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from fedward.commands.job.options import JOB, STUDY
from fedward.errors import FedwardError, JobError
from fedward.settings import LARGEST_START, read_job

if TYPE_CHECKING:
    from fedward.bundle.continued import Continued

MODEL = typer.Argument(
    ...,
    metavar="MODEL",
    help="A state dict (.pt, .pth, .safetensors, .npz), a MONAI bundle's folder, or a finished job's result.",
)


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
    job: Path | None = typer.Option(None, help="Folder of the job that will start from it: hold it to its network."),
    layers: list[str] = typer.Option([], help="Beginning of names to take from the model; repeat for more. None: all."),
) -> None:
    """Write a model as the start of a job. Prints what it did and the lines for job.toml; the job carries the file, and
    its network and arguments must be those of the model."""
    from fedward.bundle.checkpoint import read_checkpoint, some_layers
    from fedward.weights import save_weights

    if out.suffix != ".npz" or out.exists():
        what = "file is there already" if out.exists() else "name does not end in .npz"
        raise JobError(f"start cannot be written, its {what}", where=out, remedy="give another --out")
    spec = None if job is None else read_job(job)
    found = some_layers(read_checkpoint(model), tuple(layers), spec)
    save_weights(found.weights, out)
    content = out.read_bytes()
    if len(content) > LARGEST_START:
        out.unlink()
        what = f"model has more than {LARGEST_START >> 20} MiB, which a job cannot carry"
        raise JobError(what, where=model, value=len(content), remedy="choose a smaller network, or give --layers")
    values = sum(array.size for array in found.weights.values())
    typer.echo(f"# {found.file.name}: {len(found.weights)} tensors, {values:,} values, {len(content) / 1e6:.1f} MB")
    for done in found.done:
        typer.echo(f"# {done}")
    typer.echo(f'start = "{out.name}"')
    typer.echo(f'start_sha256 = "{hashlib.sha256(content).hexdigest()}"')
    if layers:
        typer.echo(f"start_layers = [{', '.join(f'{chr(34)}{one}{chr(34)}' for one in layers)}]")


def continue_(
    result: Path = typer.Argument(..., metavar="RESULT", help="Result of a job that finished, as downloaded."),
    rounds: int = typer.Option(..., min=1, help="Further rounds."),
    out: Path | None = typer.Option(None, help="Folder to write the job to. None: build/continued/ and its name."),
) -> None:
    """Write the job that goes on from a finished one. It starts from the final model and counts its rounds on. Says
    whether its model is that of all the rounds in one job, and what it adds to each hospital's ε."""
    from fedward.bundle.continued import continue_job
    from fedward.reporting.result import from_a_server, read_result

    if out is None:
        with from_a_server(result):
            out = Path("build/continued") / read_result(result)[0].job.name
    done = continue_job(result, out, rounds=rounds)
    first = done.job.first_round
    typer.echo(str(done.folder))
    typer.echo(f"goes on from round {first} to round {first + rounds}; its parent has the hash {_parent(done)}")
    for line in _epsilon(done):
        typer.echo(line)
    if done.differs:
        typer.echo(
            f"its model is not bit for bit that of {first + rounds} rounds in one job: {'; '.join(done.differs)}"
        )
    else:
        same = "if the same hospitals answer every round with the same images, on one kind of processor"
        typer.echo(f"its model is bit for bit that of {first + rounds} rounds in one job, {same}")
    typer.echo("it trains no model alone: the comparison with each site alone is in the report of the job before")


def _parent(done: Continued) -> str:
    return "" if done.job.parent is None else done.job.parent.job_hash


def _epsilon(done: Continued) -> list[str]:
    """Return a line for each hospital with the ε before, of these rounds, and the sum of the two, which bounds both."""
    from fedward.privacy.budget_plan import plan_site, steps_a_round

    if done.job.privacy.mechanism == "none":
        return []
    lines = []
    for site, before in sorted(done.spent.items()):
        count = done.patients.get(site)
        try:
            more = None
            if count is not None:
                steps = steps_a_round(done.job, patients=count)
                more = plan_site(done.job, site=site, patients=count, steps_a_round=steps).epsilon
        except FedwardError:
            more = None
        if before.epsilon is None or more is None:
            lines.append(f"{site}: ε of both jobs is added in its ledger; how much is not known here")
            continue
        total = f"{before.epsilon:.2f} + {more:.2f} = {before.epsilon + more:.2f}"
        lines.append(f"{site}: ε {total}, which its ledger holds to the hospital's cap")
    return lines
