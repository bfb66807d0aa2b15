"""What the server keeps of its jobs: the metrics store as a file, events on their way into it, and events read back."""

from __future__ import annotations

import json
import random
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from fedward.errors import StoreError
from fedward.files import write_atomic
from fedward.metrics import queries
from fedward.metrics.events import EVENTS_FILE, EventLog, EventReader
from fedward.metrics.job_state import last_counted, state_of, turns
from fedward.metrics.schema import make_store
from fedward.metrics.store import Store
from fedward.reporting.data.from_events import report_of
from fedward.reporting.page import render
from fedward.reporting.result import from_a_server, read_result
from fedward.settings import JOB_FILE, plain
from tests.fuzz.child import Target, main
from tests.fuzz.mutations import MARK, line, token
from tests.support.metrics_store import events as made_rows
from tests.support.report_events import made_events, made_job

NOW = 1_795_900_000.0


def store(folder: Path) -> Target:
    """Files of the store in this format and the one before: each is brought up, read and written, or refused."""
    path = folder / "metrics.db"

    def given(content: bytes) -> None:
        for one in folder.glob("metrics.db*"):
            one.unlink()
        path.write_bytes(content)
        with Store.open(path) as opened:
            _read_all(opened)
            opened.write("job-1", {"event": "resumed", "at": NOW, "round": 2, "by": "server", "attempt": 1})
            opened.forget(older_than_days=1e5, now=NOW)
            assert opened.taken("job-1") >= 0 and opened.bytes() > 0 and opened.cursor() >= 0

    return Target(_stores(folder), given, edits=(_cell, _cell, _schema), private=(MARK,))


def _read_all(opened: Store) -> None:
    with opened.turn() as connection:
        jobs = queries.jobs(connection)
        queries.sites(connection), queries.versions(connection), queries.worst(connection)
        queries.last_rounds(connection)
        for job in jobs:
            queries.seats(connection, job=job.key), queries.points(connection, job=job.key, every=2)
            queries.rounds(connection, job=job.key), queries.parts(connection, job=job.key)
            queries.notes(connection, job=job.key, kind="resumed"), turns(connection, job=job.key)
            last_counted(connection, job=job.key), state_of(connection, job)
            assert queries.job(connection, job.id) is not None or job.id


