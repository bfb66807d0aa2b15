"""Define ``fedward model …``: export a finished job's model, and predict with it."""

from __future__ import annotations

import csv
from pathlib import Path

import typer

from fedward.errors import CohortError, JobError, StudyError
from fedward.screen import progress

app = typer.Typer(help="Take a model to where it is used.", no_args_is_help=True)
_BUNDLE = typer.Argument(..., metavar="BUNDLE", help="Folder that `fedward model export` wrote.")


@app.callback()
def model() -> None:
    """Take a model to where it is used."""


@app.command()
def export(
    result: Path = typer.Argument(
        ..., metavar="RESULT", help="A job's result as downloaded, or FL_global_model.pt with --job."
    ),
    out: Path = typer.Option(..., help="Folder of the bundle; it must not exist yet."),
    job: Path | None = typer.Option(None, help="The job's folder, where RESULT is a file."),
    intended_use: str = typer.Option("not said", help="What the consortium means the model for, in a sentence or two."),
    licence: Path | None = typer.Option(None, "--licence", help="File with the model's licence."),
) -> None:
    """Write the model as a MONAI bundle: network as built, weights, preparation of images, metadata and model card.

    Plain MONAI runs it; the command holds it to the job's own network first.
    """
    from fedward.bundle.export import export_bundle
    from fedward.coldstart.model import read_given

    done = export_bundle(read_given(result, job), out, intended_use=intended_use, licence=licence)
    for name, reason in done.left_out.items():
        typer.echo(f"without {name}: {reason}")
    typer.echo(str(done.folder))


@app.command()
def predict(
    bundle: Path = _BUNDLE,
    images: Path = typer.Argument(..., metavar="IMAGES", help="A DICOM or NIfTI file, or a folder of them."),
    out: Path = typer.Option(..., help="CSV file for probabilities; for a segmentation a folder for masks."),
) -> None:
    """Predict each file: probabilities into a CSV, or masks as NIfTI on the grid of each NIfTI image.

    A file that cannot be used is named with the reason, and the command fails at its end.
    """
    from fedward.bundle.masks import write_mask
    from fedward.bundle.predict import Predictor

    files = sorted(path for path in images.rglob("*") if path.is_file()) if images.is_dir() else [images]
    if not files or not images.exists():
        raise CohortError("no file to predict", where=images, remedy="give a DICOM or NIfTI file, or a folder of them")
    if out.exists():
        raise JobError("exists already", where=out, remedy="name a new file or folder")
    predictor, refused = Predictor(bundle), 0
    masks = predictor.job.job.task == "segmentation"
    rows = []
    with progress() as bar:
        for found in bar.track(predictor.each(files), total=len(files), description="predicting"):
            reason = found.refused
            if found.mask is not None:
                try:
                    write_mask(found.mask, like=found.file, out=out)
                except StudyError as error:
                    reason = str(error)
            if reason:
                refused += 1
                typer.echo(f"fedward: {found.file}: {reason}", err=True)
            elif found.mask is None:
                rows.append([str(found.file), *(f"{value:.6f}" for value in found.probabilities.values())])
    if not masks:
        with out.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([["file", *predictor.job.output_names], *rows])
    typer.echo(str(out))
    if refused:
        raise typer.Exit(1)
