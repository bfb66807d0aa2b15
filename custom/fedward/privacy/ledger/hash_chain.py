"""Link entries by keyed hashes: each entry has a hash over itself and the hash of the entry before it.

The hash is HMAC-SHA256 (RFC 2104, FIPS 198-1) under a key derived from the site's key. Anyone who can write to the file
but does not have the key cannot change, drop, swap or add an entry without detection. This module reads and writes no
file; ``fedward.privacy.ledger.chain_store`` does.
"""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from fedward.errors import LedgerError

KEY_BYTES_MIN = 16
START = "0" * 64
"""Hash that the first entry has for the entry before it."""
RESTORE = "restore the ledger and its head from the last backup, and tell the privacy officer"

Row = tuple[object, ...]
_PSEUDONYM = re.compile(r"[0-9a-f]{16}")
_COLUMN_TYPES = (int, str, str, str, str, str)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainEntry:
    """One line of the ledger, checked against its hash.

    Attributes:
        number: from 1, without a gap.
        at: UTC time of writing, ISO 8601. It is the machine's clock: order follows ``number``.
        kind: type of ``body``.
        body: plain JSON data.
        hash: 64 hexadecimal digits.
    """

    number: int
    at: str
    kind: str
    body: dict[str, Any]
    hash: str


@dataclass(frozen=True, slots=True)
class Seal:
    """Keyed hash of entries, patient sets and heads; none can replace another. The key is not in ``repr``."""

    key: bytes = field(repr=False)

    @classmethod
    def of(cls, site_key: bytes) -> Seal:
        """Derive the ledger's key from the site's key, apart from every key for pseudonyms and splits.

        Raises:
            LedgerError: the site's key is shorter than 16 bytes.
        """
        if len(site_key) < KEY_BYTES_MIN:
            raise LedgerError("site key is too short to keep a ledger", value=f"{len(site_key)} bytes")
        return cls(hmac.digest(site_key, b"fedward/1/ledger-key", "sha256"))

    def entry(self, number: int, at: str, kind: str, body: str, previous: str) -> str:
        return self._hash("entry", number, at, kind, body, previous)

    def members(self, text: str) -> str:
        return self._hash("patients", text)

    def head(self, count: int, hash: str) -> str:
        return self._hash("head", count, hash)

    def _hash(self, *parts: object) -> str:
        return hmac.digest(self.key, json.dumps(parts).encode(), "sha256").hex()


def canonical(body: dict[str, Any]) -> str:
    """Return plain data as the one JSON text that is hashed and stored: sorted keys, no spaces, finite numbers.

    Raises:
        LedgerError: it holds a value that JSON cannot express.
    """
    try:
        return json.dumps(body, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError):
        raise LedgerError("not to be written as JSON", remedy="give finite numbers and text") from None


def members_text(patients: Collection[str]) -> str:
    """Return a set of pseudonyms as the one text that is hashed and stored.

    Raises:
        LedgerError: it is empty, or holds a value that is no pseudonym: no identifier from a header gets into the file.
    """
    if not patients:
        raise LedgerError("names no patient", remedy="give the pseudonyms of the patients in training")
    if isinstance(patients, str) or not all(isinstance(p, str) and _PSEUDONYM.fullmatch(p) for p in patients):
        raise LedgerError("a patient is no pseudonym", remedy="give the manifest's own, 16 hexadecimal digits each")
    return " ".join(sorted(set(patients)))


def checked(row: Row, *, seal: Seal, number: int, previous: str) -> ChainEntry:
    """Return a stored row as an entry, if it is the row that was written there.

    Args:
        row: number, at, kind, body, previous, hash.
        seal: the ledger's.
        number, previous: number that the row must have, and hash of the entry before it.

    Raises:
        LedgerError: it is another row.
    """
    if len(row) != len(_COLUMN_TYPES) or any(
        type(value) is not kind for value, kind in zip(row, _COLUMN_TYPES, strict=True)
    ):
        raise LedgerError(f"entry {number} is damaged", remedy=RESTORE)
    found, at, kind, body, before, hash = row
    if found != number or before != previous:
        raise LedgerError(f"entry {number} does not follow the one before it", remedy=RESTORE)
    if not hmac.compare_digest(seal.entry(number, str(at), str(kind), str(body), previous), str(hash)):
        raise LedgerError(f"entry {number} was changed, or written under another site's key", remedy=RESTORE)
    return ChainEntry(number=number, at=str(at), kind=str(kind), body=json.loads(str(body)), hash=str(hash))
