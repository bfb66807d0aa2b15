"""Check an audit log from its first entry to its last, in all its files, and name the first fault with its number.

Found: an entry changed in any byte, removed, added, moved or swapped; a log that is shorter than its head; a head that
was changed or removed; files removed without the entry that says so, or renamed; another key; at a hospital, another
log in its place, or none. A torn last line that the head does not count is what a kill leaves, and no fault.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fedward.audit.actions import EXPIRED, KEYED
from fedward.audit.entry import KEEP, Entry, Last, read, require_next
from fedward.audit.files import first_line, lines, rotated, rotated_name, tail
from fedward.audit.folder import LogFolder
from fedward.audit.head import read_head
from fedward.errors import AuditError
from fedward.privacy.ledger.hash_chain import Seal

_ANCHOR = (
    "start the service, or run a command that is recorded: its entry makes the anchor; "
    "if one was made before, tell the privacy officer"
)
_HEAD = re.compile(r"([0-9]{1,15}):([0-9a-f]{64})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """Result of a check without a fault.

    Attributes:
        first: number of the first entry that is here; the entries before it were removed by the log's retention.
        last: the last entry.
        sealed_by: whose key sealed the last entry, "site" or "own".
        torn_bytes: bytes of a torn line after the last entry, which the next writer sets aside.
        closed: the rotated files, oldest first, each with its last entry.
    """

    first: int
    last: Last
    sealed_by: str
    torn_bytes: int
    closed: tuple[tuple[Path, Entry], ...] = ()


@dataclass(slots=True)
class _Walk:
    """State of a check: the last entry, the seals, and what must still be found."""

    log: LogFolder
    noted: Last | None
    anchor: Last | None
    last: Last = field(default_factory=Last)
    first: int = 1
    seal: Seal | None = None
    before: Last | None = None
    """The entry before the first one here; None where that is the first ever."""
    expired: set[Last] = field(default_factory=set)
    closed: dict[Path, Entry] = field(default_factory=dict)


def parse_head(text: str) -> Last:
    """Return a head as ``fedward audit verify`` prints it, N:HASH.

    Raises:
        AuditError: it is none.
    """
    found = _HEAD.fullmatch(text.strip())
    if found is None:
        remedy = "give N:HASH as `fedward audit verify` printed it"
        raise AuditError("is no head of an audit log", where="--head", value=text[:100], remedy=remedy)
    return Last(int(found[1]), found[2])


def verify(log: LogFolder, *, noted: Last | None = None, anchored: bool = True) -> Verified:
    """Check a log, which may be in use: it is only read, and read again where a file was rotated meanwhile.

    Args:
        log: the log.
        noted: a head that was noted elsewhere, which the log must still hold.
        anchored: False only before a log's anchor is made.

    Raises:
        AuditError: the first fault, with the number of its entry and the remedy.
    """
    while True:
        anchor, before = log.anchor.read(), rotated(log.path)
        try:
            if anchor is None and anchored and log.keys.site is not None and (before or log.path.exists()):
                raise AuditError("audit log has no anchor", where=log.keys.anchor_file, remedy=_ANCHOR)
            return _verified(log, noted, anchor)
        except AuditError:
            if rotated(log.path) == before and log.anchor.read() == anchor:
                raise


def _verified(log: LogFolder, noted: Last | None, anchor: Last | None) -> Verified:
    if not log.path.exists() and not rotated(log.path):
        for kept, here in (("head", log.head.exists()), ("anchor", anchor is not None)):
            if here:
                raise AuditError(f"log was removed, and its {kept} is still here", where=log.path, remedy=KEEP)
        remedy = "give a kit's folder, its audit/ or a site.toml"
        raise AuditError("no audit log here", where=log.path, remedy=remedy)
    if not log.seals:
        what, remedy = (
            "the key that the log was sealed with is not here",
            "restore it, or give the hospital's site.toml",
        )
        raise AuditError(what, where=log.keys.own_file, remedy=remedy)
    found = read_head(log.head, log.seals_after(anchor))  # before the entries: a writer may add some meanwhile
    if found is None:
        raise AuditError("head of the audit log is gone", where=log.head, remedy=KEEP)
    walk = _Walk(log, noted, anchor)
    for path, line, number in _numbered(log, walk):
        try:
            entry = read(line, number=number)
            _take(walk, entry)
            if path != log.path:
                _require_name(walk, path, entry)
        except AuditError as error:
            raise AuditError(error.what, where=path, remedy=error.remedy or KEEP) from None
    _require_whole(walk, found[0])
    _require_noted(walk)
    sealed_by = "site" if walk.seal is not None and walk.seal == log.keys.site else "own"
    return Verified(
        first=walk.first,
        last=walk.last,
        sealed_by=sealed_by,
        torn_bytes=len(tail(log.path).torn),
        closed=tuple(walk.closed.items()),
    )


def entries(log: LogFolder) -> Iterator[Entry]:
    """Yield every line that is spelled as an entry, sound or not, in the order of the files; ``verify`` judges them."""
    for path in (*rotated(log.path), log.path):
        for line in lines(path):
            try:
                yield read(line, number=0)
            except AuditError:
                continue  # ``verify`` names it


def _numbered(log: LogFolder, walk: _Walk) -> Iterator[tuple[Path, bytes, int]]:
    """Yield file, line and expected number of each line; the torn end of the current file is left out."""
    for path in rotated(log.path):
        if not first_line(path) and path.exists():
            raise AuditError("closed file of the audit log is empty", where=path, remedy=KEEP)
        for line in lines(path):
            yield path, line, walk.last.number + 1
    size, at = tail(log.path).size, 0
    for line in lines(log.path):
        at += len(line)
        if at > size:
            return
        yield log.path, line, walk.last.number + 1


def _take(walk: _Walk, entry: Entry) -> None:
    if walk.seal is None and entry.number > 1:
        walk.last = walk.before = _removed(walk.log, entry)
        walk.first = entry.number
    known = walk.log.seals if walk.seal is None else (walk.seal,)
    if walk.anchor is not None and entry.number > walk.anchor.number:
        known = walk.log.seals_after(walk.anchor)
    walk.seal = require_next(entry, after=walk.last, seals=known)
    walk.last = Last(entry.number, entry.hash)
    if walk.anchor is not None and entry.number == walk.anchor.number and entry.hash != walk.anchor.hash:
        raise AuditError(f"entry {entry.number} is not the one that the log's anchor names: this is another log")
    if walk.noted is not None and entry.number == walk.noted.number and entry.hash != walk.noted.hash:
        raise AuditError(f"entry {entry.number} is not the one whose head was noted")
    if (gone := _expired(entry)) is not None:
        walk.expired.add(gone)
    if entry.what == KEYED:
        if walk.log.keys.site is None:
            remedy = "restore the site's key, or give the hospital's site.toml"
            raise AuditError("the site's key, which seals the next entries, is not here", remedy=remedy)
        walk.seal = walk.log.keys.site


def _require_name(walk: _Walk, path: Path, entry: Entry) -> None:
    """Require that a closed file is named after its first entry, and keep its last one."""
    if path not in walk.closed and path.name != rotated_name(entry.number):
        raise AuditError(f"closed file was renamed: its first entry is {entry.number}")
    walk.closed[path] = entry


def _removed(log: LogFolder, entry: Entry) -> Last:
    """Return what came before the first entry here, if an entry says that retention removed it; checked at the end."""
    before = Last(entry.number - 1, entry.previous)
    if not any(_expired(one) == before for one in entries(log)):
        what = f"entries 1 to {before.number} are missing, and no entry says that retention removed them"
        raise AuditError(what)
    return before


def _expired(entry: Entry) -> Last | None:
    """Return the last entry that an entry says was removed, or None."""
    last, hash = entry.about.get("last"), entry.about.get("hash")
    return Last(last, str(hash)) if entry.what == EXPIRED and isinstance(last, int) else None


def _require_whole(walk: _Walk, head: Last) -> None:
    """Require that nothing before the first entry or after the last was cut."""
    if walk.before is not None and walk.before not in walk.expired:
        what = f"entries 1 to {walk.before.number} are missing, and no entry says that retention removed them"
        raise AuditError(what, where=walk.log.path, remedy=KEEP)
    if walk.anchor is not None and walk.anchor.number > walk.last.number:
        what = (
            f"entry {walk.last.number + 1} is missing: the log ends there, and its anchor is entry {walk.anchor.number}"
        )
        raise AuditError(what, where=walk.log.path, remedy=KEEP)
    if head.number > walk.last.number:
        what = f"entry {walk.last.number + 1} is missing: the log ends there, and its head has seen {head.number}"
        raise AuditError(what, where=walk.log.path, remedy=KEEP)
    if head.number == walk.last.number and head.hash != walk.last.hash:
        raise AuditError(f"entry {head.number} is not the one that the head has seen", where=walk.log.path, remedy=KEEP)


def _require_noted(walk: _Walk) -> None:
    noted, log = walk.noted, walk.log
    if noted is None or walk.first <= noted.number <= walk.last.number:
        return
    if noted.number > walk.last.number:
        what = f"log ends at entry {walk.last.number}, and the noted head is entry {noted.number}"
        raise AuditError(what, where=log.path, remedy=KEEP)
    if noted not in walk.expired:
        what = f"entry {noted.number}, whose head was noted, is no longer here"
        raise AuditError(what, where=log.path, remedy="note a newer head, such as the one printed without --head")
