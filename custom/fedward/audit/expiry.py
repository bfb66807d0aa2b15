"""Remove the closed files of an audit log whose retention has ended; an entry of the log says so of each."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from fedward.audit.actions import EXPIRED
from fedward.audit.entry import Entry, read
from fedward.audit.files import first_line, rotated, tail
from fedward.audit.log import FULL, AuditLog
from fedward.audit.verify import verify
from fedward.errors import AuditError


def older(log: AuditLog, before: datetime) -> list[Path]:
    """Return the closed files whose last entry is older than ``before``.

    Raises:
        AuditError: the log has a fault, in whatever file.
    """
    return [path for path, _ in _due(log, before)]


def expire(log: AuditLog, before: datetime, *, who: str) -> list[Path]:
    """Remove the files that ``older`` returns. The log is verified first: no fault is removed with its file.

    Each file's entry is written before the file goes, so that a kill between them leaves no fault.

    Raises:
        AuditError: the log has a fault, and nothing was removed; or it cannot be written, and the files before are
            removed.
    """
    removed: list[Path] = []
    for path, last in _due(log, before):
        if not path.exists():
            continue  # another cleaning was faster
        if read(tail(path).whole, number=last.number) != last:
            raise AuditError(f"entry {last.number} was changed", where=path)
        first = read(first_line(path), number=0).number
        log.append(EXPIRED, who=who, about={"file": path.name, "first": first, "last": last.number, "hash": last.hash})
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            what = "file of the audit log cannot be removed"
            raise AuditError(what, where=path, value=error.strerror, remedy=FULL) from None
        removed.append(path)
    return removed


def _due(log: AuditLog, before: datetime) -> list[tuple[Path, Entry]]:
    """Return the oldest files whose last entry is older, each with that entry, of a log without a fault."""
    if not (log.path.exists() or log.head.exists() or rotated(log.path)) and log.anchor.read() is None:
        return []  # nothing was recorded yet
    due = []
    for path, last in verify(log).closed:
        if datetime.fromisoformat(last.at) >= before:
            break
        due.append((path, last))
    return due
