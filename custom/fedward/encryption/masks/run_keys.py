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
from fedward.encryption.masks.agreement import KeyPair
from fedward.encryption.masks.graphs.graph import SEED_BYTES
from fedward.encryption.message import is_site
from fedward.errors import EncryptionError, KeyFileError
from fedward.files import sync, write_atomic

RUN_KEYS_FILE = "masks.key"
_MAGIC = "fedward keys of a masked run"
_FIELDS = frozenset({"magic", "private", "publics", "known", "made", "maker", "secret", "seed", "seeds"})


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
        seed: that this hospital drew for a sparse mask graph; None before it has.
        seeds: hospital -> its seed, verified; None before a task has brought them, and in a complete graph.
    """

    pair: KeyPair = field(repr=False)
    publics: Mapping[str, bytes] | None = None
    known: tuple[str, ...] = ()
    made: bytes | None = field(default=None, repr=False)
    maker: str | None = None
    secret: bytes | None = field(default=None, repr=False)
    seed: bytes | None = None
    seeds: Mapping[str, bytes] | None = None

    def encode(self) -> bytes:
        """Return the file's text. All of it is secret."""
        content = {
            "magic": _MAGIC,
            "private": self.pair.private.hex(),
            "publics": _words(self.publics),
            "known": list(self.known),
            "made": None if self.made is None else self.made.hex(),
            "maker": self.maker,
            "secret": None if self.secret is None else self.secret.hex(),
            "seed": None if self.seed is None else self.seed.hex(),
            "seeds": _words(self.seeds),
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
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        found = None
    # raised outside the handler: an error of json carries the whole text and would be chained to this one
    if found is None or found.encode() != text:
        raise EncryptionError("keys of this run are damaged", where=path, remedy="submit the job again")
    return found


def _decoded(content: Any) -> RunKeys | None:
    if type(content) is not dict or set(content) != _FIELDS or type(content["known"]) is not list:
        return None
    maker, found, seeds = content["maker"], _table(content["publics"]), _table(content["seeds"])
    single = (None if content[name] is None else bytes.fromhex(content[name]) for name in ("made", "secret", "seed"))
    made, secret, seed = single
    keys, drawn = (made, secret, *(found or {}).values()), (seed, *(seeds or {}).values())
    if any(one is not None and len(one) != SECRET_BYTES for one in keys):  # a public key has as many bytes
        return None
    if any(one is not None and len(one) != SEED_BYTES for one in drawn):
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
        seed=seed,
        seeds=seeds,
    )


def _words(table: Mapping[str, bytes] | None) -> dict[str, str] | None:
    return None if table is None else {site: content.hex() for site, content in sorted(table.items())}


def _table(content: Any) -> dict[str, bytes] | None:
    """Invert ``_words``.

    Raises:
        ValueError, AttributeError: it is no such table.
    """
    found = None if content is None else {site: bytes.fromhex(word) for site, word in content.items()}
    if found is not None and not all(is_site(site) for site in found):
        raise ValueError("names no hospital")
    return found


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
