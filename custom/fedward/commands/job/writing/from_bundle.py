"""Define ``fedward job from-bundle``: a job with the network, loss and transforms of a MONAI bundle."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

import typer

from fedward.errors import JobError


class BatchNorm(StrEnum):
    refuse = "refuse"
    local = "local"
    average = "average"


def from_bundle(
    bundle: Path = typer.Argument(..., metavar="BUNDLE", help="A MONAI bundle's folder, the one with configs/."),
    out: Path = typer.Option(..., help="Folder of the job; it must not exist yet. Its name is the job's."),
    cohort: str = typer.Option(..., help="The cohort's name in each hospital's site.toml."),
    size: str | None = typer.Option(
        None, help="The network's input: H,W or D,H,W in pixels. None: of the bundle's Resized or metadata."
    ),
    structure: list[str] = typer.Option([], help="Segmentation: a structure; repeat, in order. None: of the metadata."),
    label: list[str] = typer.Option([], help="Classification: a column of the label table; repeat for several."),
    class_: list[str] = typer.Option([], "--class", help="Classes of the one label; repeat, in order."),
    rounds: int = typer.Option(10, min=1, help="Number of rounds."),
    batch_norm: BatchNorm = typer.Option(
        BatchNorm.refuse, help="BatchNorm of the bundle: refuse makes it GroupNorm, local and average keep it."
    ),
    leave_out: list[str] = typer.Option([], help="A transform of the bundle that the job shall not have; repeatable."),
) -> None:
    """Write a job from a MONAI bundle's training. Everything that is on no reviewed table, and every expression, is
    listed with its place, and then nothing is written. No code of the bundle is run."""
    from fedward.bundle_import.job import Asked
    from fedward.bundle_import.write import write_job

    asked = Asked(
        name=out.resolve().name,
        cohort=cohort,
        size=_sides(size),
        structures=tuple(structure),
        labels=tuple(label),
        classes=tuple(class_),
        rounds=rounds,
        batch_norm=batch_norm.value,
        leave_out=tuple(leave_out),
    )
    done = write_job(bundle, out, asked)
    for note in done.notes:
        typer.echo(f"note: {note}")
    typer.echo(str(done.folder))


def _sides(size: str | None) -> tuple[int, ...]:
    if size is None:
        return ()
    sides = [side.strip() for side in size.split(",")]
    if len(sides) not in (2, 3) or not all(side.isdecimal() and int(side) > 0 for side in sides):
        raise JobError("is no size", where="--size", value=size, remedy="give H,W or D,H,W, such as 32,48,32")
    return tuple(map(int, sides))
