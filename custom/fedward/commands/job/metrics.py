"""Define ``fedward job metrics``: a job's scores as a table, for other tools."""

from __future__ import annotations

from pathlib import Path

import typer

from fedward.errors import SettingsError


def metrics(
    result: Path = typer.Argument(
        ..., metavar="RESULT", help="A job's result as downloaded, the folder with job/ and workspace/."
    ),
    csv: Path | None = typer.Option(None, "--csv", help="CSV file to write."),
    parquet: Path | None = typer.Option(None, "--parquet", help="Parquet file to write; it needs pyarrow."),
    tensorboard: Path | None = typer.Option(
        None, "--tensorboard", help="New folder for TensorBoard's --logdir; it needs tensorboard."
    ),
    mlflow: Path | None = typer.Option(
        None, "--mlflow", help="JSON file to write, with the calls of MLflow's REST API for one run."
    ),
) -> None:
    """Write each site's scores by round as a table. What a hospital withholds has no row."""
    from fedward.reporting.metrics.files import write_csv, write_parquet
    from fedward.reporting.metrics.table import rows_of
    from fedward.reporting.metrics.trackers import write_mlflow, write_tensorboard
    from fedward.reporting.result import from_a_server, read_result

    if not (csv or parquet or tensorboard or mlflow):
        remedy = "add --csv FILE, --parquet FILE, --tensorboard FOLDER or --mlflow FILE"
        raise SettingsError("no file to write", where="fedward job metrics", remedy=remedy)
    with from_a_server(result):
        job, events = read_result(result)
        rows, at = rows_of(job, events), float(events[-1]["at"])
    if csv is not None:
        write_csv(csv, rows)
    if parquet is not None:
        write_parquet(parquet, rows)
    if tensorboard is not None:
        write_tensorboard(tensorboard, rows, at=at)
    if mlflow is not None:
        write_mlflow(mlflow, job, rows, at=at)
    for path in (csv, parquet, tensorboard, mlflow):
        if path is not None:
            typer.echo(str(path))
