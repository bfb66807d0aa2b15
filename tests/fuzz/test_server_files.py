"""Stores, logs of events and checkpoints that anyone may have written: each is read, or refused in one line."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from fedward.errors import FedwardError, StoreError
from fedward.flare.server.checkpoints.checkpoint import load, save
from fedward.metrics import queries
from fedward.metrics.events import EventLog, EventReader
from fedward.metrics.schema import make_store
from fedward.metrics.store import Store
from tests.fuzz.started import fuzzed
from tests.support.metrics_store import fill
from tests.unit.flare.server.test_checkpoint import JOB, JOB_ID, made


@pytest.mark.parametrize("name", ["store", "events"])
def test_five_thousand_files_of_the_servers_jobs_are_read_or_refused(name: str) -> None:
    fuzzed("metrics", name)


def test_five_thousand_checkpoints_are_whole_or_passed_over_or_refused() -> None:
    fuzzed("checkpoints", "checkpoint")


@pytest.mark.parametrize(
    "change",
    [
        {"files": None},
        {"files": {"../state.json": "a" * 64}},
        {"files": {"x" * 900: "a"}},
        {"job": {}},
        {"roster": True},
        {"format": "x" * 9000},
    ],
)
def test_a_state_of_another_kind_is_damage_though_its_hash_is_right(tmp_path: Path, change: dict[str, object]) -> None:
    save(tmp_path, made(1))
    path = tmp_path / "g-00000001" / "state.json"
    text = json.dumps(json.loads(json.loads(path.read_bytes())["state"]) | change)
    path.write_text(json.dumps({"sha256": hashlib.sha256(text.encode()).hexdigest(), "state": text}))
    with pytest.raises(FedwardError, match="no checkpoint of the job is whole") as raised:
        load(tmp_path, job=JOB, job_id=JOB_ID)
    assert len(str(raised.value)) < 600


@pytest.mark.parametrize("line", [b"{", b"[]", b"null", b'{"event": 1}', b"[" * 100_000, b"9" * 6000, b"\xff"])
def test_a_line_that_is_no_event_is_named_by_both_readers(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"event": "finished", "at": 1.0}\n' + line + b"\n")
    for read in (lambda: list(EventReader(path)), EventLog(path).restore):
        with pytest.raises(FedwardError, match="a line of the job's log is no event: 'line 2'"):
            read()


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE jobs SET coverage = '{'",
        "UPDATE jobs SET missing = 'x'",
        "UPDATE notes SET body = 'x'",
        "DELETE FROM clock",
    ],
)
def test_a_value_in_the_store_that_is_none_of_ours_is_one_line(tmp_path: Path, change: str) -> None:
    path = tmp_path / "metrics.db"
    make_store(path)
    with Store.open(path) as store:
        (job_id,) = fill(store, rounds=1)
        store.write(job_id, {"event": "resumed", "at": 1.0, "round": 1})
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(change)
    with Store.open(path) as store, pytest.raises(StoreError, match="holds a value of another kind"):
        store.cursor()
        with store.turn() as connection:
            for job in queries.jobs(connection):
                queries.notes(connection, job=job.key, kind="resumed")


def test_a_store_whose_tables_cannot_be_read_is_refused_when_it_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "metrics.db"
    make_store(path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("UPDATE sqlite_schema SET sql = 'CREATE TABLE (' WHERE name = 'jobs'")
    with pytest.raises(StoreError, match="metrics store is damaged"):
        Store.open(path)
