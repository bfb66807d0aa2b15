"""Name and read the files of an audit log: the current one, and the rotated ones, each named by its first number."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from fedward.audit.entry import LONGEST_LINE
from fedward.errors import AuditError

LOG_FILE = "audit.jsonl"
_ROTATED = re.compile(r"audit-(\d{12})\.jsonl")
_CHUNK = 2**14


def rotated(log: Path) -> list[Path]:
    """Return the rotated files of a log, oldest first. ``AuditLog.expire`` removes them, and says so in the log."""
    try:
        paths = sorted(log.parent.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise AuditError("audit log cannot be read", where=log.parent, value=error.strerror) from None
    return [path for path in paths if _ROTATED.fullmatch(path.name)]


def rotated_name(first: int) -> str:
    """Return the name of the rotated file whose first entry has this number."""
    return f"audit-{first:012d}.jsonl"


def torn_name(number: int) -> str:
    """Return the name of the file that keeps the torn line in whose place entry ``number`` stands."""
    return f"audit.torn-{number:012d}"


def lines(path: Path) -> Iterator[bytes]:
    """Yield each line of a file with its line feed; the last may have none. A missing file has no lines.

    Raises:
        AuditError: the file cannot be read.
    """
    try:
        with opened(path) as file:
            while line := file.readline(LONGEST_LINE):
                yield line
    except FileNotFoundError:
        return
    except OSError as error:
        raise unreadable(path, error) from None


def first_line(path: Path) -> bytes:
    """Return the first line of a file; none, ``b""``."""
    return next(lines(path), b"")


class Tail(NamedTuple):
    """End of a file.

    Attributes:
        whole: the last line that ends in a line feed, with it.
        torn: bytes after it, as a kill or a power cut leaves them: a line without its end, or with bytes that never
            came.
        size: bytes of the file without ``torn``.
    """

    whole: bytes
    torn: bytes
    size: int


def tail(path: Path) -> Tail:
    """Return the end of a file; a missing file is empty.

    Raises:
        AuditError: the file cannot be read, or the end of its last line is too far away.
    """
    try:
        with opened(path) as file:
            size = file.seek(0, os.SEEK_END)
            found, at = b"", size
            while at > 0 and found.count(b"\n") < 3 and len(found) <= 2 * LONGEST_LINE:
                step = min(at, max(_CHUNK, len(found)))
                at -= step
                file.seek(at)
                found = file.read(step) + found
    except FileNotFoundError:
        return Tail(b"", b"", 0)
    except OSError as error:
        raise unreadable(path, error) from None
    if len(found) > 2 * LONGEST_LINE:
        raise AuditError("audit log ends in no line of its own", where=path)
    *before, torn = found.split(b"\n")
    if before and not torn and b"\0" in before[-1]:  # the disk had its end, and not yet all before it
        torn = before.pop() + b"\n"
    whole = before[-1] + b"\n" if before else b""
    return Tail(whole, torn, size - len(torn))


def opened(path: Path) -> BinaryIO:
    """Open a file to read it; one that is a pipe does not wait for its other end."""
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")


def unreadable(path: Path, error: OSError) -> AuditError:
    remedy = "run as the user who owns the kit"
    return AuditError("audit log cannot be read", where=path, value=error.strerror, remedy=remedy)
