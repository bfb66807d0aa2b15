"""Show in a terminal what a job's model is worth, how its run ended, and which sites took part."""

from __future__ import annotations

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fedward.reporting.data.ending import interruption_words
from fedward.reporting.data.report import Participation, Report
from fedward.reporting.data.worth import verdicts
from fedward.reporting.page import by_round, capitalised
from fedward.screen import line


def show_worth(report: Report, console: Console) -> None:
    """Print each verdict on the model, the bad ones first and with what to try."""
    for one in verdicts(report):
        console.print(Text(one.words, style="bold green" if one.good else "bold red"), soft_wrap=True)
        if one.advice:
            console.print(Text(f"try: {one.advice}"), soft_wrap=True)


def show_participation(report: Report, console: Console) -> None:
    """Print the coverage verdict, and the part of each invited site."""
    console.print(line(f"{report.job.name}: {report.coverage.verdict}"), soft_wrap=True)
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0))
    table.add_column("hospital", no_wrap=True)
    for column in ("rounds", "patients", "seconds"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("missed, and why")
    for one in report.participation:
        table.add_row(*(line(cell) for cell in _row(one, report.rounds_done)))
    console.print(table)
    for interruption in report.interruptions:
        console.print(line(interruption_words(interruption)), soft_wrap=True)
    for one in report.participation:
        for reported in by_round(one.suspect):
            console.print(line(f"suspect: {one.site}, {reported}"), soft_wrap=True)


def _row(one: Participation, rounds: int) -> tuple[str, ...]:
    if one.declined is not None:
        return (one.site, "none", "none", "none", f"took no part: {one.declined}")
    patients = "not reported" if one.patients is None else str(one.patients)
    seconds = "not reported" if one.seconds is None else f"{one.seconds:.1f}"
    left_out = [f"not among those chosen in {len(one.left_out)} of {rounds}"] if one.left_out else []
    missed = capitalised("; ".join([*left_out, *by_round(one.missed)]))
    return (one.site, f"{len(one.rounds)} of {rounds}", patients, seconds, missed)
