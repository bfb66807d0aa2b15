"""Make, write and check one line of an audit log.

A line is one JSON object in ASCII with the keys n, at, who, what, about, prev and hash, in this order. ``hash`` is
HMAC-SHA256 over all the others (``fedward.privacy.ledger.hash_chain``); ``prev`` is the hash of the entry before. A
line has exactly one spelling, so that any changed byte is found.
"""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fedward.audit.actions import ABOUT, ACTIONS
from fedward.errors import AuditError
from fedward.privacy.ledger.hash_chain import START, Seal, canonical
from fedward.visible import visible

LONGEST_TEXT = 200
"""Characters of a text in an entry; the end of a longer one is cut off."""
MOST_NAMES = 256
"""Names of a list in an entry; of a longer one the last says how many are left out."""
LONGEST_LINE = 2**20
"""Bytes of a line that is read; a line within the bounds above is shorter."""
KEEP = (
    "keep the folder as it is and tell the privacy officer; once it is moved away `fedward audit restart` begins a log"
)
"""Remedy for a log that was changed."""
_LARGEST = 2**53
_AT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
_HASH = re.compile(r"[0-9a-f]{64}")
_KEYS = ["n", "at", "who", "what", "about", "prev", "hash"]

Value = str | int | list[str]
"""Value of a fact about an act."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One act.

    Attributes:
        number: from 1, without a gap.
        at: UTC, RFC 3339 with milliseconds. It is the machine's clock: order follows ``number``.
        who: name in a certificate, or an account of the operating system.
        what: a name in ``ACTIONS``.
        about: facts, by a name in ``ABOUT``.
        previous, hash: hash of the entry before, and of this one: 64 hexadecimal digits.
    """

    number: int
    at: str
    who: str
    what: str
    about: Mapping[str, Any]
    previous: str
    hash: str

    def plain(self) -> dict[str, Any]:
        """Return the entry as its line holds it."""
        values = (self.number, self.at, self.who, self.what, dict(self.about), self.previous, self.hash)
        return dict(zip(_KEYS, values, strict=True))

    def line(self) -> bytes:
        """Return the entry's one spelling, with the line feed at its end."""
        return json.dumps(self.plain(), separators=(",", ":"), allow_nan=False).encode("ascii") + b"\n"


@dataclass(frozen=True, slots=True)
class Last:
    """Number and hash of the last entry; 0 and ``START`` where there is none."""

    number: int = 0
    hash: str = START


def make(what: str, who: str, about: Mapping[str, object], *, after: Last, seal: Seal, now: datetime) -> Entry:
    """Return the entry that follows ``after``. Texts are escaped and cut, facts of value None are left out.

    Raises:
        ValueError: an act or a fact that is on no list, or a value of another type: a mistake of the caller.
    """
    if what not in ACTIONS or not about.keys() <= ABOUT.keys():
        raise ValueError(f"no act or fact of an audit log: {what!r}, {sorted(about.keys() - ABOUT.keys())}")
    facts = {name: bounded(value) for name, value in sorted(about.items()) if value is not None}
    moment = now.astimezone(UTC)
    at = f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"
    number, shown = after.number + 1, _text(who)
    hash = _hash(seal, number, at, shown, what, facts, after.hash)
    return Entry(number=number, at=at, who=shown, what=what, about=facts, previous=after.hash, hash=hash)


def bounded(value: object) -> Value:
    """Return a value as an entry may hold it: printable, and no longer than the bounds.

    Raises:
        ValueError: it is no text, no whole number and no list of texts.
    """
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, int) and abs(value) <= _LARGEST:
        return int(value)
    if isinstance(value, list | tuple | set | frozenset) and all(isinstance(one, str) for one in value):
        names = [_text(one) for one in (sorted(value) if isinstance(value, set | frozenset) else value)]
        left = len(names) - MOST_NAMES
        return names if left <= 0 else [*names[:MOST_NAMES], f"and {left} more"]
    raise ValueError("a fact of an audit log is a text, a whole number or a list of texts")


def read(line: bytes, *, number: int) -> Entry:
    """Return a line as an entry, if it is spelled as an entry is; ``require_next`` checks its place and its hash.

    Raises:
        AuditError: it is none; the error names ``number``.
    """
    try:
        content = json.loads(line)
        n, at, who, what, about, previous, hash = (content[key] for key in _KEYS)
        sound = _is_entry(n, at, who, what, about, previous, hash)
        entry = Entry(number=n, at=at, who=who, what=what, about=about, previous=previous, hash=hash)
        if sound and entry.line() == line:
            return entry
    except (ValueError, LookupError, TypeError, RecursionError):
        pass  # the line is none: said below
    raise AuditError(f"entry {number} was changed")


def require_next(entry: Entry, *, after: Last, seals: tuple[Seal, ...]) -> Seal:
    """Return the seal that an entry has, if it is the entry that was written after ``after``.

    Raises:
        AuditError: it is another, or has none of these seals.
    """
    number = after.number + 1
    if entry.number > number:
        raise AuditError(f"entry {number} is missing: entry {entry.number} stands in its place")
    if entry.number < number:
        raise AuditError(f"entry {entry.number} stands where entry {number} was")
    body = (entry.number, entry.at, entry.who, entry.what, entry.about, entry.previous)
    found = next((seal for seal in seals if hmac.compare_digest(_hash(seal, *body), entry.hash)), None)
    if found is None:
        raise AuditError(f"entry {number} was changed, or written under another key")
    if entry.previous != after.hash:
        raise AuditError(f"entry {number} does not follow the entry before it")
    return found


def _hash(seal: Seal, number: int, at: str, who: str, what: str, about: Mapping[str, Any], previous: str) -> str:
    return seal.entry(number, at, what, canonical({"who": who, "about": dict(about)}), previous)


def _is_entry(n: object, at: object, who: object, what: object, about: object, previous: object, hash: object) -> bool:
    return (
        type(n) is int
        and type(at) is str
        and _AT.fullmatch(at) is not None
        and type(who) is str
        and type(what) is str
        and type(about) is dict
        and all(type(value) in (str, int, list) for value in about.values())
        and type(previous) is str
        and type(hash) is str
        and _HASH.fullmatch(hash) is not None
    )


def _text(value: str) -> str:
    shown = visible(value[: LONGEST_TEXT + 1])
    return shown if len(shown) <= LONGEST_TEXT else f"{shown[: LONGEST_TEXT - 1]}…"
