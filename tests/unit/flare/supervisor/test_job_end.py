"""A job has one end, whichever process wrote it, and FLARE's status follows from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from nvflare.apis.job_def import RunStatus

from fedward.flare.supervisor import job_end
from fedward.flare.supervisor.single_process import CHECKPOINTS
from fedward.metrics import queries
from fedward.metrics.events import EVENTS_FILE, EventLog, EventReader
from fedward.metrics.record import Recorder
from fedward.metrics.store import STORE_FILE, Store

JOB = "0f0e0d0c-0000-4000-8000-00000000000a"
STARTED: dict[str, Any] = {"job": "tiny", "task": "classification", "rounds": 2, "sites": ["north"], "coverage": {}}


def log_of(kit: Path) -> EventLog:
    (kit / JOB).mkdir(exist_ok=True)
    folder = kit / CHECKPOINTS / JOB
    folder.mkdir(parents=True, exist_ok=True)
    recorder = Recorder(kit / STORE_FILE, JOB, log=lambda line: None)
    log = EventLog(folder / EVENTS_FILE, copy=kit / JOB / EVENTS_FILE, also=recorder)
    log.append("started", threshold=None, **STARTED)
    return log


def ends(kit: Path) -> list[dict[str, Any]]:
    events = list(EventReader(kit / JOB / EVENTS_FILE))
    assert events == list(EventReader(kit / CHECKPOINTS / JOB / EVENTS_FILE))
    return [event for event in events if event["event"] in ("finished", "aborted", "failed")]


def stored(kit: Path) -> tuple[str, str | None]:
    with Store.open(kit / STORE_FILE) as store, store.turn() as connection:
        job = queries.job(connection, JOB)
    assert job is not None
    return job.state, job.reason


@pytest.mark.parametrize("flares", [status for status in RunStatus if status.value.startswith("FINISHED")])
@pytest.mark.parametrize(
    ("kind", "fields", "due"),
    [
        ("finished", {"rounds": 2, "missing": {}}, RunStatus.FINISHED_COMPLETED),
        ("aborted", {"by": "lead@demo.org", "reason": "x"}, RunStatus.FINISHED_ABORTED),
        ("failed", {"reason": "x"}, RunStatus.FINISHED_EXECUTION_EXCEPTION),
    ],
)
def test_the_end_that_the_jobs_process_wrote_stands_whatever_flare_thinks(
    kind: str, fields: dict[str, Any], due: RunStatus, flares: RunStatus, tmp_path: Path
) -> None:
    log_of(tmp_path).append(kind, **fields)
    assert job_end.settle(tmp_path, JOB, flares) == due
    assert [event["event"] for event in ends(tmp_path)] == [kind]


def test_a_job_whose_process_was_killed_for_good_has_failed_everywhere(tmp_path: Path) -> None:
    log_of(tmp_path)
    assert job_end.settle(tmp_path, JOB, RunStatus.FINISHED_COMPLETED) == RunStatus.FINISHED_EXECUTION_EXCEPTION
    (end,) = ends(tmp_path)
    assert end["event"] == "failed" and "ended without a word" in end["reason"]
    assert stored(tmp_path) == ("failed", end["reason"])


def test_a_job_that_a_person_aborts_before_its_process_could_say_so_names_them(tmp_path: Path) -> None:
    log_of(tmp_path)
    job_end.note_abort(tmp_path / JOB, by="lead@demo.org")
    job_end.note_abort(tmp_path / JOB, by="somebody else, later")
    assert job_end.settle(tmp_path, JOB, RunStatus.FINISHED_ABORTED) == RunStatus.FINISHED_ABORTED
    (end,) = ends(tmp_path)
    assert (end["event"], end["by"]) == ("aborted", "lead@demo.org")
    assert stored(tmp_path)[0] == "aborted"


def test_a_reason_that_the_parent_knows_is_told(tmp_path: Path) -> None:
    log_of(tmp_path)
    job_end.note_failure(tmp_path / JOB, "its process could not be started again")
    job_end.settle(tmp_path, JOB, RunStatus.FINISHED_ABNORMAL)
    assert ends(tmp_path)[0]["reason"] == "its process could not be started again"


@pytest.mark.parametrize("content", [b"", b"not json", b"[]", b'"text"', b'{"by": 3}', b"\xff\xfe"])
def test_an_unreadable_note_ends_nothing_else(content: bytes, tmp_path: Path) -> None:
    log_of(tmp_path)
    (tmp_path / JOB / job_end.ABORT_FILE).write_bytes(content)
    assert job_end.settle(tmp_path, JOB, RunStatus.FINISHED_ABORTED) == RunStatus.FINISHED_ABORTED


def test_a_line_that_a_kill_cut_off_is_no_end(tmp_path: Path) -> None:
    log_of(tmp_path)
    with (tmp_path / CHECKPOINTS / JOB / EVENTS_FILE).open("a") as file:
        file.write(json.dumps({"event": "finished", "at": 1.0, "rounds": 2})[:-3])
    assert job_end.settle(tmp_path, JOB, RunStatus.FINISHED_ABNORMAL) == RunStatus.FINISHED_EXECUTION_EXCEPTION
    assert [event["event"] for event in ends(tmp_path)] == ["failed"]


def test_a_job_resumed_by_a_person_after_its_end_ends_anew(tmp_path: Path) -> None:
    log = log_of(tmp_path)
    log.append("failed", reason="x")
    log.append("resumed", round=1, by="person", attempt=1)
    assert job_end.settle(tmp_path, JOB, RunStatus.FINISHED_ABORTED) == RunStatus.FINISHED_ABORTED
    assert [event["event"] for event in ends(tmp_path)] == ["failed", "aborted"]


def test_a_job_without_any_log_has_an_end_too(tmp_path: Path) -> None:
    assert job_end.settle(tmp_path, JOB, RunStatus.FINISHED_ABNORMAL) == RunStatus.FINISHED_EXECUTION_EXCEPTION
