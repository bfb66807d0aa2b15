"""Store what the server's jobs and sites did: job processes write the store, the metrics service reads it.

It holds the data for live pages and scrapes: latest values, lines over rounds, participation. It holds no curve,
subgroup or profile: those stay in the job's own ``events.jsonl``. Nothing in it is newer or more private than the
events that the server has received. A lost store loses the history on the dashboard, and no result.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from fedward.errors import StoreError
from fedward.metrics.event_writer import take
from fedward.metrics.schema import connect, make_store

STORE_FILE = "metrics.db"
DAY_S = 86_400.0
FUTURE_S = 60.0
"""Seconds ahead of the clock from which on a stored time is an error of a clock that was set back."""
_OTHER_KIND = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError)
"""Errors of reading a value that this package did not write: SQLite takes any value in any column."""
_OF_A_JOB = ("seats", "points", "rounds", "parts", "notes")


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteSeen:
    """Facts that the server knows about a site's connection.

    Attributes:
        site: id of the site, from its certificate.
        last_seen: time of the last contact, in seconds since the epoch.
        connected: False once the server has dropped it.
        certificate_until: end of its certificate in seconds since the epoch; None if unknown.
    """

    site: str
    last_seen: float
    connected: bool
    certificate_until: float | None


class EventError(StoreError):
    """An event lacks a field or has one of another kind; it will never be written."""


class Store:
    """Metrics store, opened by ``open``; any thread and several processes may use it at once.

    Every method raises ``StoreError`` if the file is unusable, and no other error of the system.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path, self._connection, self._mine = path, connection, threading.RLock()

    @classmethod
    def open(cls, path: Path, *, create: bool = False) -> Self:
        """Open the store at ``path``.

        Args:
            path: path of the store.
            create: True to create a missing store, readable and writable only by its owner.

        Raises:
            StoreError: there is none, it belongs to another program, or it has another format.
        """
        if create and not path.exists():
            make_store(path)
        return cls(path, connect(path))

    def write(self, job_id: str, event: Mapping[str, Any]) -> None:
        """Write one event of a job, whole or not at all; counters add up, so write each event once.

        Args:
            job_id: FLARE's id of the run.
            event: event as ``fedward.metrics.events`` writes it, with the fields ``event`` and ``at``. An unknown kind
                is stored unchanged.
        """
        with self.turn(write=True) as connection:
            cursor = _tick(connection)
            try:
                take(connection, job_id, event, cursor=cursor)
            except (KeyError, TypeError, ValueError) as error:
                kind = str(event.get("event"))
                raise EventError(f"an event cannot be read, {error}", where=self.path, value=kind) from None

    def taken(self, job_id: str) -> int:
        """Return how many lines of a job's log are in the store; 0 for a job that it does not know."""
        with self.turn() as connection:
            row = connection.execute("SELECT taken FROM jobs WHERE id = ?", (job_id,)).fetchone()
        return 0 if row is None else int(row[0])

    def set_taken(self, job_id: str, lines: int) -> None:
        """Set how many lines of a job's log are in the store."""
        with self.turn(write=True) as connection:
            connection.execute("UPDATE jobs SET taken = ? WHERE id = ?", (lines, job_id))

    def seen(self, sites: Iterable[SiteSeen], *, now: float | None = None) -> None:
        """Write the time of the last contact with each site; an older time never replaces a newer one.

        A time in the future, from before the clock was set back, is replaced.
        """
        soon = (time.time() if now is None else now) + FUTURE_S
        rows = [(one.site, one.last_seen, one.connected, one.certificate_until, soon) for one in sites]
        with self.turn(write=True) as connection:
            _tick(connection)
            connection.executemany(
                "INSERT INTO sites (site, last_seen, connected, certificate_until) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (site) DO UPDATE SET last_seen = iif(ifnull(last_seen, 0) > ?, excluded.last_seen, "
                "max(ifnull(last_seen, 0), excluded.last_seen)), "
                "connected = excluded.connected, "
                "certificate_until = ifnull(excluded.certificate_until, certificate_until)",
                rows,
            )

    def forget(self, *, older_than_days: float, now: float | None = None) -> int:
        """Delete jobs whose last event is older, and sites without contact since; return the number of deleted jobs."""
        until = (time.time() if now is None else now) - older_than_days * DAY_S
        with self.turn(write=True) as connection:
            keys = [key for (key,) in connection.execute("SELECT key FROM jobs WHERE updated_at < ?", (until,))]
            _tick(connection)
            for key in keys:
                for table in _OF_A_JOB:
                    connection.execute(f"DELETE FROM {table} WHERE job = ?", (key,))
                connection.execute("DELETE FROM jobs WHERE key = ?", (key,))
            connection.execute(
                "DELETE FROM sites WHERE ifnull(last_seen, 0) < ? AND key NOT IN (SELECT site FROM seats)", (until,)
            )
        return len(keys)

    def cursor(self) -> int:
        """Return a number that grows with every write."""
        with self.turn() as connection:
            return int(connection.execute("SELECT cursor FROM clock").fetchone()[0])

    def changed_since(self, cursor: int) -> dict[str, int]:
        """Return the ids of the jobs written after ``cursor``, each with the cursor of its last event."""
        with self.turn() as connection:
            return dict(connection.execute("SELECT id, changed FROM jobs WHERE changed > ?", (cursor,)).fetchall())

    def bytes(self) -> int:
        """Return the size of the store on disk, with its write-ahead log."""
        sizes = []
        for file in (self.path, self.path.with_name(f"{self.path.name}-wal")):
            try:
                sizes.append(file.stat().st_size)
            except OSError:
                continue
        return sum(sizes)

    def close(self) -> None:
        """Close the file; the last process to close it merges the write-ahead log into it."""
        with self._mine:
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def turn(self, *, write: bool = False) -> Iterator[sqlite3.Connection]:
        """Yield the connection within one transaction: all reads see one state, all writes are committed together.

        Raises:
            StoreError: the file cannot be used, or a value in it is of another kind than this package writes.
        """
        with self._mine:
            try:
                self._connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
                try:
                    yield self._connection
                except BaseException:
                    self._connection.execute("ROLLBACK")
                    raise
                self._connection.execute("COMMIT")
            except (sqlite3.Error, OSError) as error:
                raise StoreError(
                    f"metrics store cannot be used, {error}", where=self.path, remedy="look at the disk and the file"
                ) from None
            except _OTHER_KIND as error:
                raise StoreError(
                    f"metrics store holds a value of another kind, {type(error).__name__}",
                    where=self.path,
                    remedy="move it away; a job makes a new one",
                ) from None


def _tick(connection: sqlite3.Connection) -> int:
    connection.execute("UPDATE clock SET cursor = cursor + 1")
    return int(connection.execute("SELECT cursor FROM clock").fetchone()[0])
