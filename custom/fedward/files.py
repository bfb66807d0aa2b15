"""Write a file whole or not at all: the one place that does it."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

Content = str | bytes | Callable[[BinaryIO], None]
"""Text, written as UTF-8; bytes; or a function that writes to the open file."""


def write_atomic(
    path: Path, content: Content, *, mode: int | None = None, replace: bool = True, share_group: bool = False
) -> None:
    """Write a file so that ``path`` is the old file or the new one, whole, after a kill or a power cut too.

    The content goes to a draft beside it, ``.<name>.<16 hexadecimal digits>.draft``, is synced, and takes the name at
    once; then the folder is synced. Missing folders are made.

    Args:
        path: the file.
        content: what it is to hold.
        mode: its permissions from its first byte on, whatever the umask; None: what the umask leaves. Where nobody but
            the owner may read it, so it is with folders that are made.
        replace: False refuses to take the name of anything that is there.
        share_group: give it the group of its folder where that is allowed.

    Raises:
        FileExistsError: without ``replace``, something has the name already.
        OSError: the disk does not take it; ``path`` is then as it was and no draft is left.
    """
    private = mode is not None and not mode & 0o077
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700 if private else 0o777)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}.draft")
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
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Have the disk hold the folder's names as they are now.

    Raises:
        OSError: it cannot.
    """
    handle = os.open(folder, os.O_RDONLY)
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
