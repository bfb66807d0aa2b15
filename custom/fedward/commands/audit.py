"""Define ``fedward audit …``: check, read and begin again the audit log of a hospital, a server or an operator."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.table import Column, Table
from rich.text import Text

from fedward.commands.output_format import FORMAT, Format
from fedward.errors import AuditError
from fedward.screen import screen

if TYPE_CHECKING:
    from fedward.audit.entry import Entry
    from fedward.audit.log import AuditLog
    from fedward.audit.verify import Verified

app = typer.Typer(help="Check and read who did what: for privacy officers and IT.", no_args_is_help=True)
_PATH = typer.Argument(..., metavar="PATH", help="A kit, its audit folder, an audit.jsonl, or a site.toml.")
_SITE_TOML = typer.Option(None, metavar="FILE", help="The hospital's site.toml, where the log was copied from its kit.")
_TIME = len("2026-03-01T14:00:00")
_KEYS = {"site": "the site's key", "own": "the key beside it"}


@app.callback()
def audit() -> None:
    """Check and read who did what."""


@app.command()
def verify(
    path: Path = _PATH,
    head: str | None = typer.Option(
        None, metavar="N:HASH", help="A head noted elsewhere: prove that nothing up to it was cut or changed."
    ),
    site_toml: Path | None = _SITE_TOML,
    format: Format = FORMAT,
) -> None:
    """Check every entry, and print the head to keep elsewhere. Exit code 0 when the log is whole, 1 with the first
    fault in one line."""
    from fedward.audit.place import log_at
    from fedward.audit.verify import parse_head
    from fedward.audit.verify import verify as check

    noted = None if head is None else parse_head(head)
    log = log_at(path, site_toml=site_toml)
    found = check(log, noted=noted)
    if format is Format.json:
        typer.echo(json.dumps(_plain(log, found)))
        return
    typer.echo(_line(log, found))


def _plain(log: AuditLog, found: Verified) -> dict[str, object]:
    return {
        "log": str(log.path),
        "first": found.first,
        "last": found.last.number,
        "head": f"{found.last.number}:{found.last.hash}",
        "sealed_by": found.sealed_by,
        "torn_bytes": found.torn_bytes,
    }


def _line(log: AuditLog, found: Verified) -> str:
    line = (
        f"{log.path}: entries {found.first} to {found.last.number}, each follows the one before it; "
        f"sealed with {_KEYS[found.sealed_by]}; head {found.last.number}:{found.last.hash}"
    )
    if found.torn_bytes:
        line += f"; then {found.torn_bytes} bytes of a line that a kill broke off, which the next writer sets aside"
    return line


@app.command()
def restart(
    path: Path = _PATH,
    reason: str = typer.Option(..., metavar="TEXT", help="Why the log is gone; it becomes part of the first entry."),
) -> None:
    """Begin a new log where the old one is lost or moved away. Its first entry says who did so, why, and which entry
    the old log's anchor names."""
    from fedward.audit.note import own_account
    from fedward.audit.place import log_at

    log = log_at(path)
    entry = log.restart(who=own_account(), reason=reason)
    typer.echo(f"{log.path}: a new log; head {entry.number}:{entry.hash}")


@app.command()
def show(
    path: Path = _PATH,
    what: list[str] = typer.Option([], metavar="ACT", help="Only these acts, such as update-left; once for each."),
    since: str | None = typer.Option(None, metavar="TIME", help="Only from this UTC day or time on, as 2026-03-01."),
    job: str | None = typer.Option(None, metavar="JOB_ID", help="Only acts about this job."),
    site_toml: Path | None = _SITE_TOML,
    format: Format = FORMAT,
) -> None:
    """Print who did what: a table, or JSON lines for scripts. Exit code 1 when the log has a fault, which is said
    after it."""
    from fedward.audit.place import log_at
    from fedward.audit.verify import entries
    from fedward.audit.verify import verify as check

    _require_acts(what)
    start = None if since is None else _time(since)
    log = log_at(path, site_toml=site_toml)
    chosen = (
        entry
        for entry in entries(log)
        if (not what or entry.what in what)
        and (start is None or datetime.fromisoformat(entry.at) >= start)
        and (job is None or entry.about.get("job") == job)
    )
    if format is Format.json:
        for entry in chosen:
            typer.echo(json.dumps(entry.plain()))
    else:
        table = Table("n", Column("at (UTC)", no_wrap=True, min_width=_TIME), "who", "what", "about")
        for entry in chosen:
            table.add_row(str(entry.number), entry.at[:_TIME], _shown(entry.who), entry.what, _about(entry))
        screen().print(table)
    check(log)


def _require_acts(names: list[str]) -> None:
    from fedward.audit.actions import ACTIONS

    for name in names:
        if name not in ACTIONS:
            raise AuditError("is no act", where="--what", value=name, remedy=f"give one of {', '.join(ACTIONS)}")


def _time(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        remedy = "give a day or a time, such as 2026-03-01 or 2026-03-01T14:00:00Z"
        raise AuditError("is no time", where="--since", value=text[:100], remedy=remedy) from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def _about(entry: Entry) -> Text:
    parts = (f"{name} {_value(value)}" for name, value in entry.about.items() if value not in (None, ""))
    return _shown("\n".join(parts))


def _value(value: object) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value)


def _shown(words: str) -> Text:
    return Text(words, overflow="fold")
