"""Store the chain on disk: an SQLite file that only grows, and a head beside it that has its length.

**Tampering that is found.** A row changed, removed, added or moved, in any column; a set of patients changed; the file
cut back; the head changed, removed or replaced by an older one; another site's file; another key; a deleted file.

**Tampering that is not found.** Both files restored together from one earlier moment (a backup, a disk image rolled
back): together they are a true ledger of that moment, and what was spent since is forgotten. Only a copy of the head
outside the machine can show it; ``fedward site ledger --verify`` prints the head for that. Nor is the holder of the
site's key stopped: with the key a whole new chain can be written.

**A kill at any moment.** Everything happens in a *turn*: it takes SQLite's write lock (``BEGIN IMMEDIATE``), reads and
checks the entries that others wrote since, updates the head to the last entry, and then adds at most one entry and
commits it with ``synchronous=EXTRA``. Only then does a second turn update the head to the new entry. So the ledger is
always as long as its head or one entry longer, whichever process was killed, and the head never runs ahead.
"""

from __future__ import annotations

import fcntl
import hmac
import json
import os
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fedward.errors import LedgerError
from fedward.files import sync
from fedward.privacy.ledger.chain_head import Head, head_path, read_head, write_head
from fedward.privacy.ledger.hash_chain import RESTORE, START, ChainEntry, Row, Seal, canonical, checked, members_text
from fedward.privacy.ledger.io_faults import is_busy, ledger_fault

FORMAT = 1
APPLICATION_ID = 0x46445750
BUSY_TIMEOUT_S = 60.0
PATIENTS = "patients"
"""Key of a body that names a set of patients by its hash."""

_SCHEMA = f"""
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {FORMAT};
CREATE TABLE entries (number INTEGER PRIMARY KEY, at TEXT NOT NULL, kind TEXT NOT NULL, body TEXT NOT NULL,
    previous TEXT NOT NULL, hash TEXT NOT NULL) STRICT;
CREATE TABLE patient_sets (hash TEXT PRIMARY KEY, members TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TRIGGER entries_stay BEFORE DELETE ON entries BEGIN SELECT RAISE(ABORT, 'the ledger only grows'); END;
CREATE TRIGGER entries_keep BEFORE UPDATE ON entries BEGIN SELECT RAISE(ABORT, 'the ledger only grows'); END;
"""
CREATE = "make one with `fedward site ledger SITE_TOML --create`"


class Turn:
    """Right to write, which one process has at a time; it adds one entry at most."""

    def __init__(self, connection: sqlite3.Connection, *, seal: Seal, last: ChainEntry | None) -> None:
        self._connection, self._seal, self._last = connection, seal, last
        self.added: ChainEntry | None = None

    def append(self, kind: str, body: dict[str, Any], *, patients: Collection[str] | None = None) -> ChainEntry:
        """Add an entry; it is durable once the turn is over. ``patients`` are stored beside, their hash in the body."""
        if self.added is not None:
            raise LedgerError("a turn adds one entry", value=kind)
        if patients is not None:
            text = members_text(patients)
            body = {**body, PATIENTS: self._seal.members(text)}
            self._connection.execute("INSERT OR IGNORE INTO patient_sets VALUES (?, ?)", (body[PATIENTS], text))
        number, previous = (1, START) if self._last is None else (self._last.number + 1, self._last.hash)
        at, text = datetime.now(UTC).isoformat(timespec="seconds"), canonical(body)
        hash = self._seal.entry(number, at, kind, text, previous)
        self._connection.execute(
            "INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?)", (number, at, kind, text, previous, hash)
        )
        self.added = ChainEntry(number=number, at=at, kind=kind, body=json.loads(text), hash=hash)
        return self.added


