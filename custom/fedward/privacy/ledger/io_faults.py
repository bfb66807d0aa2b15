"""Tell a fault of the disk, the permissions or another process from a fault in the ledger's content.

After a fault of the first kind the ledger is as it was, or one entry longer, and the same call may succeed later. So it
ends one task. A fault of the second kind (a changed entry, a cut file) ends the job.
"""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path

from fedward.errors import DiskFullError, LedgerError, LedgerIOError
from fedward.privacy.ledger.hash_chain import RESTORE

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_PASSING = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_PROTOCOL,
    }
)
"""SQLite's primary result codes that say nothing about the file's content."""
_ROOM = "free space on it; nothing is lost, and the site goes on by itself"


def is_busy(error: sqlite3.Error) -> bool:
    """True if another process holds the ledger."""
    return _primary(error) == sqlite3.SQLITE_BUSY


def ledger_fault(error: sqlite3.Error | OSError, *, where: Path, timeout_s: float) -> LedgerError:
    """Return the error of the ledger that an error of the system stands for.

    Args:
        error: from SQLite or from a file.
        where: the ledger.
        timeout_s: seconds that were waited for another process.

    Returns:
        ``DiskFullError`` or ``LedgerIOError`` for a fault that passes; ``LedgerError`` for one in the content.
    """
    if isinstance(error, OSError):
        if error.errno in _FULL:
            return _full(where, error.strerror)
        return LedgerIOError("ledger cannot be read or written", where=where, value=error.strerror)
    code = _primary(error)
    if code == sqlite3.SQLITE_FULL:
        return _full(where, str(error))
    if code == sqlite3.SQLITE_BUSY:
        what = f"another process held the ledger for {timeout_s:g} s"
        return LedgerIOError(what, where=where, remedy="try again when it is done")
    if code in _PASSING:
        remedy = "look at the disk and at the permissions of the ledger's folder"
        return LedgerIOError(f"ledger cannot be read or written, {error}", where=where, remedy=remedy)
    return LedgerError(f"ledger cannot be used, {error}", where=where, remedy=RESTORE)


def _full(where: Path, value: str | None) -> DiskFullError:
    return DiskFullError("disk is full, and the ledger takes no entry", where=where, value=value, remedy=_ROOM)


def _primary(error: sqlite3.Error) -> int | None:
    """Return SQLite's primary result code, the low byte of the extended one; None: the error is Python's own."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF
