"""FLARE is the one whose reactions were examined, and a site's loss is no longer the job's."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from nvflare.apis.job_def import RunStatus
from nvflare.apis.job_launcher_spec import JobReturnCode
from nvflare.fuel.common.exit_codes import ProcessExitCode
from nvflare.fuel.hci.server.constants import ConnProps
from nvflare.private.defs import CellMessageHeaderKeys, JobFailureMsgKey
from nvflare.private.fed.server import server_engine
from nvflare.private.fed.server.job_runner import JobRunner, _FinishedJobState

from fedward.flare.supervisor import job_reactions, reactions

EXAMINED = json.loads((Path(__file__).parent / "examined.json").read_text())
"""SHA-256 of the source of each function of FLARE 2.9.0 that is replaced, as it was read when ours was written."""


class Notes:
    """Listener that keeps what it is told."""

    def __init__(self, *, held: Collection[str] | None = (), status: RunStatus | None = None) -> None:
        self.said: list[Any] = []
        self._held, self._status = held, status

    def heard(self, token: str, jobs: Collection[str]) -> None:
        self.said.append(("heard", token, sorted(jobs)))

    def holds(self) -> Collection[str] | None:
        return self._held

    def ended_at(self, job_id: str, site: str, *, code: int) -> None:
        self.said.append(("ended", job_id, site, code))

    def aborted(self, job_id: str, *, by: str) -> bool:
        self.said.append(("aborted", job_id, by))
        return False

    def unwanted(self, job_id: str, *, by: str) -> None:
        self.said.append(("unwanted", job_id, by))

    def answered(self, job_id: str) -> None:
        self.said.append(("answered", job_id))

    def ends(self, job_id: str, status: RunStatus) -> RunStatus:
        self.said.append(("ends", job_id, status))
        return self._status or status


def test_flare_is_the_one_that_was_examined() -> None:
    """If this fails, FLARE has changed: read the function anew, then ours, then note the new digest."""
    assert reactions.digests() == EXAMINED


class Request:
    def __init__(self, payload: Any, **headers: Any) -> None:
        self.payload, self._headers = payload, headers

    def get_header(self, key: str, default: Any = None) -> Any:
        return self._headers.get(key, default)


@pytest.mark.parametrize(
    "code",
    [
        ProcessExitCode.EXCEPTION,
        ProcessExitCode.CONFIG_ERROR,
        ProcessExitCode.INFRASTRUCTURE_ERROR,
        ProcessExitCode.UNSAFE_COMPONENT,
        JobReturnCode.ABORTED,
        JobReturnCode.EXECUTION_ERROR,
        JobReturnCode.SUCCESS,
        None,
        "text",
    ],
)
def test_whatever_a_site_reports_of_its_process_flare_reads_an_ordinary_end(
    code: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    monkeypatch.setitem(
        reactions.THEIRS, "FederatedServer.process_job_failure", lambda self, request: seen.append(request.payload)
    )
    notes = Notes()
    server = SimpleNamespace(client_manager=SimpleNamespace(clients={"t": SimpleNamespace(name="north")}))
    payload = {JobFailureMsgKey.JOB_ID: "j", JobFailureMsgKey.CODE: code}
    reactions._site_ended(notes)(server, Request(payload, **{CellMessageHeaderKeys.TOKEN: "t"}))
    assert seen[0][JobFailureMsgKey.CODE] == JobReturnCode.SUCCESS
    assert notes.said[0][:3] == ("ended", "j", "north")
    assert (notes.said[0][3] == JobReturnCode.SUCCESS) == (code == JobReturnCode.SUCCESS)
    assert payload[JobFailureMsgKey.CODE] == code, "the request's own payload is not changed"


@pytest.mark.parametrize("payload", [None, [], "text", {}, {JobFailureMsgKey.JOB_ID: 3}])
def test_a_report_of_another_form_goes_to_flare_which_refuses_it(payload: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setitem(
        reactions.THEIRS, "FederatedServer.process_job_failure", lambda self, request: seen.append(request.payload)
    )
    notes = Notes()
    server = SimpleNamespace(client_manager=SimpleNamespace(clients={"t": SimpleNamespace(name="north")}))
    reactions._site_ended(notes)(server, Request(payload, **{CellMessageHeaderKeys.TOKEN: "t"}))
    reactions._site_ended(notes)(server, Request({JobFailureMsgKey.JOB_ID: "j"}))  # of nobody
    assert len(seen) == 2
    assert notes.said == []


@pytest.mark.parametrize("jobs", [["held", "other"], None, "text", 7, [3, [], "held"]])
def test_a_heartbeat_stops_no_job_that_is_being_taken_on(jobs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        reactions.THEIRS, "FederatedServer._sync_client_jobs", lambda self, request, token: ["held", "other"]
    )
    notes = Notes(held={"held"})
    stopped = reactions._heartbeat(notes)(None, Request(None, **{CellMessageHeaderKeys.JOB_IDS: jobs}), "t")
    assert stopped == ["other"]
    said = sorted(job for job in jobs if isinstance(job, str)) if isinstance(jobs, list) else []
    assert notes.said == [("heard", "t", said)]


def test_while_the_supervisor_does_not_know_the_jobs_a_heartbeat_stops_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(reactions.THEIRS, "FederatedServer._sync_client_jobs", lambda self, request, token: ["other"])
    assert reactions._heartbeat(Notes(held=None))(None, Request(None), "t") == []


def test_flare_publishes_the_end_that_the_jobs_events_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    archived: list[str] = []
    monkeypatch.setitem(
        reactions.THEIRS, "JobRunner._save_workspace", lambda self, ctx, state, job_id: archived.append(job_id)
    )
    save = reactions._one_end(Notes(status=RunStatus.FINISHED_COMPLETED))
    state = _FinishedJobState(status=RunStatus.FINISHED_ABNORMAL)
    with pytest.raises(reactions.StatusChangedError):
        save(None, None, state, "j")
    assert (state.status, archived) == (RunStatus.FINISHED_COMPLETED, [])
    save(None, None, state, "j")
    assert archived == ["j"]


def test_the_listener_hears_of_a_persons_abort_before_flare_and_once_flare_has_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    notes = Notes()
    theirs = lambda self, conn, args: notes.said.append("flare")  # noqa: E731
    monkeypatch.setitem(reactions.THEIRS, "JobCommandModule.abort_job", theirs)
    known = {ConnProps.USER_NAME: "lead@demo.org", "job_id": "j"}
    reactions._asked_by(notes)(SimpleNamespace(JOB_ID="job_id"), SimpleNamespace(get_prop=known.get), [])
    assert notes.said == [("unwanted", "j", "lead@demo.org"), "flare", ("answered", "j")]


def test_an_archive_that_is_written_is_not_judged_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(reactions.THEIRS, "JobRunner._save_workspace", lambda self, ctx, state, job_id: None)
    notes = Notes(status=RunStatus.FINISHED_ABORTED)
    state = _FinishedJobState(status=RunStatus.FINISHED_COMPLETED, workspace_archive_written=True)
    reactions._one_end(notes)(None, None, state, "j")
    assert notes.said == []


def test_a_server_that_stops_leaves_its_jobs_running_in_the_store() -> None:
    handle = SimpleNamespace(stopped=0)
    handle.terminate = lambda: setattr(handle, "stopped", handle.stopped + 1)
    runner = JobRunner("workspace")
    runner.running_jobs["j"] = SimpleNamespace()
    engine = SimpleNamespace(run_processes={"j": {"_job_launcher": handle}})
    reactions._leave_running(runner, SimpleNamespace(get_engine=lambda: engine))
    assert runner.ask_to_stop
    assert runner.running_jobs == {}, "so that FLARE's watch does not publish an end"
    assert handle.stopped == 1


class Engine:
    """FLARE's engine of a job's process, whose parent names the participants after so many questions."""

    def __init__(self, *, after: int) -> None:
        self.left, self.now = after, 0.0
        self.asked_to_stop = False
        self.args, self.logger = SimpleNamespace(job_id="job"), logging.getLogger("test")
        self.client_manager = SimpleNamespace(set_clients=lambda clients: None)

    def _retrieve_clients_data(self, job_id: str) -> dict[str, str] | None:
        self.left -= 1
        return {"token": "client"} if self.left < 0 else None

    def time(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_a_process_whose_parent_is_gone_does_not_go_on_asking(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(after=200)
    engine.asked_to_stop = True
    monkeypatch.setattr(server_engine, "time", engine)
    with pytest.raises(RuntimeError, match="participating clients"):
        job_reactions._patient(engine)
    assert engine.now <= 31.0


@pytest.mark.parametrize(("after", "waits"), [(0, True), (200, True), (10_000, False)])
def test_a_job_whose_sites_start_slowly_begins_all_the_same(
    after: int, waits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine(after=after)
    monkeypatch.setattr(server_engine, "time", engine)
    monkeypatch.setattr(job_reactions, "time", SimpleNamespace(monotonic=engine.time))
    if waits:
        job_reactions._patient(engine)
    else:
        with pytest.raises(RuntimeError, match="participating clients"):
            job_reactions._patient(engine)
        assert engine.now >= job_reactions.FIRST_S
