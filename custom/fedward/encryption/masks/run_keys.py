"""Keep a hospital's keys of one masked run in a file, from its first answer until the run ends there.

A restarted process goes on with the same keys. At the end the file is overwritten and removed: what the server recorded
of the run can then be read by nobody who reads this hospital's disk later, as far as a file system permits.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from fedward.encryption.keys.key import SECRET_BYTES
from fedward.encryption.keys.key_file import read_private
from fedward.encryption.masks.agreement import PUBLIC_BYTES, KeyPair
from fedward.encryption.message import is_site
from fedward.errors import EncryptionError, KeyFileError
from fedward.files import sync, write_atomic

RUN_KEYS_FILE = "masks.key"
_MAGIC = "fedward keys of a masked run"
_FIELDS = frozenset({"magic", "private", "publics", "known", "made", "maker", "secret"})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RunKeys:
    """Keys of one run at one hospital. Its ``repr`` shows nothing secret.

    Attributes:
        pair: this hospital's.
        publics: hospital -> its public key, verified; None before a task has said which hospitals take part.
        known: hospitals that were known here when the public keys were verified, sorted.
        made: secret of the key that this hospital made for the job; None: it made none.
        maker: hospital that made the job's key; None before it is known.
        secret: of the job's key; None before it is known.
    """

    pair: KeyPair = field(repr=False)
    publics: Mapping[str, bytes] | None = None
    known: tuple[str, ...] = ()
    made: bytes | None = field(default=None, repr=False)
    maker: str | None = None
    secret: bytes | None = field(default=None, repr=False)

    def encode(self) -> bytes:
        """Return the file's text. All of it is secret."""
        publics = None if self.publics is None else {site: key.hex() for site, key in sorted(self.publics.items())}
        content = {
            "magic": _MAGIC,
            "private": self.pair.private.hex(),
            "publics": publics,
            "known": list(self.known),
            "made": None if self.made is None else self.made.hex(),
            "maker": self.maker,
            "secret": None if self.secret is None else self.secret.hex(),
        }
        return (json.dumps(content, indent=2) + "\n").encode("ascii")


def read_run_keys(path: Path) -> RunKeys | None:
    """Read the keys of a run; None where there is no file.

    Raises:
        EncryptionError: others have permissions on the file, or it is damaged; the error shows nothing of it.
        KeyFileError: it cannot be read.
    """
    try:
        text = read_private(path, "file with the keys of a run")
    except FileNotFoundError:
        return None
    try:
        found = _decoded(json.loads(text))
    except (ValueError, TypeError, LookupError, RecursionError):
        found = None
    # raised outside the handler: an error of json carries the whole text and would be chained to this one
    if found is None or found.encode() != text:
        raise EncryptionError("keys of this run are damaged", where=path, remedy="submit the job again")
    return found


def _decoded(content: Any) -> RunKeys | None:
    if type(content) is not dict or set(content) != _FIELDS or type(content["known"]) is not list:
        return None
    maker, publics = content["maker"], content["publics"]
    if publics is not None and type(publics) is not dict:
        return None
    found = None if publics is None else {site: bytes.fromhex(key) for site, key in publics.items()}
    if found is not None and not all(is_site(site) and len(key) == PUBLIC_BYTES for site, key in found.items()):
        return None
    made, secret = (None if content[name] is None else bytes.fromhex(content[name]) for name in ("made", "secret"))
    if any(one is not None and len(one) != SECRET_BYTES for one in (made, secret)):
        return None
    if (secret is None) is not (maker is None) or (maker is not None and maker not in (found or {})):
        return None
    return RunKeys(
        pair=KeyPair.of(bytes.fromhex(content["private"])),
        publics=found,
        known=tuple(map(str, content["known"])),
        made=made,
        maker=maker,
        secret=secret,
    )


def write_run_keys(keys: RunKeys, path: Path) -> None:
    """Write the keys with mode 0600, whole and synced to the disk, over those that were there, which are overwritten.

    Raises:
        KeyFileError: the disk does not accept the file at the moment.
    """
    try:
        with ExitStack() as stack:
            old = stack.enter_context(path.open("r+b")) if path.exists() else None
            write_atomic(path, keys.encode(), mode=0o600, replace=True)
            if old is not None:
                _overwrite(old)
    except OSError as error:
        raise KeyFileError("keys of this run cannot be written", where=path, value=error.strerror) from None


def destroy_run_keys(path: Path) -> None:
    """Overwrite and remove the keys of a run that has ended; without a file do nothing.

    Raises:
        OSError: the file cannot be removed.
    """
    with suppress(FileNotFoundError):
        with path.open("r+b") as file:
            _overwrite(file)
        path.unlink()
        sync(path.parent)


def _overwrite(file: BinaryIO) -> None:
    file.write(os.urandom(os.fstat(file.fileno()).st_size))
    file.flush()
    os.fsync(file.fileno())
