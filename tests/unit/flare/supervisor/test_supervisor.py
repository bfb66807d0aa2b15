"""The supervisor closes each gap between what should run and what the sites' heartbeats report, and no other."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from nvflare.apis.fl_constant import RunProcessKey
from nvflare.apis.job_def import JobMetaKey, RunStatus
from nvflare.apis.job_launcher_spec import JobReturnCode

from fedward.flare.supervisor import held_job, job_end, job_sites, seat, supervisor
from fedward.flare.supervisor.single_process import CHECKPOINTS
from fedward.flare.supervisor.supervisor import Supervisor
from fedward.metrics.events import EVENTS_FILE, EventReader

JOB = "0f0e0d0c-0000-4000-8000-00000000000a"
SITES = ("city", "coast", "north")


class Client(SimpleNamespace):
    def to_dict(self) -> dict[str, str]:
        return {"name": self.name}


class Context:
    def __enter__(self) -> Context:
        return self

    def __exit__(self, *_: object) -> None:
        return None


class Server:
    """FLARE's server, as far as the supervisor uses it."""

    def __init__(self, *, running: tuple[str, ...] = ()) -> None:
        self.clients: dict[str, Client] = {}
        self.statuses: dict[str, RunStatus] = dict.fromkeys(running, RunStatus.RUNNING)
        meta = {JobMetaKey.STATUS.value: RunStatus.RUNNING}
        self.job = SimpleNamespace(job_id=JOB, meta=meta, min_sites=2, required_sites=list[str](), run_aborted=False)
        self.shutdown = False
        self.client_manager = SimpleNamespace(get_clients=lambda: self.clients)
        self.restored: list[list[str]] = []
        self.stopped: list[str] = []
        self.scheduled: set[str] = set()
        runner = SimpleNamespace(
            running_jobs={},
            restore_running_job=self._restore,
            client_outcome_wait_timeout=900.0,
            ask_to_stop=False,
            stop_run=lambda job_id, context: self.stopped.append(job_id),
        )
        manager = SimpleNamespace(
            get_jobs_by_status=self._by_status,
            set_status=self._set,
            restore_scheduled_job=self.scheduled.add,
            remove_scheduled_job=self.scheduled.discard,
        )
        self.engine = SimpleNamespace(
            run_processes={},
            job_runner=runner,
            lock=threading.Lock(),
            new_context=Context,
            get_component=lambda name: manager,
        )

    def sign_in(self, *sites: str, again: bool = False) -> None:
        for site in sites:
            for token in [token for token, client in self.clients.items() if client.name == site]:
                del self.clients[token]
            token = f"{site}-again" if again else site
            self.clients[token] = Client(name=site, token=token)

    def start(self, *sites: str) -> None:
        self.engine.job_runner.running_jobs[JOB] = self.job
        seated = {token: client for token, client in self.clients.items() if client.name in sites}
        self.engine.run_processes[JOB] = {RunProcessKey.PARTICIPANTS: seated}

    def seated(self) -> set[str]:
        return set(self.engine.run_processes[JOB][RunProcessKey.PARTICIPANTS])

    def _by_status(self, statuses: list[RunStatus], context: Any) -> list[Any]:
        return [self.job for one in self.statuses.values() if one in statuses]

    def _set(self, job_id: str, status: RunStatus, context: Any) -> None:
        self.statuses[job_id] = status

    def _restore(self, job_id: str, clients: dict[str, Client], snapshot: None, context: Any) -> None:
        self.restored.append(sorted(client.name for client in clients.values()))
        self.start(*(client.name for client in clients.values()))


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Sites at which a job was started again; every start is instant and accepted."""
    found: list[str] = []
    monkeypatch.setattr(supervisor, "repeat", lambda *args, **named: None)
    monkeypatch.setattr(supervisor.site_start, "start", lambda engine, job, client: found.append(client.name))
    monkeypatch.setattr(seat, "FIRST_PAUSE_S", 0.0)
    return found


def made(tmp_path: Path, server: Server) -> Supervisor:
    (tmp_path / JOB).mkdir(exist_ok=True)
    one = Supervisor(tmp_path)
    one._pool = SimpleNamespace(submit=lambda work, *given: work(*given))
    one.begin(server)
    return one


def beat(one: Supervisor, server: Server, *sites: str, runs: bool = True) -> None:
    for token, client in server.clients.items():
        if client.name in sites:
            one.heard(token, {JOB} if runs else set())


def test_while_every_site_runs_the_job_nothing_is_started(tmp_path: Path, started: list[str]) -> None:
    server = Server()
    one = made(tmp_path, server)
    server.sign_in(*SITES)
    server.start(*SITES)
    for _ in range(3):
        beat(one, server, *SITES)
        one.look()
    assert started == []
    assert job_sites.read(tmp_path, JOB) == list(SITES)


def test_a_site_that_signed_in_anew_gets_its_seat_and_the_job_back(tmp_path: Path, started: list[str]) -> None:
    server = Server()
    one = made(tmp_path, server)
    server.sign_in(*SITES)
    server.start(*SITES)
    one.look()
    beat(one, server, *SITES)
    server.sign_in("coast", again=True)
    one.look()
    assert started == [], "its heartbeat has not told yet what it runs"
    beat(one, server, "coast", runs=False)
    one.look()
    assert started == ["coast"]
    assert server.seated() == {"city", "coast-again", "north"}
    assert [one["name"] for one in server.job.meta[JobMetaKey.JOB_CLIENTS.value]]
    one.look()
    assert started == ["coast"], "and is asked once, until it tells what it runs"


def test_a_site_whose_process_lives_under_a_new_token_gets_its_seat_alone(tmp_path: Path, started: list[str]) -> None:
    server = Server()
    one = made(tmp_path, server)
    server.sign_in(*SITES)
    server.start(*SITES)
    one.look()
    server.sign_in("coast", again=True)
    beat(one, server, *SITES)
    one.look()
    assert started == []
    assert server.seated() == {"city", "coast-again", "north"}


def test_a_site_that_is_just_being_started_is_left_alone(tmp_path: Path, started: list[str]) -> None:
    server = Server()
    one = made(tmp_path, server)
    server.sign_in(*SITES)
    server.start(*SITES)
    beat(one, server, *SITES, runs=False)
    one.look()
    assert started == []


def test_a_site_that_ended_by_itself_is_not_started_again_and_one_that_crashed_is(
    tmp_path: Path, started: list[str]
) -> None:
    server = Server()
    one = made(tmp_path, server)
    server.sign_in(*SITES)
    server.start(*SITES)
    one.look()
    one.ended_at(JOB, "city", code=JobReturnCode.SUCCESS)
    one.ended_at(JOB, "coast", code=JobReturnCode.EXECUTION_ERROR)
    beat(one, server, "city", "coast", runs=False)
    one.look()
    assert started == ["coast"]


def test_a_site_that_crashes_for_ever_is_started_so_often_and_no_more(tmp_path: Path, started: list[str]) -> None:
    server = Server()
    one = made(tmp_path, server)
    server.sign_in(*SITES)
    server.start(*SITES)
    one.look()
    for _ in range(3 * seat.MOST_STARTS):
        one.ended_at(JOB, "coast", code=JobReturnCode.EXECUTION_ERROR)
        beat(one, server, "coast", runs=False)
        one.look()
    assert started == ["coast"] * seat.MOST_STARTS


@pytest.mark.parametrize("how", ["aborted", "finished", "run_aborted"])
def test_at_a_job_that_ends_nobody_is_started(how: str, tmp_path: Path, started: list[str]) -> None:
    server = Server()
    one = made(tmp_path, server)
    server.sign_in(*SITES)
    server.start(*SITES)
    beat(one, server, *SITES)
    one.look()
    if how == "aborted":
        assert one.aborted(JOB, by="lead@demo.org") is False
    elif how == "finished":
        server.engine.run_processes[JOB][RunProcessKey.PROCESS_FINISHED] = True
    else:
        server.job.run_aborted = True
    beat(one, server, *SITES, runs=False)
    one.look()
    assert started == []


def test_a_job_that_a_person_aborts_while_flare_starts_it_is_stopped(tmp_path: Path, started: list[str]) -> None:
    """FLARE calls it aborted, and starts it all the same."""
    server = Server()
    one = made(tmp_path, server)
    server.sign_in(*SITES)
    one.unwanted(JOB, by="lead@demo.org")
    one.look()
    assert server.stopped == []
    server.start(*SITES)
    one.look()
    one.look()
    assert server.stopped == [JOB], "once"


def test_a_job_that_was_aborted_just_before_the_power_failed_does_not_go_on(tmp_path: Path, started: list[str]) -> None:
    job_sites.write(tmp_path, JOB, SITES)
    (tmp_path / JOB).mkdir()
    job_end.note_abort(tmp_path / JOB, by="lead@demo.org")
    server = Server(running=(JOB,))
    one = made(tmp_path, server)
    assert one.holds() == frozenset()
    assert server.statuses[JOB] == RunStatus.FINISHED_ABORTED


def test_before_it_has_begun_and_while_the_server_stops_no_site_stops_any_job(
    tmp_path: Path, started: list[str]
) -> None:
    assert Supervisor(tmp_path).holds() is None
    server = Server()
    one = made(tmp_path, server)
    assert one.holds() == frozenset()
    server.engine.job_runner.ask_to_stop = True
    assert one.holds() is None


def test_one_jobs_error_stops_no_other_and_not_the_supervisor(
    tmp_path: Path, started: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    server = Server()
    one = made(tmp_path, server)
    server.sign_in(*SITES)
    server.start(*SITES)
    monkeypatch.setattr(job_sites, "write", full)
    one.look()
    monkeypatch.undo()
    one.look()
    assert job_sites.read(tmp_path, JOB) == list(SITES)


def test_a_hospital_that_reboots_every_night_is_started_every_time(
    tmp_path: Path, started: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "FORGET_S", -1.0)
    server = Server()
    one = made(tmp_path, server)
    server.sign_in(*SITES)
    server.start(*SITES)
    one.look()
    nights = 3 * seat.MOST_STARTS
    for _ in range(nights):
        beat(one, server, "coast")
        one.ended_at(JOB, "coast", code=JobReturnCode.EXECUTION_ERROR)
        beat(one, server, "coast", runs=False)
        one.look()
    assert started == ["coast"] * nights


def test_a_held_job_counts_among_those_that_run(tmp_path: Path, started: list[str]) -> None:
    job_sites.write(tmp_path, JOB, SITES)
    server = Server(running=(JOB,))
    one = made(tmp_path, server)
    assert server.scheduled == {JOB}
    one.aborted(JOB, by="lead@demo.org")
    assert server.scheduled == set()


def test_a_job_that_a_dead_server_left_waits_for_its_sites_and_stops_at_none(
    tmp_path: Path, started: list[str]
) -> None:
    job_sites.write(tmp_path, JOB, SITES)
    server = Server(running=(JOB,))
    one = made(tmp_path, server)
    assert one.holds() == {JOB}
    one.look()
    server.sign_in("city", "coast")
    one.look()
    assert server.restored == [], "the third may come in a moment"
    server.sign_in("north")
    one.look()
    assert server.restored == [list(SITES)]
    assert one.holds() == frozenset()


def test_a_job_whose_sites_nobody_wrote_down_is_scheduled_again(
    tmp_path: Path, started: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    again: list[str] = []
    monkeypatch.setattr(supervisor, "schedule_again", lambda manager, job_id, context: again.append(job_id))
    one = made(tmp_path, Server(running=(JOB,)))
    assert again == [JOB]
    assert one.holds() == frozenset()


def test_after_its_patience_it_goes_on_with_enough_of_them(
    tmp_path: Path, started: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held_job, "PATIENCE_S", 0.0)
    job_sites.write(tmp_path, JOB, SITES)
    server = Server(running=(JOB,))
    one = made(tmp_path, server)
    server.sign_in("city")
    one.look()
    assert server.restored == [], "one is fewer than min_sites"
    server.sign_in("coast")
    one.look()
    assert server.restored == [["city", "coast"]]


def test_it_does_not_go_on_without_a_site_that_the_job_must_include(
    tmp_path: Path, started: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held_job, "PATIENCE_S", 0.0)
    job_sites.write(tmp_path, JOB, SITES)
    server = Server(running=(JOB,))
    server.job.required_sites = ["north"]
    one = made(tmp_path, server)
    server.sign_in("city", "coast")
    one.look()
    assert server.restored == []
    server.sign_in("north")
    one.look()
    assert len(server.restored) == 1


def told(kit: Path) -> list[tuple[str, Any]]:
    log = kit / CHECKPOINTS / JOB / EVENTS_FILE
    return [(one["event"], one.get("reason")) for one in EventReader(log)] if log.exists() else []


def test_a_held_job_says_whom_it_waits_for_at_each_change_and_goes_on(
    tmp_path: Path, started: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    job_sites.write(tmp_path, JOB, SITES)
    server = Server(running=(JOB,))
    one = made(tmp_path, server)
    one.look()
    assert told(tmp_path) == [], "nobody is waited for before the patience is over"
    monkeypatch.setattr(held_job, "PATIENCE_S", 0.0)
    for _ in range(3):
        one.look()
    server.sign_in("city")
    for _ in range(3):
        one.look()
    begins = "the server was restarted,"
    assert told(tmp_path) == [
        ("paused", f"{begins} 0 of at least 2 sites are connected, without city, coast, north"),
        ("paused", f"{begins} 1 of at least 2 sites are connected, without coast, north"),
    ]
    server.sign_in("coast")
    one.look()
    assert server.restored == [["city", "coast"]]
    assert told(tmp_path)[2:] == [("unpaused", None)]


def test_a_held_job_whose_sites_stay_away_for_a_day_has_failed(
    tmp_path: Path, started: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held_job, "PATIENCE_S", 0.0)
    monkeypatch.setattr(supervisor, "LONGEST_S", 0.0)
    job_sites.write(tmp_path, JOB, SITES)
    server = Server(running=(JOB,))
    one = made(tmp_path, server)
    server.sign_in("north")
    one.look()
    kinds = [kind for kind, _ in told(tmp_path)]
    assert kinds == ["paused", "failed"]
    assert "without city, coast, for a day" in told(tmp_path)[1][1]
    assert server.statuses[JOB] == RunStatus.FINISHED_EXECUTION_EXCEPTION
    assert one.holds() == frozenset() and server.scheduled == set() and server.restored == []


def test_a_person_can_abort_a_job_that_has_no_process(tmp_path: Path, started: list[str]) -> None:
    job_sites.write(tmp_path, JOB, SITES)
    server = Server(running=(JOB,))
    one = made(tmp_path, server)
    assert one.aborted(JOB, by="lead@demo.org") is True
    assert server.statuses[JOB] == RunStatus.FINISHED_ABORTED
    server.sign_in(*SITES)
    one.look()
    assert server.restored == []


def test_the_checkpoint_goes_once_a_finished_job_is_archived_and_stays_for_another_end(tmp_path: Path) -> None:
    one = Supervisor(tmp_path)
    for status in (RunStatus.FINISHED_ABORTED, RunStatus.FINISHED_COMPLETED):
        job_sites.write(tmp_path, JOB, SITES)
        folder = tmp_path / CHECKPOINTS / JOB
        (folder / "events.jsonl").write_text(
            '{"event": "finished", "at": 1.0, "rounds": 1, "missing": {}}\n'
            if status == RunStatus.FINISHED_COMPLETED
            else '{"event": "aborted", "at": 1.0, "by": "x", "reason": ""}\n'
        )
        assert one.ends(JOB, status) == status
        one.archived(JOB)
        assert folder.exists() == (status == RunStatus.FINISHED_ABORTED)


def test_tokens_of_those_who_left_are_forgotten(tmp_path: Path, started: list[str]) -> None:
    server = Server()
    one = made(tmp_path, server)
    for number in range(50):
        one.heard(f"token-{number}", {JOB})
    one.look()
    assert one._running_at == {}


def test_an_unreadable_list_of_sites_is_empty(tmp_path: Path) -> None:
    for content in (b"", b"{}", b'["a", 3]', b"\xff"):
        (tmp_path / CHECKPOINTS / JOB).mkdir(parents=True, exist_ok=True)
        (tmp_path / CHECKPOINTS / JOB / job_sites.SITES_FILE).write_bytes(content)
        assert job_sites.read(tmp_path, JOB) in ([], ["a"])
