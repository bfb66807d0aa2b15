"""States and ends of a job in the metrics store, and a store that an earlier release made."""

from __future__ import annotations

import json
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest

from fedward.errors import StoreError
from fedward.metrics import schema
from fedward.metrics.store import Store
from tests.support.metrics_store import fill

NOW = 1_800_000_000.0
FORMAT_2 = """
CREATE TABLE clock (one INTEGER PRIMARY KEY CHECK (one = 1), cursor INTEGER NOT NULL);
INSERT INTO clock VALUES (1, 0);
CREATE TABLE jobs (
    key INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, changed INTEGER NOT NULL DEFAULT 0, name TEXT, task TEXT,
    state TEXT NOT NULL DEFAULT 'running', reason TEXT, rounds_asked INTEGER, rounds_done INTEGER NOT NULL DEFAULT 0,
    selected INTEGER, started_at REAL NOT NULL, updated_at REAL NOT NULL, threshold REAL, coverage TEXT, mechanism TEXT,
    encryption TEXT, pooled TEXT);
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
"""Tables of the release before, word for word."""


def old_store(path: Path) -> None:
    """Make a store as the release before made it, with one job."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
    connection.execute("PRAGMA user_version = 2")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.executescript(FORMAT_2)
    connection.execute(
        "INSERT INTO jobs (id, name, state, reason, rounds_done, started_at, updated_at) "
        "VALUES ('old', 'chest', 'failed', 'too few sites', 3, 1.0, 2.0)"
    )
    connection.execute("INSERT INTO sites (site) VALUES ('north')")
    connection.execute("INSERT INTO parts (job, round, site, outcome) VALUES (1, 0, 1, 'accepted')")
    connection.close()


def row(path: Path, job_id: str = "a") -> tuple[Any, ...]:
    connection = sqlite3.connect(path)
    found = connection.execute("SELECT state, reason, missing, taken FROM jobs WHERE id = ?", (job_id,)).fetchone()
    connection.close()
    return tuple(found)


