"""A job's events reach the metrics store in the order of its log; a store that fails costs no job."""

from __future__ import annotations

import stat
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from fedward.metrics.events import EventLog, EventReader
from fedward.metrics.record import MOST_FAILURES, RETRY_S, Recorder
from fedward.metrics.store import STORE_FILE, Store


class Failing:
    """A store whose writes fail so many times."""

    def __init__(self, times: int) -> None:
        self.left, self.tried, self.written = times, 0, list[Mapping[str, Any]]()

    def write(self, job_id: str, event: Mapping[str, Any]) -> None:
        self.tried += 1
        if self.left:
            self.left -= 1
            raise OSError(28, "no space left on device")
        self.written.append(event)

    def close(self) -> None:
        raise OSError(5, "input/output error")


def recorder(path: Path, said: list[str]) -> Recorder:
    return Recorder(path, "job-1", log=said.append)


def test_every_event_of_the_log_is_given_on_in_its_order_from_any_thread(tmp_path: Path) -> None:
    given: list[Mapping[str, Any]] = []
    log = EventLog(tmp_path / "e", also=given.append)

    def write(site: str) -> None:
        for number in range(25):
            log.append("dropped", site=site, round=number, reason="late")

    threads = [threading.Thread(target=write, args=(f"site-{at}",)) for at in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(given) == 100
    assert given == list(EventReader(tmp_path / "e"))


def test_a_store_is_made_at_the_first_event_for_its_owner_alone(tmp_path: Path) -> None:
    said: list[str] = []
    path = tmp_path / STORE_FILE
    record = recorder(path, said)
    assert not path.exists()
    log = EventLog(tmp_path / "e", also=record)
    log.append("started", job="tiny", task="classification", rounds=2, sites=["north"], coverage={}, threshold=None)
    log.append("finished", rounds=2)
    record.close()
    assert said == []
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with Store.open(path) as store:
        assert list(store.changed_since(0)) == ["job-1"]


def test_a_store_that_cannot_be_opened_is_said_once_and_the_log_is_whole(tmp_path: Path) -> None:
    said: list[str] = []
    (tmp_path / STORE_FILE).write_text("a diary")
    log = EventLog(tmp_path / "e", also=recorder(tmp_path / STORE_FILE, said))
    for number in range(10):
        log.append("round", round=number)
    assert [event["round"] for event in EventReader(tmp_path / "e")] == list(range(10))
    assert len(said) == 1 and "the job goes on" in said[0]
    assert (tmp_path / STORE_FILE).read_text() == "a diary"


@pytest.mark.parametrize("times", [1, MOST_FAILURES - 1, MOST_FAILURES, 7])
def test_failures_cost_no_event_and_a_store_that_keeps_failing_is_tried_once_in_a_while(
    times: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said, clock = list[str](), [0.0]
    failing = Failing(times)
    monkeypatch.setattr("fedward.metrics.store.Store.open", lambda path, create: failing)
    record = Recorder(tmp_path / STORE_FILE, "job-1", log=said.append, now=lambda: clock[0])
    for number in range(20):
        record({"event": "round", "round": number})
    assert failing.tried == (min(times, MOST_FAILURES) + (20 if times < MOST_FAILURES else 0))
    for number in range(20, 30):
        clock[0] += RETRY_S
        record({"event": "round", "round": number})
    record.close()
    assert [event["round"] for event in failing.written] == list(range(30))
    assert len(said) == 1 and "OSError" in said[0] and "space" not in said[0]


@pytest.mark.parametrize("kind", ["finished", "failed", "aborted", "paused", "unpaused"])
def test_an_end_or_a_pause_is_tried_at_once(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing = Failing(MOST_FAILURES)
    monkeypatch.setattr("fedward.metrics.store.Store.open", lambda path, create: failing)
    record = Recorder(tmp_path / STORE_FILE, "job-1", log=lambda line: None, now=lambda: 0.0)
    for number in range(10):
        record({"event": "round", "round": number})
    record({"event": kind})
    assert [event["event"] for event in failing.written] == ["round"] * 10 + [kind]


@pytest.mark.parametrize("known", range(4))
def test_a_new_process_writes_what_the_store_lacks_once(known: int, tmp_path: Path) -> None:
    path = tmp_path / STORE_FILE
    log = EventLog(tmp_path / "e")
    log.append("started", job="tiny", task="classification", rounds=2, sites=[])
    for number in range(2):
        log.append("round", round=number, sites=["north"])
    events = list(EventReader(tmp_path / "e"))
    with Store.open(path, create=True) as store:
        for event in events[:known]:
            store.write("job-1", event)
    record = recorder(path, said := [])
    record.restore(events)
    record({"event": "finished", "at": 1.0, "rounds": 2})
    record.close()
    assert said == []
    with Store.open(path) as store, store.turn() as connection:
        assert connection.execute("SELECT state, rounds_done, taken FROM jobs").fetchall() == [("finished", 2, 4)]
        assert connection.execute("SELECT accepted FROM seats").fetchall() == [(2,)]


def test_a_store_that_knows_more_than_the_log_counts_from_the_log(tmp_path: Path) -> None:
    path, events = tmp_path / STORE_FILE, [{"event": "round", "at": 1.0, "round": number} for number in range(3)]
    with Store.open(path, create=True) as store:
        for event in events:
            store.write("job-1", event)
    record = recorder(path, said := [])
    record.restore(events[:1])
    record(events[1])
    record.close()
    assert said == []
    with Store.open(path) as store:
        assert store.taken("job-1") == 2


def test_an_event_that_the_store_cannot_read_holds_up_no_other(tmp_path: Path) -> None:
    record = recorder(tmp_path / STORE_FILE, said := [])
    for event in (
        {"event": "round", "at": 1.0, "round": 0},
        {"event": "declined", "at": 1.0},
        {"event": "finished", "at": 1.0},
    ):
        record(event)
    record.close()
    assert len(said) == 1 and "cannot be read" in said[0]
    with Store.open(tmp_path / STORE_FILE) as store, store.turn() as connection:
        assert connection.execute("SELECT state, taken FROM jobs").fetchall() == [("finished", 3)]
