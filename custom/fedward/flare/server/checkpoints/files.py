"""Write and read one file of a checkpoint: synced, and taken back only with the SHA-256 that was noted."""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path

import numpy as np

from fedward.weights import Weights, require_stored


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


def checked_file(path: Path, due: str) -> bytes:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise DamagedError(f"{path.name} is missing") from None
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
