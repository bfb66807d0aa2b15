"""Write files atomically, whole or not at all, and spell their names the same in every locale.

Only the ledger's database is created elsewhere.
"""

from __future__ import annotations

import contextlib
import csv
import io
import os
import secrets
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import BinaryIO

_LONGEST = 200
"""Characters of a file's name that its draft's name has: a file system allows 255 bytes."""
Content = str | bytes | Callable[[BinaryIO], None]
"""Text, written as UTF-8; bytes; or a function that writes to the open file."""


def write_atomic(
    path: Path, content: Content, *, mode: int | None = None, replace: bool = True, share_group: bool = False
) -> None:
    """Write a file so that ``path`` is the whole old file or the whole new one, even after a kill or a power cut.

    The content goes to a draft beside it, ``.<name>.<16 hexadecimal digits>.draft``. The draft is synced and takes the
    name in one step; then the folder is synced. Missing folders are created.

    Args:
        path: the file.
        content: the new content.
        mode: permissions from the first byte on, whatever the umask; None: as the umask sets them. If only the owner
            may read the file, so it is with the folder, where that is created.
        replace: False refuses a name that exists already.
        share_group: give the file the group of its folder, where that is allowed.

    Raises:
        FileExistsError: without ``replace``, the name exists already.
        OSError: the disk does not accept it. No draft is left, and ``path`` is unchanged, unless only the folder could
            not be synced.
    """
    private = mode is not None and not mode & 0o077
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700 if private else 0o777)
    draft = path.with_name(f".{path.name[:_LONGEST]}.{secrets.token_hex(8)}.draft")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666 if mode is None else 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            if share_group:
                with contextlib.suppress(PermissionError):
                    os.chown(handle, -1, path.parent.stat().st_gid)
            if mode is not None:
                os.fchmod(handle, mode)
            _write(file, content)
            file.flush()
            os.fsync(handle)
        if replace:
            draft.replace(path)
        else:
            os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    sync(path.parent)


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV file with a line of headings, as ``write_atomic`` does; lines end with a line feed alone."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(columns)
    table.writerows(rows)
    write_atomic(path, text.getvalue())


def same_anywhere(name: str) -> str:
    """Return a file name, as this process lists it, as text that is the same in every locale.

    The name's bytes are read as UTF-8; other bytes become lone surrogates (PEP 383). ``here`` is the way back.
    """
    return os.fsencode(name).decode("utf-8", "surrogateescape")


def here(path: Path) -> Path:
    """Return a path whose last parts are names from ``same_anywhere`` as this process's locale spells it.

    The folder before them may be spelt either way, so the first spelling that exists is taken, with as many names in
    UTF-8 as possible. In a UTF-8 locale the path is returned unchanged.
    """
    if sys.getfilesystemencoding() == "utf-8":
        return path
    for count in range(len(path.parts) + 1):
        folder, names = path.parts[:count], path.parts[count:]
        try:
            stored = b"/".join([*map(os.fsencode, folder), *map(_utf8, names)])
        except UnicodeEncodeError:
            continue
        if os.path.lexists(stored):
            return Path(os.fsdecode(stored))
    return Path(os.fsdecode(b"/".join(map(_utf8, path.parts))))


def _utf8(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def sync(path: Path) -> None:
    """Flush a file, or the names in a folder, to the disk.

    Raises:
        OSError: the disk does not accept it.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write(file: BinaryIO, content: Content) -> None:
    if isinstance(content, str):
        file.write(content.encode())
    elif isinstance(content, bytes):
        file.write(content)
    else:
        content(file)
