"""Search bytes for a model's numbers, at any offset."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Windows = NDArray[np.uint64]
"""Eight bytes each, or sixteen folded to eight, as one number, sorted, none twice."""
_ENDS = np.uint64(2**24 - 1)
_HALF = np.uint64(32)


def windows(models: Iterable[NDArray[np.float32]], *, known: NDArray[np.float32], double: bool = False) -> Windows:
    """Return the searchable part of ``models``: each two neighbouring values as float32, or as float64.

    Values of the model ``known`` to all are left out, and so is each value of few bits, as 0, 1 or 0.5. One float64
    alone proves nothing: an update has values of few bits, and a float32 that follows a 0 may be the same eight bytes.
    """
    take = _doubles if double else _pairs
    return np.setdiff1d(np.concatenate([take(model) for model in models]), take(known))


def words(secret: bytes) -> Windows:
    """Each eight bytes of ``secret`` in their order, but those with a byte twice, as fillings and tables have."""
    found = np.frombuffer(secret, "<u8", count=len(secret) // 8)
    parts = np.sort(found.view("u1").reshape(-1, 8), axis=1)
    return np.unique(found[(np.diff(parts, axis=1) != 0).all(axis=1)])


def share_found(wanted: Windows, blobs: Iterable[bytes], *, double: bool = False) -> float:
    """The share of ``wanted`` that is in any of ``blobs``, at any byte; ``double`` as for ``windows``."""
    seen, perhaps = np.zeros(len(wanted), dtype=bool), np.zeros(_ENDS + 1, dtype=bool)
    perhaps[wanted & _ENDS] = True
    for blob in blobs:
        for first in range(min(8, max(0, len(blob) - 7))):
            there = np.frombuffer(blob, "<u8", count=(len(blob) - first) // 8, offset=first)
            there = _folded(there) if double else there
            there = there[perhaps[there & _ENDS]]
            at = np.searchsorted(wanted, there).clip(max=len(wanted) - 1)
            seen[at[wanted[at] == there]] = True
    return float(seen.mean())


def files(folder: Path) -> Iterator[bytes]:
    """Every file below ``folder``, and every file in those that are archives."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            yield from _unpacked(path.read_bytes())


def _unpacked(content: bytes) -> Iterator[bytes]:
    yield content
    if content[:2] == b"PK" and zipfile.is_zipfile(io.BytesIO(content)):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for name in archive.namelist():
                yield from _unpacked(archive.read(name))


def _pairs(model: NDArray[np.float32]) -> Windows:
    bits = model.astype("<f4").view("<u4").astype("<u8")
    odd = _odd(model)
    return (bits[:-1] | bits[1:] << np.uint64(32))[odd[:-1] & odd[1:]]


def _doubles(model: NDArray[np.float32]) -> Windows:
    odd = _odd(model)
    return _folded(model.astype("<f8").view("<u8"))[odd[:-1] & odd[1:]]


def _folded(words: Windows) -> Windows:
    """Each two neighbouring words as one: the first, and the second with its halves exchanged, by exclusive or.

    A float32 as float64 has its bits in the upper half, so that no bit of the two is lost.
    """
    second = words[1:]
    return words[:-1] ^ (second << _HALF | second >> _HALF)


def _odd(model: NDArray[np.float32]) -> NDArray[np.bool_]:
    return model.astype("<f4").view("<u4") & 0xFFFF != 0
