"""Follow a job on the terminal until it has ended, and fetch its result: for ``submit --wait`` and ``wait``."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import typer

from fedward.commands.output_format import Format
from fedward.errors import FedwardError, JobError
from fedward.screen import column, progress

if TYPE_CHECKING:
    from fedward.ends import End
    from fedward.flare.admin_session import Console
    from fedward.validation.comparison.model_worth import ModelVerdict

INTERRUPTED = 130


@contextmanager
def signed_in(kit: Path, study: str | None) -> Iterator[tuple[Console, TextIO]]:
    """Sign in with a kit; yield the session, and the stdout that FLARE's own lines are kept off.

    FLARE's log is not shown: while a server is away it has two lines a second.
    """
    from fedward.flare.admin_session import console

    stdout, root, unseen = sys.stdout, logging.getLogger(), logging.NullHandler()
    root.addHandler(unseen)  # with no handler at all Python prints warnings on stderr
    try:
        with redirect_stdout(sys.stderr), console(kit, study=study) as session:
            yield session, stdout
    finally:
        root.removeHandler(unseen)


def follow_to_end(
    session: Console, job_id: str, *, kit: Path, study: str | None, out: Path, format: Format, stdout: TextIO
) -> None:
    """Say every few seconds where the job is, download its result, and say how it ended.

    Raises:
        JobError: it ended as anything but a success.
    """
    from fedward.flare.console.following import follow

    start = time.monotonic()
    try:
        with _status_line() as told:
            flare, end = follow(session, job_id, told=told)
    except KeyboardInterrupt:
        more = f"--kit {kit}" + (f" --study {study}" if study else "")
        typer.echo(
            f"the job goes on at the server; follow it: fedward job wait {job_id} {more}\n"
            f"abort it: fedward job abort {job_id} {more}",
            err=True,
        )
        raise typer.Exit(INTERRUPTED) from None
    result, end = _fetched(session, job_id, out, flare, end)
    worth = _worth(result.parent) if end.success and result is not None else ()
    if format is Format.json:
        answer: dict[str, Any] = {"job_id": job_id, "status": flare, "end": end.words, "state": end.state}
        answer["worth"] = [{"kind": one.kind, "good": one.good, "words": one.words} for one in worth]
        typer.echo(json.dumps({**answer, "result": None if result is None else str(result)}), file=stdout)
    if not end.success:
        remedy = None if end.state == "aborted" else "read the sites' reasons"
        raise JobError("job did not complete", where=job_id, value=end.words, remedy=remedy)
    for one in worth:
        typer.echo(f"{one.words} Try: {one.advice}." if one.advice else one.words, err=True)
    typer.echo(f"{end.words} ({time.monotonic() - start:.0f} s)", err=True)


def _worth(result: Path) -> tuple[ModelVerdict, ...]:
    """Return the verdicts on the model of a result, as its report has them; none where it cannot be read."""
    from fedward.reporting.data.from_events import report_of as whole_report
    from fedward.reporting.data.worth import verdicts
    from fedward.reporting.result import read_result

    try:
        return verdicts(whole_report(*read_result(result)))
    except FedwardError as error:
        typer.echo(f"result cannot be read: {error}", err=True)
        return ()


def report_of(result: Path) -> str:
    """Return the line that names the command for a downloaded result."""
    return f"read it with `fedward job report {result.parent}`"


def _fetched(session: Console, job_id: str, out: Path, flare: str, end: End) -> tuple[Path | None, End]:
    """Download the result; its events tell the end better than the server's answer, which may have none."""
    from fedward.reporting.result import ended

    try:
        result = session.download(job_id, out)
    except FedwardError as error:
        if end.success:
            raise
        typer.echo(f"no result was downloaded: {error}", err=True)
        return None, end
    typer.echo(report_of(result), err=True)
    try:
        return result, ended(result.parent, flare)
    except FedwardError as error:
        typer.echo(f"result cannot be read: {error}", err=True)
        return result, end


@contextmanager
def _status_line() -> Iterator[Callable[[str], None]]:
    """Yield a function that shows a line on stderr: in one place on a terminal, one below the other elsewhere."""
    bar = progress(column("{task.description}"))
    if not bar.console.is_terminal:
        yield lambda words: typer.echo(words, err=True)
        return
    with bar:
        task = bar.add_task("", total=None)
        yield lambda words: bar.update(task, description=words)
