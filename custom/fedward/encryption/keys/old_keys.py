"""Replace the federation's key and destroy the old keys beside it, as far as a file system permits.

After a breach an old key still opens messages that were sent under it. ``replace_and_destroy`` writes the new key to
its path, synced to the disk, and only then destroys the older ones: the key that was there, the keys that rotations
kept as ``<path>.<generation>``, and drafts that a kill left. Each file gets a unique name, is overwritten with random
bytes, synced and removed; then the folder is synced. NIST SP 800-88 calls one overwrite Clear.

| killed | at the path | second call |
|---|---|---|
| before the new key takes the name | the old key, whole | the same, from the start |
| after that, before the last old file is gone | the new key, whole | the remaining old files are destroyed |

No program can promise more than that for its own files. A solid-state disk, a file system that copies on write or keeps
snapshots, swap, backups, boxes that were sealed and other hospitals' copies may still hold the old bytes.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fedward.encryption.keys.key import FederationKey
from fedward.encryption.keys.key_file import read_key, write_key
from fedward.errors import EncryptionError
from fedward.files import sync

_ASIDE = "old"
_CHUNK = 2**20
"""Bytes that are overwritten at a time."""


@dataclass(frozen=True, slots=True)
class Destroyed:
    """Result of the destruction of old keys.

    Attributes:
        removed: number of files that were removed from the folder.
        not_overwritten: reason why the bytes could not be overwritten first, by name of the removed file.
    """

    removed: int
    not_overwritten: dict[str, str]


def replace_and_destroy(key: FederationKey, path: Path) -> Destroyed:
    """Write ``key`` to ``path``, unless it is there, and destroy every older key beside it.

    A kill in between leaves the old or the new key whole at ``path``; a second call then succeeds.

    Raises:
        EncryptionError: the file or one beside it is a link, has another name elsewhere, or is no older key: nothing is
            changed. Or the new key cannot be written: the old one stays. Or an old one cannot be removed: the new one
            is in place.
    """
    held = read_key(path) if os.path.lexists(path) and not path.is_symlink() else None
    _require_destroyable(path, new=key, replaced=held != key)
    if held is None:
        write_key(key, path)
    elif held != key:
        _replace(key, path)
    return _destroy(path)


def _beside(path: Path) -> list[Path]:
    """List files beside a key that may hold an older one, by name: kept keys, drafts, and files that a kill left."""
    name = re.escape(path.name)
    old = re.compile(rf"{name}\.[0-9]+|\.{name}(\.[0-9]+)?\.[0-9a-f]{{16}}\.(draft|{_ASIDE})")
    try:
        return sorted(entry for entry in path.parent.iterdir() if old.fullmatch(entry.name))
    except FileNotFoundError:
        return []
    except OSError as error:
        what = "folder of the key cannot be listed"
        raise EncryptionError(what, where=path.parent, value=error.strerror, remedy="run as its owner") from None


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}.{_ASIDE}")


def _require_destroyable(path: Path, *, new: FederationKey, replaced: bool) -> None:
    """Refuse, before any change, a file that is not certainly an old key of this path alone."""
    beside = _beside(path)
    there = {entry: os.lstat(entry) for entry in (path, *beside) if os.path.lexists(entry)}
    names = Counter((status.st_dev, status.st_ino) for status in there.values())
    for entry, status in there.items():
        if not stat.S_ISREG(status.st_mode):
            what = "is a link or no file, and what it leads to would not be destroyed"
            raise EncryptionError(what, where=entry, remedy="give the file itself, or remove the link")
        if (entry != path or replaced) and status.st_nlink > names[status.st_dev, status.st_ino]:
            remedy = f"remove its other names, which `find / -xdev -samefile {entry}` finds"
            raise EncryptionError("old key has another name elsewhere", where=entry, remedy=remedy)
    for entry in beside:
        if entry.name.startswith(f"{path.name}."):
            _require_older(entry, new)


def _require_older(kept: Path, new: FederationKey) -> None:
    if (generation := read_key(kept).generation) >= new.generation:
        raise EncryptionError(
            f"kept key is of generation {generation}, and not older than generation {new.generation}, the new one",
            where=kept,
            remedy="move it away, or remove it",
        )


def _replace(key: FederationKey, path: Path) -> None:
    """Replace the key; give the old key's bytes a second name first, so that they can be overwritten afterwards."""
    aside = _aside(path)
    try:
        os.link(path, aside)
        write_key(key, path, replace=True)
    except OSError as error:
        what = "old key cannot be set aside"
        raise EncryptionError(what, where=path, value=error.strerror, remedy="run as the user who owns it") from None
    except EncryptionError:
        with suppress(FileNotFoundError):
            if aside.samefile(path):  # nothing was replaced
                aside.unlink()
        raise


def _destroy(path: Path) -> Destroyed:
    found: dict[str, str | None] = {}
    for entry in _beside(path):
        try:
            found[entry.name] = _destroy_one(entry, path)
        except FileNotFoundError:
            continue  # another process removes old keys here at the same time
        except OSError as error:
            what = "the new key is in place, and an old one cannot be removed"
            raise EncryptionError(what, where=entry, value=error.strerror, remedy="remove it by hand") from None
    return Destroyed(len(found), {name: why for name, why in found.items() if why is not None})


def _destroy_one(entry: Path, path: Path) -> str | None:
    """Overwrite and remove one file; return the reason why its bytes could not be overwritten, or None."""
    why = None
    aside = entry if entry.suffix == f".{_ASIDE}" else entry.rename(_aside(path))
    sync(path.parent)
    try:
        if not aside.samefile(path):  # after a kill the key in use can have a second name
            _overwrite(aside)
    except FileNotFoundError:
        raise
    except OSError as error:
        why = error.strerror or type(error).__name__
    aside.unlink()
    sync(path.parent)
    return why


def _overwrite(path: Path) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(handle, "wb") as file:
        left = os.fstat(handle).st_size
        while left > 0:
            left -= file.write(os.urandom(min(left, _CHUNK)))
        file.flush()
        os.fsync(handle)
