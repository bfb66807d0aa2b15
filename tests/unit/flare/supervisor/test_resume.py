"""A person has an ended job resumed: every view knows at once, one request resumes once, and an abort ends it again."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from nvflare.apis.job_def import JobMetaKey, RunStatus
from nvflare.fuel.hci.server.constants import ConnProps
from nvflare.private.fed.server.job_cmds import JobCommandModule

from fedward.ends import End, end_of
from fedward.errors import JobError
from fedward.flare.console import job_states, resume_request
from fedward.flare.server.checkpoints.earlier import BY_PERSON
from fedward.flare.supervisor import job_end, reactions, resume, supervisor
from fedward.flare.supervisor.supervisor import Supervisor
from fedward.metrics.store import STORE_FILE
from tests.unit.flare.supervisor.test_supervisor import JOB, Server

STARTED: dict[str, Any] = {"job": "chest", "task": "classification", "rounds": 8, "sites": ["city"], "coverage": {}}
ALICE, BOB = "alice@example.org", "bob@example.org"
ENDS: dict[str, dict[str, str]] = {"failed": {"reason": "the disk was full"}, "aborted": {"by": ALICE, "reason": ""}}
FLARES = {"failed": RunStatus.FINISHED_EXECUTION_EXCEPTION, "aborted": RunStatus.FINISHED_ABORTED}
OPEN = (RunStatus.SUBMITTED, RunStatus.DISPATCHED, RunStatus.RUNNING)


class Federation:
    """The server's kit with one job of three rounds, FLARE's own abort, and no process of the job."""

    def __init__(self, kit: Path, monkeypatch: pytest.MonkeyPatch, *, ended: str | None = "failed") -> None:
        self.kit, self.folder, self.status = kit, kit / "checkpoints" / JOB, RunStatus.RUNNING
        (kit / "startup").mkdir()
        (kit / "startup" / "fed_server.json").write_text("{}")
        (self.folder / "g-00000003").mkdir(parents=True)
        (kit / JOB).mkdir()
        job_end.tell(kit, JOB, "started", threshold=None, **STARTED)
        for number in range(3):
            job_end.tell(kit, JOB, "round", round=number, sites=["city"])
        if ended is not None:
            job_end.tell(kit, JOB, ended, **ENDS[ended])
            self.status = FLARES[ended]
        self.server = Server()
        manager = SimpleNamespace(
            get_job=lambda job_id, context: self._job(),
            set_status=lambda job_id, status, context: self._set(status),
            get_jobs_by_status=lambda statuses, context: [self._job()] if self.status in statuses else [],
            remove_scheduled_job=lambda job_id: None,
        )
        self.server.engine.get_component = lambda name: manager
        self.server.engine.job_def_manager = manager
        monkeypatch.setattr(supervisor, "repeat", lambda *args, **named: None)
        for module in (supervisor, resume):
            again = lambda manager, job_id, context: self._set(RunStatus.SUBMITTED)  # noqa: E731
            monkeypatch.setattr(module, "schedule_again", again)
        self.start()

    def start(self) -> None:
        """Start the server, again where it ran already."""
        self.one = Supervisor(self.kit)
        self.one.begin(self.server)

    def _job(self) -> Any:
        meta = {JobMetaKey.STATUS: self.status.value, JobMetaKey.STATUS.value: self.status.value}
        return SimpleNamespace(job_id=JOB, meta=meta)

    def _set(self, status: RunStatus) -> None:
        self.status = status

    def ask(self) -> None:
        resume_request.request_resume(self.kit, JOB)

    def abort(self, *, by: str = BOB) -> None:
        """Have a person abort the job, by FLARE's own command."""
        known = {ConnProps.USER_NAME: by, JobCommandModule.JOB_ID: JOB}
        conn = SimpleNamespace(
            app_ctx=self.server.engine,
            get_prop=lambda name, default=None: known.get(name, default),
            append_string=lambda text: None,
            append_success=lambda *args, **named: None,
            append_error=lambda text, **named: pytest.fail(text),
        )
        reactions._asked_by(self.one)(SimpleNamespace(JOB_ID=JobCommandModule.JOB_ID), conn, [])

    def end(self) -> End:
        """How the job stands, as ``fedward job wait`` says it."""
        return end_of(self.status.value, job_states._state(job_states.recorded(self.kit / STORE_FILE, JOB)["job"]))

    def turns(self) -> list[tuple[str, str | None]]:
        events = [json.loads(line) for line in job_end.log_of(self.kit, JOB).read_bytes().splitlines()]
        return [(one["event"], one.get("by")) for one in events if one["event"] not in ("started", "round")]

    def files(self) -> set[str]:
        return {path.name for path in self.folder.iterdir()} - {"g-00000003", "events.jsonl"}


