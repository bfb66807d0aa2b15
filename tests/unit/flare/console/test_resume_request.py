"""Check that a job is taken up by hand only where that can work, and that the request says what will happen."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fedward.errors import FederationError, JobError, StoreError
from fedward.flare.console.resume_request import PENDING_FILE, REQUEST_FILE, request_resume, requested, take_request
from fedward.flare.server.checkpoints.earlier import BY_PERSON
from fedward.metrics.store import STORE_FILE, Store
from tests.support.command_line import typed

ID = "6a3f1f0e-6a35-4a7e-9c3e-1f3a4b5c6d7e"
NEVER_SEEN = "0b0c4ab1-4c7e-4f0a-9a70-0d7a8f7f9b11"
STARTED = {"event": "started", "job": "chest", "task": "classification", "rounds": 8, "sites": ["north"]}
ROUND = {"event": "round", "round": 2, "sites": ["north"]}
ENDS = {
    "failed": {"event": "failed", "reason": "no model"},
    "aborted": {"event": "aborted", "by": "lead@uni.org", "reason": "stopped"},
}


def kit_of(folder: Path, *events: dict[str, object], checkpoints: int = 2) -> Path:
    """A server's kit with a job that has these events after its third round."""
    kit = folder / "server"
    (kit / "startup").mkdir(parents=True)
    (kit / "startup" / "fed_server.json").write_text("{}")
    with Store.open(kit / STORE_FILE, create=True) as store:
        for at, event in enumerate([STARTED, ROUND, *events]):
            store.write(ID, {"at": float(at), **event})
    for number in range(checkpoints):
        (kit / "checkpoints" / ID / f"g-{number + 3:08d}").mkdir(parents=True)
    return kit


@pytest.mark.parametrize("state", sorted(ENDS))
def test_a_job_that_failed_or_was_aborted_is_asked_for(tmp_path: Path, state: str) -> None:
    kit = kit_of(tmp_path, ENDS[state])
    asked = request_resume(kit, ID)
    assert (asked.name, asked.state.state, asked.state.rounds_done, asked.generation) == (
        "chest",
        state,
        3,
        "g-00000004",
    )
    assert asked.file == kit / "checkpoints" / ID / REQUEST_FILE
    written = asked.file.read_bytes()
    assert set(json.loads(written)) == {"by", "at"}
    assert request_resume(kit, ID).file.read_bytes() == written, "a second request changes nothing"
    assert list(requested(kit)) == [ID]
    take_request(kit, ID)
    take_request(kit, ID)
    assert list(requested(kit)) == []


REFUSED = {
    "running": ([], "has not ended: running, round 4 of 8"),
    "resuming": (
        [{"event": "resumed", "round": 3, "by": "server", "attempt": 1}],
        "has not ended: resuming after round 3 of 8",
    ),
    "paused": ([{"event": "paused", "reason": "disk full"}], "has not ended: paused after round 3 of 8: disk full"),
    "finished": ([{"event": "finished", "rounds": 8, "missing": {}}], "has finished"),
}


@pytest.mark.parametrize("state", sorted(REFUSED))
def test_every_other_state_is_refused_and_named(tmp_path: Path, state: str) -> None:
    events, why = REFUSED[state]
    kit = kit_of(tmp_path, *events)
    with pytest.raises(JobError, match=why):
        request_resume(kit, ID)
    assert list(requested(kit)) == []


@pytest.mark.parametrize("state", sorted(ENDS))
def test_a_job_that_is_taken_up_already_is_refused_in_one_line(tmp_path: Path, state: str) -> None:
    assert PENDING_FILE == BY_PERSON
    kit = kit_of(tmp_path, ENDS[state])
    pending = kit / "checkpoints" / ID / PENDING_FILE
    pending.write_text("{}")
    with pytest.raises(JobError, match="is being resumed already") as refused:
        request_resume(kit, ID)
    assert str(pending) in str(refused.value) and "wait" in str(refused.value) and "\n" not in str(refused.value)
    assert list(requested(kit)) == []


@pytest.mark.parametrize("job_id", ["", "..", "../" + ID, ID.upper(), ID + "/..", "chest"])
def test_an_id_is_no_path(tmp_path: Path, job_id: str) -> None:
    with pytest.raises(JobError, match="no id of a job"):
        request_resume(kit_of(tmp_path, ENDS["failed"]), job_id)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    kit = kit_of(tmp_path, ENDS["failed"], checkpoints=0)
    with pytest.raises(JobError, match="left no checkpoint"):
        request_resume(kit, ID)
    with pytest.raises(JobError, match="no record of the job"):
        request_resume(kit, NEVER_SEEN)
    (kit / STORE_FILE).unlink()
    with pytest.raises(StoreError):
        request_resume(kit, ID)
    with pytest.raises(FederationError, match="not a server's kit"):
        request_resume(tmp_path, ID)


def test_a_file_of_another_name_is_no_request(tmp_path: Path) -> None:
    kit = kit_of(tmp_path, ENDS["failed"])
    for name in ("startup", "..x", ID[:-1]):
        (kit / "checkpoints" / name).mkdir()
        (kit / "checkpoints" / name / REQUEST_FILE).write_text("{}")
    (kit / "checkpoints" / ID / REQUEST_FILE).mkdir()
    assert list(requested(kit)) == []


def test_the_command_says_what_will_happen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kit = kit_of(tmp_path, ENDS["aborted"])
    assert typed(monkeypatch, "job", "resume", ID, "--kit", str(kit)) == 0
    said = capsys.readouterr()
    assert f"chest ({ID}): aborted by lead@uni.org after 3 of 8 rounds: stopped" in said.out
    assert "goes on after round 3, from checkpoint g-00000004" in said.out
    assert f"fedward job wait {ID}" in said.err
    assert typed(monkeypatch, "job", "resume", NEVER_SEEN, "--kit", str(kit)) == 1
    assert "no record of the job" in capsys.readouterr().err