def _stores(folder: Path) -> list[bytes]:
    made = folder / "made.db"
    make_store(made)
    with Store.open(made) as opened:
        for event in made_rows(["north", "river"], rounds=2, start=NOW):
            opened.write("job-1", event)
        opened.write("job-1", {"event": "suspect", "at": NOW, "site": "north", "round": 1, "reason": MARK})
    with closing(sqlite3.connect(made)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
    now = made.read_bytes()
    with closing(sqlite3.connect(made, isolation_level=None)) as connection:
        for column in ("missing", "taken"):
            connection.execute(f"ALTER TABLE jobs DROP COLUMN {column}")
        connection.execute("PRAGMA user_version = 2")
    return [now, made.read_bytes()]


def _changed(content: bytes, statement: str, values: tuple[object, ...] = ()) -> bytes:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        try:
            connection.deserialize(content)
            connection.execute("PRAGMA writable_schema = ON")
            connection.execute(statement, values)
            return connection.serialize()
        except (sqlite3.Error, OverflowError):
            return content


_CELLS = {
    "jobs": (
        "id",
        "changed",
        "state",
        "rounds_done",
        "selected",
        "started_at",
        "coverage",
        "pooled",
        "missing",
        "taken",
    ),
    "sites": ("site", "last_seen", "version", "key"),
    "seats": ("value", "site", "declined", "accepted", "sent_bytes"),
    "points": ("round", "value", "site"),
    "rounds": ("round", "wall_s"),
    "parts": ("outcome", "round", "reason"),
    "notes": ("body", "at", "kind", "site"),
    "clock": ("cursor",),
}
_ODD = (None, "", "x", b"\xff\x00", -1, 2**63 - 1, 1e308, float("inf"), "{", "[]", '"a"', "1", "NaN", "[" * 5000, "{}",
        '{"north": 1}', '{"round": [], "by": {}, "reason": 1}', MARK, "\x1b[2J\u202e", "9" * 5000)  # fmt: skip


def _cell(drawn: random.Random, content: bytes) -> bytes:
    """Put another value, of any type, in one column of one table, of every row or one."""
    table = drawn.choice(sorted(_CELLS))
    column = drawn.choice(_CELLS[table])
    return _changed(content, f"UPDATE {table} SET {column} = ?", (drawn.choice(_ODD),))


def _schema(drawn: random.Random, content: bytes) -> bytes:
    """Remove or rename a table or column, or state another program or format."""
    table = drawn.choice(sorted(_CELLS))
    column = drawn.choice(_CELLS[table])
    return _changed(
        content,
        drawn.choice(
            (
                f"DROP TABLE {table}",
                f"ALTER TABLE {table} RENAME TO other",
                f"ALTER TABLE {table} RENAME COLUMN {column} TO other",
                f"ALTER TABLE {table} DROP COLUMN {column}",
                f"PRAGMA user_version = {drawn.choice((0, 1, 2, 3, 4, -1, 2**31 - 1))}",
                f"PRAGMA application_id = {drawn.choice((0, -1, 7))}",
                f"CREATE TRIGGER t{drawn.randrange(9)} AFTER INSERT ON {table} BEGIN SELECT 1; END",
                f"UPDATE sqlite_schema SET sql = 'CREATE TABLE x (' WHERE name = '{table}'",
                f"DELETE FROM {table}",
            )
        ),
    )


def events(folder: Path) -> Target:
    """Lines of a job's log: read as they grow, taken up by a new process, written to a store, and made a report."""
    path, job = folder / "workspace" / EVENTS_FILE, made_job()
    path.parent.mkdir()
    write_atomic(folder / "job" / "app_server" / "app" / "config" / JOB_FILE, json.dumps(plain(job)))
    corpus = [_log(made_events(job)), _log(made_events(job, failed="1 of 3 sites")), _log(_interrupted())]
    database = folder / "metrics.db"
    make_store(database)
    opened = Store.open(database)
    runs = iter(range(10**6))

    def given(content: bytes) -> None:
        path.write_bytes(content)
        taken = EventLog(path, copy=folder / "copy.jsonl").restore()
        found = list(EventReader(path))
        assert found == taken, "two readers of one log"
        job_id = f"job-{next(runs)}"
        for event in found[:12]:
            try:
                opened.write(job_id, event)
            except StoreError as error:
                assert str(error).isprintable() and len(str(error)) < 1000, error
        with opened.turn() as connection:
            row = queries.job(connection, job_id)
            assert row is None or state_of(connection, row)
        opened.forget(older_than_days=-1e9, now=time.time())
        if next(runs) % 16:
            return  # a report takes a hundred times as long as its events
        with from_a_server(folder):
            page = render(report_of(*read_result(folder)))
        assert "<script>alert" not in page

    return Target(corpus, given, edits=(_value, _value, line), private=())


def _interrupted() -> list[dict[str, object]]:
    whole = made_events(made_job())
    more: list[dict[str, object]] = [
        {"event": "paused", "reason": "the server's disk is full"},
        {"event": "unpaused"},
        {"event": "resumed", "round": 2, "by": "server", "attempt": 1},
        {"event": "returned", "site": "elm", "round": 3},
        {"event": "aborted", "by": "lead@uni.org", "reason": "stopped"},
    ]
    return [*whole[:25], *({"at": NOW, **one} for one in more)]


def _log(some: list[dict[str, object]]) -> bytes:
    return "".join(json.dumps(one) + "\n" for one in some).encode()


_VALUES = (None, True, -1, 10**400, 1e308, float("nan"), "", "\ud800", "\x1b[2J<script>alert(1)</script>", [], {}, [[]],
           {"a": 1}, "x" * 5000)  # fmt: skip


def _value(drawn: random.Random, content: bytes) -> bytes:
    """Put another value in the place of one, at any depth of one event, or remove it."""
    lines = content.split(b"\n")
    at = drawn.randrange(len(lines))
    try:
        event = json.loads(lines[at])
        place = event
        while isinstance(place, dict) and place:
            name = drawn.choice(sorted(place))
            if not isinstance(place[name], dict) or not place[name] or drawn.random() < 0.3:
                if drawn.random() < 0.2:
                    del place[name]
                else:
                    place[name] = drawn.choice(_VALUES)
                break
            place = place[name]
        lines[at] = json.dumps(event).encode()
    except (ValueError, RecursionError):
        return token(drawn, content)
    return b"\n".join(lines)


if __name__ == "__main__":
    main({"store": store, "events": events})