class ChainFile:
    """A chain that is checked from its first entry at its first turn, and further at every turn. For one thread.

    Attributes:
        entries: entries read and checked so far.
        members: hash of a set of patients -> their pseudonyms.
    """

    def __init__(self, path: Path, *, seal: Seal, timeout_s: float = BUSY_TIMEOUT_S) -> None:
        self.path, self._seal, self._timeout_s = path, seal, timeout_s
        self.entries: list[ChainEntry] = []
        self.members: dict[str, frozenset[str]] = {}
        self._read_as: tuple[int | bytes, ...] | None = None

    def is_unchanged(self) -> bool:
        """True if nobody has written to the ledger or its head since this object last read them.

        Compared are the head, which differs after each entry, and what the system keeps of the ledger's file: device,
        inode, size, and the times of the last change. Who changes a file cannot set the time of its last change
        (``ctime``), but by setting the machine's clock.

        Raises:
            LedgerError: as ``turn``.
        """
        try:
            _require(self.path, self._seal)
            return self._read_as is not None and self._read_as == _state(self.path)
        except FileNotFoundError:
            return False  # a head that is gone: the turn that follows says so
        except OSError as error:
            raise ledger_fault(error, where=self.path, timeout_s=self._timeout_s) from None

    @contextmanager
    def turn(self) -> Iterator[Turn]:
        """Take the write lock, catch up, and commit the entry that the body of the ``with`` adds; nothing if it raises.

        Raises:
            LedgerIOError: the disk or another process is in the way; the entry may be there, but nobody relies on it.
            LedgerError: the ledger is missing, damaged or cut back.
        """
        with self._connected() as connection:
            connection.execute("BEGIN IMMEDIATE")
            self._catch_up(connection)
            turn = Turn(connection, seal=self._seal, last=self.entries[-1])
            yield turn
            connection.execute("COMMIT")
            if turn.added is not None:
                self._follow(connection)

    def _follow(self, connection: sqlite3.Connection) -> None:
        """Update the head to the entry just committed; where another process holds the lock, the next turn does it."""
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if is_busy(error):
                return
            raise
        self._catch_up(connection)

    def _catch_up(self, connection: sqlite3.Connection) -> None:
        known = len(self.entries)
        if not known:
            self._sound(connection)
        rows = connection.execute(
            "SELECT number, at, kind, body, previous, hash FROM entries WHERE number >= ? ORDER BY number", (known,)
        )
        if known and rows.fetchone() != self._row(self.entries[-1]):
            raise LedgerError(f"entry {known} is gone or was changed", where=self.path, remedy=RESTORE)
        fresh: list[ChainEntry] = []
        members: dict[str, frozenset[str]] = {}
        for row in rows:
            fresh.append(self._checked(row, after=fresh[-1] if fresh else self.entries[-1] if known else None))
            named = fresh[-1].body.get(PATIENTS)
            if named is not None and named not in self.members and named not in members:
                members[named] = self._members(connection, named)
        if not known and connection.execute("SELECT count(*) FROM patient_sets").fetchone() != (len(members),):
            raise LedgerError("holds patients of no entry", where=self.path, remedy=RESTORE)
        self._compare_head([*self.entries, *fresh])
        self.entries += fresh
        self.members.update(members)
        self._read_as = _state(self.path)  # under the lock: nobody has written since

    def _sound(self, connection: sqlite3.Connection) -> None:
        """Check that the whole file is a ledger, and that SQLite finds no damage."""
        if connection.execute("PRAGMA application_id").fetchone() != (APPLICATION_ID,):
            raise LedgerError("not a privacy ledger", where=self.path, remedy="name the file of this hospital's ledger")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version != FORMAT:
            raise LedgerError("ledger of another format", where=self.path, value=version, remedy="update Fedward")
        if connection.execute("PRAGMA integrity_check").fetchall() != [("ok",)]:
            raise LedgerError("the file is damaged", where=self.path, remedy=RESTORE)

    def _row(self, entry: ChainEntry) -> Row:
        previous = self.entries[-2].hash if len(self.entries) > 1 else START
        return (entry.number, entry.at, entry.kind, canonical(entry.body), previous, entry.hash)

    def _checked(self, row: Row, *, after: ChainEntry | None) -> ChainEntry:
        number, previous = (1, START) if after is None else (after.number + 1, after.hash)
        try:
            return checked(row, seal=self._seal, number=number, previous=previous)
        except LedgerError as error:
            raise LedgerError(error.what, where=self.path, remedy=error.remedy) from None

    def _members(self, connection: sqlite3.Connection, named: str) -> frozenset[str]:
        row = connection.execute("SELECT members FROM patient_sets WHERE hash = ?", (named,)).fetchone()
        if row is None or not hmac.compare_digest(self._seal.members(str(row[0])), named):
            raise LedgerError("patients of a charge are gone or were changed", where=self.path, remedy=RESTORE)
        return frozenset(str(row[0]).split())

    def _compare_head(self, entries: list[ChainEntry]) -> None:
        """Refuse a ledger that is shorter than its head, or longer by more than a kill can leave; update the head."""
        head = read_head(self.path, self._seal)
        if head is None or not entries:
            raise LedgerError("ledger lost its head or its entries", where=self.path, remedy=RESTORE)
        if head.count > len(entries):
            what = f"ledger was cut back: {len(entries)} entries, and its head has seen {head.count}"
            raise LedgerError(what, where=self.path, remedy=RESTORE)
        if head.count and entries[head.count - 1].hash != head.hash:
            raise LedgerError("ledger and its head are not of one piece", where=self.path, remedy=RESTORE)
        if head.count < len(entries) - 1:
            what = f"head was put back: it has seen {head.count} of {len(entries)} entries"
            raise LedgerError(what, where=head_path(self.path), remedy=RESTORE)
        if head.count < len(entries):
            write_head(self.path, self._seal, Head(len(entries), entries[-1].hash))

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        """Open a connection for one turn, so that threads and forks never share one; system errors become one line."""
        try:
            _require(self.path, self._seal)
            connection = _connect(self.path, timeout_s=self._timeout_s)
            try:
                yield connection
            finally:
                connection.close()
        except (sqlite3.Error, OSError) as error:
            raise ledger_fault(error, where=self.path, timeout_s=self._timeout_s) from None