@pytest.fixture(params=["failed", "aborted"])
def federation(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Federation:
    return Federation(tmp_path, monkeypatch, ended=request.param)


@pytest.mark.parametrize("status", OPEN)
def test_from_the_moment_it_is_taken_up_every_view_says_resuming(status: RunStatus, federation: Federation) -> None:
    federation.ask()
    federation.one.look()
    assert federation.status == RunStatus.SUBMITTED and federation.files() == {BY_PERSON}
    federation.status = status
    end = federation.end()
    assert (end.state, end.agreed, end.ended) == ("resuming", True, False)
    assert end.words == "resuming after round 3 of 8 (attempt 1): a person takes it up again"
    (resumed,) = [
        json.loads(line) for line in job_end.log_of(federation.kit, JOB).read_bytes().splitlines() if b"resumed" in line
    ]
    assert (resumed["round"], resumed["by"], resumed["attempt"]) == (3, "person", 1)


def test_a_second_request_is_refused_while_the_first_is_taken_up(federation: Federation) -> None:
    federation.ask()
    federation.one.look()
    with pytest.raises(JobError, match="has not ended: resuming after round 3 of 8"):
        federation.ask()
    (federation.kit / STORE_FILE).unlink()  # a store that lagged behind
    kinds = [json.loads(line) for line in job_end.log_of(federation.kit, JOB).read_bytes().splitlines()]
    from fedward.metrics.store import Store

    with Store.open(federation.kit / STORE_FILE, create=True) as store:
        for event in kinds[:-1]:
            store.write(JOB, event)
    with pytest.raises(JobError, match="is being resumed already"):
        federation.ask()
    assert federation.files() == {BY_PERSON}


def test_a_request_that_comes_too_late_is_dropped_and_undoes_no_later_abort(federation: Federation) -> None:
    federation.ask()
    federation.one.look()
    (federation.folder / resume_request.REQUEST_FILE).write_text("{}")  # checked before, written after
    federation.one.look()
    assert federation.files() == {BY_PERSON}
    federation.abort()
    federation.one.look()
    assert federation.status == RunStatus.FINISHED_ABORTED
    assert federation.end().words == f"aborted by {BOB} after 3 of 8 rounds"


def test_a_request_waits_while_flare_has_not_published_the_end(federation: Federation) -> None:
    published, federation.status = federation.status, RunStatus.RUNNING
    federation.ask()
    federation.one.look()
    assert federation.files() == {resume_request.REQUEST_FILE}
    federation.status = published
    federation.one.look()
    assert federation.status == RunStatus.SUBMITTED


def test_an_abort_withdraws_a_request_that_is_not_taken_up(federation: Federation) -> None:
    before = federation.end()
    federation.ask()
    federation.abort()
    federation.one.look()
    assert federation.files() == set() and federation.end() == before


@pytest.mark.parametrize("status", [RunStatus.SUBMITTED, RunStatus.DISPATCHED])
def test_an_abort_of_a_resumed_job_that_waits_is_in_every_record(status: RunStatus, federation: Federation) -> None:
    federation.ask()
    federation.one.look()
    federation.status = status
    federation.abort()
    for _ in range(2):
        end = federation.end()
        assert (end.words, end.agreed, end.ended) == (f"aborted by {BOB} after 3 of 8 rounds", True, True)
        assert federation.turns()[1:] == [("resumed", "person"), ("aborted", BOB)]
        assert federation.files() == set() and not (federation.kit / JOB).exists()
        federation.one.look()
    federation.ask()
    federation.one.look()
    assert federation.end().state == "resuming", "and it may be resumed once more"


def test_an_abort_of_a_job_that_waits_after_the_servers_restart_is_in_every_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    federation = Federation(tmp_path, monkeypatch, ended=None)
    assert federation.status == RunStatus.SUBMITTED, "its sites were not written down: it is scheduled again"
    federation.start()
    federation.abort()
    assert federation.end().words == f"aborted by {BOB} after 3 of 8 rounds" and federation.end().agreed
    assert federation.turns() == [("aborted", BOB)]


def test_an_abort_of_a_job_that_has_a_process_is_left_to_the_process(federation: Federation) -> None:
    federation.ask()
    federation.one.look()
    federation.status = RunStatus.DISPATCHED
    federation.server.engine.run_processes[JOB] = {}
    federation.abort()
    assert federation.turns()[1:] == [("resumed", "person")]


def test_an_abort_of_a_job_that_never_began_leaves_no_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    federation = Federation(tmp_path, monkeypatch, ended=None)
    for path in (job_end.log_of(tmp_path, JOB), tmp_path / STORE_FILE):
        path.unlink()
    federation.abort()
    assert not job_end.log_of(tmp_path, JOB).exists()
    assert federation.end().words.startswith("aborted before it began")


def test_a_resumed_job_that_flare_cannot_start_has_failed_and_may_be_resumed_again(federation: Federation) -> None:
    federation.ask()
    federation.one.look()
    federation.status = RunStatus.FAILED_TO_RUN
    federation.one.look()
    end = federation.end()
    assert end.agreed and "the server could not start it at the sites that it needs" in end.words
    assert federation.files() == set()
    federation.ask()
    federation.one.look()
    assert federation.end().state == "resuming"


@pytest.mark.parametrize("step", ["tell", "schedule_again"])
def test_a_kill_at_any_step_is_mended_at_the_next_start_and_tells_it_once(
    step: str, federation: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*args: Any, **named: Any) -> None:
        raise SystemExit

    federation.ask()
    with monkeypatch.context() as patch:
        patch.setattr(*{"tell": (job_end, "tell"), "schedule_again": (resume, "schedule_again")}[step], killed)
        with pytest.raises(SystemExit):
            federation.one.look()
    federation.start()
    federation.one.look()
    assert federation.status == RunStatus.SUBMITTED and federation.files() == {BY_PERSON}
    assert federation.turns()[1:] == [("resumed", "person")]


def test_a_server_that_died_before_it_told_an_abort_tells_it_when_it_is_back(federation: Federation) -> None:
    federation.ask()
    federation.one.look()
    federation.status = RunStatus.FINISHED_ABORTED
    federation.start()
    federation.one.look()
    assert federation.turns()[1:] == [("resumed", "person"), ("aborted", "the server")]
    assert federation.files() == set() and federation.end().agreed


@pytest.mark.parametrize(
    ("flares", "by", "words"),
    [
        (RunStatus.FINISHED_ABORTED, BOB, f"aborted by {BOB} after 3 of 8 rounds"),
        (RunStatus.FINISHED_EXECUTION_EXCEPTION, None, "failed after 3 of 8 rounds: the server's process ended"),
    ],
)
def test_the_end_of_a_process_that_told_nothing_is_no_earlier_end(
    flares: RunStatus, by: str | None, words: str, federation: Federation
) -> None:
    federation.ask()
    federation.one.look()
    (federation.kit / JOB).mkdir()
    if by is not None:
        job_end.note_abort(federation.kit / JOB, by=by)
    federation.status = federation.one.ends(JOB, flares)
    assert federation.end().words.startswith(words) and federation.end().agreed
    assert federation.files() == set()


def test_a_job_whose_log_is_damaged_is_not_resumed_and_the_request_goes(federation: Federation) -> None:
    federation.ask()
    with job_end.log_of(federation.kit, JOB).open("ab") as file:
        file.write(b"no event\n")
    federation.one.look()
    assert federation.files() == set() and federation.status.value.startswith("FINISHED:")


def test_a_file_that_an_older_release_left_after_an_abort_hinders_no_resumption(federation: Federation) -> None:
    (federation.folder / BY_PERSON).write_text("{}")
    before = federation.end()
    federation.start()
    federation.one.look()
    assert federation.files() == set() and federation.end() == before
    federation.ask()
