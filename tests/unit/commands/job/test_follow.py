"""``fedward job submit --wait`` and ``fedward job wait``, as a data scientist types them, with a made-up server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fedward.ends import JobState
from fedward.errors import FederationError
from fedward.flare import admin_session
from fedward.flare.console import following
from fedward.flare.console.job_states import Standing
from tests.support.command_line import typed
from tests.unit.commands.job.test_app import SOUND
from tests.unit.commands.job.test_report import result

ID = "6a3f1f0e-6a35-4a7e-9c3e-1f3a4b5c6d7e"
RUNS = JobState(state="running", rounds_done=2, rounds_asked=8)
DONE = JobState(state="finished", rounds_done=8, rounds_asked=8)
FAILED = JobState(state="failed", rounds_done=2, rounds_asked=8, reason="no model")
ABORTED = JobState(state="aborted", rounds_done=2, rounds_asked=8, by="lead@uni.org")


class Server:
    """A console whose server answers in turn; an exception in the script is raised."""

    def __init__(self, *script: Any, downloads: Path | None) -> None:
        self.script, self.downloads = list(script), downloads
        self.aborted: list[str] = []

    def submit(self, folder: Path) -> str:
        print("FLARE prints this")
        return ID

    def standing(self, job_id: str) -> Standing:
        assert job_id == ID
        answer = self.script.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        flare, job = answer
        return Standing(flare=flare, job=job, needed=2, required=("north",), known=("south",), why="")

    def connected(self) -> set[str]:
        return {"south"}

    def abort(self, job_id: str) -> None:
        self.aborted.append(job_id)

    def download(self, job_id: str, out: Path) -> Path:
        if self.downloads is None:
            raise FederationError("server has no such job")
        return self.downloads / "workspace"


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(following.time, "sleep", lambda seconds: None)

    def started(*script: Any, downloads: Path | None = None) -> Server:
        made = Server(*script, downloads=downloads)

        @contextmanager
        def console(kit: Path, **_: Any) -> Iterator[Server]:
            print("FLARE prints that it connects")
            yield made

        monkeypatch.setattr(admin_session, "console", console)
        return made

    return started


def submit(folder: Path, monkeypatch: pytest.MonkeyPatch, *more: str) -> int:
    (folder / "job.toml").write_text(SOUND)
    return typed(monkeypatch, "job", "submit", str(folder), "--kit", "K", "--out", str(folder / "out"), *more)


def test_the_id_comes_first_and_then_where_the_job_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], serve: Any
) -> None:
    serve(("SUBMITTED", None), ("RUNNING", RUNS), ("FINISHED:COMPLETED", DONE), downloads=result(tmp_path / "done"))
    assert submit(tmp_path, monkeypatch, "--wait") == 0
    out, err = capsys.readouterr()
    assert out == f"{ID}\n", "nothing but the id is on stdout, whatever FLARE prints"
    said = err.splitlines()
    where = said.index("waiting: 1 of 2 sites connected (2 needed); missing north")
    assert said[where + 1] == "running, round 3 of 8"
    assert said[where + 2].startswith("read it with `fedward job report ")
    assert said[where + 3].startswith("The lowest AUC of 5 hospitals is 0.710"), "what the model is worth"
    assert said[where + 4].startswith("success: every round counted (")


ENDS = [
    (("FINISHED:EXECUTION_EXCEPTION", FAILED), "failed after 2 of 8 rounds: no model"),
    (("FINISHED:ABORTED", ABORTED), "aborted by lead@uni.org after 2 of 8 rounds"),
    (("FINISHED:ABORTED", None), "aborted before it began"),
    (("FINISHED:CAN_NOT_SCHEDULE", None), "failed before it began: the server could not schedule it"),
    (("FINISHED:ABNORMAL", DONE), "FLARE says ABNORMAL although every round counted: success"),
    (("FINISHED:COMPLETED", FAILED), "FLARE says COMPLETED although the job failed: failed after 2 of 8 rounds"),
    (("FINISHED:COMPLETED", None), "FLARE says COMPLETED, and no record of the job's rounds is known"),
]


@pytest.mark.parametrize(("last", "words"), ENDS)
@pytest.mark.parametrize("command", ["submit", "wait"])
def test_only_a_job_that_finished_has_exit_code_0(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    serve: Any,
    last: tuple[str, JobState | None],
    words: str,
    command: str,
) -> None:
    serve(("RUNNING", RUNS), last)
    if command == "submit":
        code = submit(tmp_path, monkeypatch, "--wait")
    else:
        code = typed(monkeypatch, "job", "wait", ID, "--kit", "K")
    err = capsys.readouterr().err
    assert code == 1
    assert "no result was downloaded" in err
    assert "job did not complete" in err and words in err


def test_the_events_of_the_result_tell_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], serve: Any
) -> None:
    """A server without a store tells nothing of its own; one that tells a success of a failed job is not believed."""
    failed = result(tmp_path / "failed", failed="round 7 does not count: alder-hospital is missing")
    for told in (None, DONE):
        serve(("FINISHED:COMPLETED", told), downloads=failed)
        assert typed(monkeypatch, "job", "wait", ID, "--kit", "K") == 1
        assert "although the job failed: failed: round 8 did not count: alder-hospital" in capsys.readouterr().err
    serve(("FINISHED:COMPLETED", None), downloads=result(tmp_path / "done"))
    assert typed(monkeypatch, "job", "wait", ID, "--kit", "K") == 0


def test_a_success_whose_result_cannot_be_fetched_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], serve: Any
) -> None:
    serve(("FINISHED:COMPLETED", DONE))
    assert typed(monkeypatch, "job", "wait", ID, "--kit", "K") == 1
    assert "server has no such job" in capsys.readouterr().err


def test_a_script_gets_one_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], serve: Any
) -> None:
    serve(("FINISHED:ABORTED", ABORTED))
    assert submit(tmp_path, monkeypatch, "--wait", "--format", "json") == 1
    answer = json.loads(capsys.readouterr().out)
    assert answer == {
        "job_id": ID,
        "status": "FINISHED:ABORTED",
        "end": "aborted by lead@uni.org after 2 of 8 rounds",
        "state": "aborted",
        "worth": [],
        "result": None,
    }
    serve()
    assert submit(tmp_path, monkeypatch, "--format", "json") == 0
    assert json.loads(capsys.readouterr().out) == {**dict.fromkeys(answer), "job_id": ID}


def test_ctrl_c_leaves_the_job_running_and_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], serve: Any
) -> None:
    server = serve(("RUNNING", RUNS), KeyboardInterrupt())
    assert submit(tmp_path, monkeypatch, "--wait") == 130
    err = capsys.readouterr().err
    assert "the job goes on at the server" in err
    assert f"fedward job wait {ID} --kit K" in err and f"fedward job abort {ID} --kit K" in err
    assert server.aborted == []
    server.script = [("RUNNING", None)]
    assert typed(monkeypatch, "job", "abort", ID, "--kit", "K") == 0
    assert server.aborted == [ID]


def test_a_job_that_has_ended_is_not_aborted(
    serve: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server = serve(("FINISHED:ABORTED", ABORTED))
    assert typed(monkeypatch, "job", "abort", ID, "--kit", "K") != 0
    assert server.aborted == []
    assert (
        "job has ended: 'aborted by lead@uni.org after 2 of 8 rounds'; there is nothing to abort"
        in capsys.readouterr().err
    )