def create_chain(path: Path, *, seal: Seal, kind: str, body: dict[str, Any]) -> None:
    """Create a ledger with its first entry: whole or not at all, and never over another.

    A head without entries is written first, so that a kill in between differs from a ledger that was deleted.

    Raises:
        LedgerError: one exists, or existed and was deleted, or the folder cannot be written to.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            _create(path, seal, kind, body)
        finally:
            os.close(folder)
    except (OSError, sqlite3.Error) as error:
        raise LedgerError(f"ledger cannot be made, {error}", where=path, remedy="name a folder to write to") from None


def _create(path: Path, seal: Seal, kind: str, body: dict[str, Any]) -> None:
    if path.exists():
        raise LedgerError("a ledger is here already", where=path, remedy="use it; what was spent stays spent")
    _refuse_deleted(path, seal)
    write_head(path, seal, Head())
    draft = path.with_name(f".{path.name}.draft")
    draft.unlink(missing_ok=True)
    os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        connection = _connect(draft, timeout_s=0.0)
        try:
            connection.executescript(f"BEGIN;{_SCHEMA}")
            Turn(connection, seal=seal, last=None).append(kind, body)
            connection.execute("COMMIT")
        finally:
            connection.close()
        os.link(draft, path)
    finally:
        draft.unlink()
    sync(path.parent)


def _state(path: Path) -> tuple[int | bytes, ...]:
    """Return a ledger's head, and what the system keeps of its file; they differ after each change of one of both."""
    at = path.stat()
    return (head_path(path).read_bytes(), at.st_dev, at.st_ino, at.st_size, at.st_mtime_ns, at.st_ctime_ns)


def _require(path: Path, seal: Seal) -> None:
    """Refuse a missing ledger; a lost one is not created anew."""
    if path.is_file():
        return
    _refuse_deleted(path, seal)
    raise LedgerError("no privacy ledger here", where=path, remedy=CREATE)


def _refuse_deleted(path: Path, seal: Seal) -> None:
    head = read_head(path, seal)
    if head is not None and head.count:
        what = f"ledger was deleted: its head has seen {head.count} entries"
        raise LedgerError(what, where=path, remedy=RESTORE)


def _connect(path: Path, *, timeout_s: float) -> sqlite3.Connection:
    """Open an existing file for durable writing; ``mode=rw`` never creates a file."""
    address = f"{path.absolute().as_uri()}?mode=rw"
    connection = sqlite3.connect(address, uri=True, timeout=timeout_s, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("PRAGMA synchronous = EXTRA")
    except sqlite3.Error:
        connection.close()
        raise
    return connection