def shape(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    connection = sqlite3.connect(path)
    names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    found = {name: sorted(connection.execute(f"PRAGMA table_info({name})").fetchall()) for name in names}
    connection.close()
    return found


def test_a_store_of_format_2_is_brought_to_this_format_with_all_its_rows(tmp_path: Path) -> None:
    old_store(tmp_path / "old.db")
    with Store.open(tmp_path / "old.db", create=True) as store:
        store.write("a", {"event": "finished", "at": NOW, "rounds": 1, "missing": {"north": "no answer in time"}})
    Store.open(tmp_path / "new.db", create=True).close()
    assert shape(tmp_path / "old.db") == shape(tmp_path / "new.db")
    assert row(tmp_path / "old.db", "old") == ("failed", "too few sites", None, 0)
    assert row(tmp_path / "old.db") == ("finished", None, '{"north": "no answer in time"}', 1)
    connection = sqlite3.connect(tmp_path / "old.db")
    assert connection.execute("SELECT outcome FROM parts").fetchall() == [("accepted",)]
    assert connection.execute("PRAGMA user_version").fetchone() == (schema.FORMAT,)
    connection.close()


def test_several_that_open_an_old_store_at_once_bring_it_over_once(tmp_path: Path) -> None:
    old_store(tmp_path / "old.db")
    ready, errors = threading.Barrier(6), list[Exception]()

    def opened() -> None:
        ready.wait()
        try:
            Store.open(tmp_path / "old.db").close()
        except Exception as error:  # noqa: BLE001 - the test reports it
            errors.append(error)

    threads = [threading.Thread(target=opened) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert row(tmp_path / "old.db", "old")[0] == "failed"


@pytest.mark.parametrize("at", range(len(schema._FROM_2)))
def test_a_change_of_format_that_fails_leaves_the_old_store(
    at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old_store(tmp_path / "old.db")
    before = shape(tmp_path / "old.db")
    steps = schema._FROM_2
    with monkeypatch.context() as patch:
        patch.setattr(schema, "_FROM_2", (*steps[: at + 1], "ALTER TABLE nowhere ADD COLUMN x"))
        with pytest.raises(StoreError, match="cannot be brought to format 3"):
            Store.open(tmp_path / "old.db")
    assert shape(tmp_path / "old.db") == before
    Store.open(tmp_path / "old.db").close()
    assert row(tmp_path / "old.db", "old")[0] == "failed"


ANSWERED = {"event": "answered", "site": "north", "task": "round", "round": 2, "metrics": {}}
LIVES: dict[str, tuple[list[dict[str, Any]], tuple[Any, ...]]] = {
    "runs": ([], ("running", None, None)),
    "finished": ([{"event": "finished", "rounds": 2, "missing": {}}], ("finished", None, "{}")),
    "finished by an older release": ([{"event": "finished", "rounds": 2}], ("finished", None, None)),
    "failed": ([{"event": "failed", "reason": "too few"}], ("failed", "too few", None)),
    "aborted": ([{"event": "aborted", "by": "carol", "reason": "stopped"}], ("aborted", "carol", None)),
    "resuming": (
        [{"event": "resumed", "round": 2, "by": "server", "attempt": 1}],
        ("resuming", "from the model after 2 rounds", None),
    ),
    "resumed": ([{"event": "resumed", "round": 2, "by": "server", "attempt": 1}, ANSWERED], ("running", None, None)),
    "paused": ([{"event": "paused", "reason": "disk full"}, ANSWERED], ("paused", "disk full", None)),
    "unpaused": ([{"event": "paused", "reason": "disk full"}, {"event": "unpaused"}], ("running", None, None)),
    "aborted while it is paused": (
        [{"event": "paused", "reason": "disk full"}, {"event": "aborted", "by": "carol", "reason": "stopped"}],
        ("aborted", "carol", None),
    ),
    "taken up by a person": (
        [{"event": "failed", "reason": "x"}, {"event": "resumed", "round": 2, "by": "person", "attempt": 1}, ANSWERED],
        ("running", None, None),
    ),
}


@pytest.mark.parametrize("name", LIVES)
def test_a_jobs_state_follows_its_events(name: str, tmp_path: Path) -> None:
    events, wanted = LIVES[name]
    with Store.open(tmp_path / "m.db", create=True) as store:
        for event in [{"event": "started", "job": "a"}, *events]:
            store.write("a", {"at": NOW, **event})
    assert row(tmp_path / "m.db") == (*wanted, 1 + len(events))


def test_a_round_that_is_made_again_counts_once(tmp_path: Path) -> None:
    first = {"north": {"outcome": "accepted"}, "river": {"outcome": "dropped", "reason": "no answer in time"}}
    again = {"north": {"outcome": "accepted"}, "river": {"outcome": "accepted"}}
    with Store.open(tmp_path / "m.db", create=True) as store:
        for part in (first, again):
            for site in part:
                store.write("a", {"at": NOW, **ANSWERED, "site": site})
            store.write("a", {"event": "round", "at": NOW, "round": 2, "sites": list(part), "participation": part})
        with store.turn() as connection:
            counted = connection.execute("SELECT accepted, dropped FROM seats").fetchall()
    assert counted == [(1, 0), (1, 0)]


def test_missing_names_each_site_with_its_reason(tmp_path: Path) -> None:
    with Store.open(tmp_path / "m.db", create=True) as store:
        fill(store)
        odd: Any = {"north": "a\nreason " + "x" * 900, "river": None}
        store.write("a", {"event": "finished", "at": NOW, "rounds": 1, "missing": odd})
    listed = json.loads(row(tmp_path / "m.db")[2])
    assert listed["river"] is None and listed["north"].startswith("a reason x") and len(listed["north"]) == 500
