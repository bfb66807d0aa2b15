"""Write and read one file of a checkpoint: synced, and taken back only with the SHA-256 that was noted."""

from __future__ import annotations

import errno
import hashlib
import io
import os
from pathlib import Path

import numpy as np

from fedward.weights import Weights, require_stored

_DAMAGED = frozenset({errno.EIO, errno.EISDIR, errno.ENOTDIR, errno.ELOOP})


class DamagedError(Exception):
    """A generation is not whole."""


def put_file(path: Path, content: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(handle, rest) :]
        os.fsync(handle)
    finally:
        os.close(handle)


def content_of(path: Path) -> bytes:
    """Read a file.

    Raises:
        DamagedError: it is missing, is no file, or the disk cannot read it: an earlier generation serves.
        OSError: it cannot be read now for another reason.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise DamagedError(f"{path.name} is missing") from None
    except OSError as error:
        if error.errno not in _DAMAGED:
            raise
        raise DamagedError(f"{path.name} cannot be read, {error.strerror}") from None


def checked_file(path: Path, due: str) -> bytes:
    content = content_of(path)
    if hashlib.sha256(content).hexdigest() != due:
        raise DamagedError(f"{path.name} was changed")
    return content


def packed(arrays: Weights) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


def unpacked(content: bytes) -> Weights:
    file = io.BytesIO(content)
    require_stored(file)
    with np.load(file, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in sorted(arrays.files)}
