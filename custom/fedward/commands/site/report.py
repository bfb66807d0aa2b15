"""Define ``fedward site report``: a hospital's own copy of a report, with images of its patients."""

from __future__ import annotations

from pathlib import Path

import typer


def report(
    report: Path = typer.Argument(
        ..., metavar="REPORT", help="report.json as the data scientist sent it, or its folder."
    ),
    run_folder: Path = typer.Option(..., help="This hospital's own run folder of the job: KIT/JOB_ID."),
    out: Path = typer.Option(..., help="The page to write. It holds images of patients: it stays in the hospital."),
) -> None:
    """Write the hospital's own copy of a segmentation's report. The same page, with its worst and best image."""
    from fedward.reporting.examples import read_examples
    from fedward.reporting.write import read_report, write_own_copy

    write_own_copy(out, read_report(report), read_examples(run_folder))
    typer.echo(f"{out}\nthis copy holds images of patients: it stays in the hospital")
