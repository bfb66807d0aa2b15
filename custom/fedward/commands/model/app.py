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
    sr: Path | None = typer.Option(None, help="Folder for a DICOM SR of each DICOM image, besides the CSV."),
) -> None:
    """Predict each image: probabilities into a CSV, or masks: DICOM SEG of a DICOM image, NIfTI of a NIfTI image.

    For a model of volumes the slices of a DICOM series are one image, named by the first of its files. An image that
    cannot be used is named with the reason, and the command fails at its end.
    """
    from fedward.bundle.dicom_sr import write_report
    from fedward.bundle.masks import write_mask
    from fedward.bundle.predict import Prediction, Predictor

    files = sorted(path for path in images.rglob("*") if path.is_file()) if images.is_dir() else [images]
    if not files or not images.exists():
        raise CohortError("no file to predict", where=images, remedy="give a DICOM or NIfTI file, or a folder of them")
    for path in (out, sr):
        if path is not None and path.exists():
            raise JobError("exists already", where=path, remedy="name a new file or folder")
    predictor, refused = Predictor(bundle), 0
    masks = predictor.job.job.task == "segmentation"
    if masks and sr is not None:
        remedy = "leave it out: a segmentation of a DICOM image is written as DICOM SEG"
        raise JobError("--sr is for probabilities", where=sr, remedy=remedy)
    root = images if images.is_dir() else images.parent

    def write(found: Prediction) -> None:
        below = found.files[0].parent.relative_to(root)
        if found.mask is not None:
            write_mask(found.mask, like=found.files, out=out / below, origin=predictor.origin)
        elif sr is not None:
            write_report(found.probabilities, files=found.files, out=sr / below, origin=predictor.origin)

    rows, found_images = [], predictor.images(files)
    with progress() as bar:
        for found in bar.track(predictor.each(found_images), total=len(found_images), description="predicting"):
            reason = found.refused
            if not reason:
                rows.append([str(found.files[0]), *(f"{value:.6f}" for value in found.probabilities.values())])
                try:
                    write(found)
                except StudyError as error:
                    reason = str(error)
            if reason:
                refused += 1
                typer.echo(f"fedward: {found.files[0]}: {reason}", err=True)
    if not masks:
        with out.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([["file", *predictor.job.output_names], *rows])
    typer.echo(str(out))
    if refused:
        raise typer.Exit(1)
