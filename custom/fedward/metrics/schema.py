"""Define the tables of the metrics store; create and open its file.

SQLite in WAL mode (https://sqlite.org/wal.html): one writer at a time, readers never wait for it, and committed data
survives the killing of any process. Narrow tables hold the rows that grow with rounds. The file's ``application_id``
identifies the program and its ``user_version`` the format.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from pathlib import Path

from fedward.errors import StoreError

APPLICATION_ID = 0x46574D53  # "FWMS"
FORMAT = 3
BUSY_TIMEOUT_S = 10.0

TABLES = """
CREATE TABLE clock (one INTEGER PRIMARY KEY CHECK (one = 1), cursor INTEGER NOT NULL);
INSERT INTO clock VALUES (1, 0);
CREATE TABLE jobs (
    key INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, changed INTEGER NOT NULL DEFAULT 0, name TEXT, task TEXT,
    state TEXT NOT NULL DEFAULT 'running', reason TEXT, rounds_asked INTEGER, rounds_done INTEGER NOT NULL DEFAULT 0,
    selected INTEGER, started_at REAL NOT NULL, updated_at REAL NOT NULL, threshold REAL, coverage TEXT, mechanism TEXT,
    encryption TEXT, pooled TEXT, missing TEXT, taken INTEGER NOT NULL DEFAULT 0);
CREATE TABLE sites (
    key INTEGER PRIMARY KEY, site TEXT NOT NULL UNIQUE, last_seen REAL, connected INTEGER, certificate_until REAL,
    version TEXT);
CREATE TABLE seats (
    job INTEGER NOT NULL, site INTEGER NOT NULL, declined TEXT, value REAL, low REAL, high REAL,
    patients INTEGER, images INTEGER, positives INTEGER, suppressed INTEGER NOT NULL DEFAULT 0,
    hd95_mm REAL, training_loss REAL, validation_loss REAL,
    reported_at REAL, validate_s REAL, train_s REAL, seal_s REAL, rest_s REAL, charged REAL, spent REAL, cap REAL,
    accepted INTEGER NOT NULL DEFAULT 0, dropped INTEGER NOT NULL DEFAULT 0, suspect INTEGER NOT NULL DEFAULT 0,
    sent_bytes INTEGER NOT NULL DEFAULT 0, received_bytes INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (job, site)) WITHOUT ROWID;
CREATE TABLE points (
    job INTEGER NOT NULL, site INTEGER NOT NULL, round INTEGER NOT NULL, value REAL, low REAL, high REAL,
    training_loss REAL, validation_loss REAL, PRIMARY KEY (job, site, round)) WITHOUT ROWID;
CREATE TABLE rounds (
    job INTEGER NOT NULL, round INTEGER NOT NULL, wall_s REAL, wait_s REAL, add_s REAL, patients INTEGER,
    PRIMARY KEY (job, round)) WITHOUT ROWID;
CREATE TABLE parts (
    job INTEGER NOT NULL, round INTEGER NOT NULL, site INTEGER NOT NULL, outcome TEXT, reason TEXT, validate_s REAL,
    train_s REAL, seal_s REAL, rest_s REAL, patients INTEGER, sent_bytes INTEGER, received_bytes INTEGER,
    PRIMARY KEY (job, round, site)) WITHOUT ROWID;
CREATE TABLE notes (
    number INTEGER PRIMARY KEY, job INTEGER NOT NULL, site INTEGER, at REAL NOT NULL, kind TEXT NOT NULL,
    body TEXT NOT NULL);
CREATE INDEX notes_of_a_job ON notes (job, kind, number);
"""
"""``points.round`` counts the rounds that a model has been through; rounds and parts number rounds from 0.

``seats.patients`` are those whose images gave the value, ``positives`` those of them with the finding in an image.
``jobs.changed`` is the clock's cursor at the job's last event. ``jobs.state`` is running, resuming, paused, finished,
aborted or failed; ``missing`` is a JSON table of site and reason, NULL for a job that did not finish; ``taken`` counts
the lines of the job's log that are in the store. ``notes`` holds rare events whole.
"""
_FROM_2 = (
    "ALTER TABLE jobs ADD COLUMN missing TEXT",
    "ALTER TABLE jobs ADD COLUMN taken INTEGER NOT NULL DEFAULT 0",
    "PRAGMA user_version = 3",
)
"""Statements that bring a store of format 2 to format 3; all rows are kept."""


def make_store(path: Path) -> None:
    """Create an empty store at ``path``, readable only by its owner, unless one exists; whole or not at all.

    Raises:
        StoreError: the folder cannot be written.
    """
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mkstemp gives mode 0600
        os.close(handle)
        try:
            _fill(Path(name))
            os.link(name, path)  # of two processes at once, the second uses the first one's file
        except FileExistsError:
            pass
        finally:
            Path(name).unlink()
    except OSError as error:
        raise StoreError(
            "metrics store cannot be made", where=path, value=error.strerror, remedy="give a folder to write in"
        ) from None


def connect(path: Path) -> sqlite3.Connection:
    """Connect to the store at ``path``, in autocommit, usable from any one thread at a time.

    A store of format 2 is brought to this format in place, in one transaction.

    Raises:
        StoreError: no such file, a file of another program, or a store of another format.
    """
    if not path.is_file():
        raise StoreError("no metrics store there", where=path, remedy="name the server's metrics.db or its kit folder")
    try:
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=rw",
            uri=True,
            timeout=BUSY_TIMEOUT_S,
            isolation_level=None,
            check_same_thread=False,
        )
    except sqlite3.Error as error:
        raise StoreError(f"metrics store cannot be opened, {error}", where=path) from None
    try:
        _recognise(connection, path)
        connection.execute("PRAGMA synchronous = NORMAL")
    except (sqlite3.Error, UnicodeDecodeError) as error:
        connection.close()
        remedy = "move it away; a job makes a new one"
        raise StoreError(f"metrics store is damaged, {error}", where=path, remedy=remedy) from None
    except BaseException:
        connection.close()
        raise
    return connection


def _fill(path: Path) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {FORMAT}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(TABLES)
    finally:
        connection.close()


def _recognise(connection: sqlite3.Connection, path: Path) -> None:
    try:
        (whose,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
    except sqlite3.Error as error:
        raise StoreError(f"not a metrics store, {error}", where=path, remedy="name the server's metrics.db") from None
    if whose != APPLICATION_ID:
        raise StoreError("not a metrics store", where=path, remedy="name the server's metrics.db")
    if version == 2:
        version = _migrated(connection, path)
    if version != FORMAT:
        raise StoreError(
            "metrics store of another format", where=path, value=version, remedy="move it away; a job makes a new one"
        )


def _migrated(connection: sqlite3.Connection, path: Path) -> int:
    """Bring a store of format 2 to this format, unless another process has just done it; return the format."""
    try:
        connection.execute("BEGIN IMMEDIATE")
        try:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            for statement in _FROM_2 if version == 2 else ():
                connection.execute(statement)
            (version,) = connection.execute("PRAGMA user_version").fetchone()
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        raise StoreError(
            f"metrics store of format 2 cannot be brought to format {FORMAT}, {error}",
            where=path,
            remedy="give the server room on the disk and the right to write the file",
        ) from None
    return int(version)
