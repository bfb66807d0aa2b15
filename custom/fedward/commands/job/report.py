"""Define ``fedward job report`` and ``fedward job release``: a job's report, and the dossier that a board signs."""

from __future__ import annotations

from pathlib import Path

import typer

_RESULT = typer.Argument(
    ..., metavar="RESULT", help="A job's result as downloaded, the folder with job/ and workspace/."
)


def report(
    result: Path = _RESULT,
    out: Path | None = typer.Option(None, help="Folder for report.json and report.html. None: the result's own."),
) -> None:
    """Write the report of a job that ran. First print who took part and whether every round counted.

    What a real federation cannot measure stays unmeasured.
    """
    from fedward.reporting.data.from_events import report_of
    from fedward.reporting.result import from_a_server, read_result
    from fedward.reporting.terminal import show_participation, show_worth
    from fedward.reporting.write import write_report
    from fedward.screen import screen

    with from_a_server(result):
        job, events = read_result(result)
        made = report_of(job, events)
        page = write_report(out or result, made)
        show_worth(made, screen())
        show_participation(made, screen())
    typer.echo(str(page))


def release(
    result: Path = _RESULT,
    out: Path = typer.Option(..., help="Folder for dossier.json and dossier.html."),
    intended_use: str | None = typer.Option(
        None, help="What the consortium means the model for, in a sentence or two."
    ),
    unfit: bool = typer.Option(
        False, "--unfit", help="Also where the job is no success; the dossier says so in large."
    ),
) -> None:
    """Write a model's dossier for each hospital's board to sign. It holds hashes, results by hospital, gaps, ε and
    approvals.

    Prints the page's path, and the SHA-256 that whoever signs quotes.
    """
    from fedward.reporting.data.from_events import report_of
    from fedward.reporting.dossier.dossier import NOT_SAID, dossier_of, find_model
    from fedward.reporting.dossier.page import write_dossier
    from fedward.reporting.result import from_a_server, read_result

    use = intended_use or NOT_SAID
    with from_a_server(result):
        job, events = read_result(result)
        made = dossier_of(report_of(job, events), find_model(result), intended_use=use, unfit=unfit)
        page, sha256 = write_dossier(out, made)
    typer.echo(f"{page}\nSHA-256 of dossier.json, to be quoted when signing: {sha256}")
