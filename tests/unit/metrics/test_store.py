"""The metrics store: what it keeps, who may read it, and that processes neither lose nor break anything."""

from __future__ import annotations

import math
import signal
import sqlite3
import stat
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fedward.errors import StoreError
from fedward.metrics import queries
from fedward.metrics.queries import Job, Point, Seat, SiteRound
from fedward.metrics.store import DAY_S, SiteSeen, Store
from tests.support.metrics_store import DROPPED, SUPPRESSED, fill, site_name

NOW = 1_800_000_000.0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "metrics.db", create=True) as opened:
        yield opened


def job_of(store: Store, job_id: str) -> Job:
    with store.turn() as connection:
        found = queries.job(connection, job_id)
    assert found is not None
    return found


def seats_of(store: Store, job_id: str) -> dict[str, Seat]:
    key = job_of(store, job_id).key
    with store.turn() as connection:
        return {seat.site: seat for seat in queries.seats(connection, job=key)}


def points_of(store: Store, job_id: str) -> list[Point]:
    key = job_of(store, job_id).key
    with store.turn() as connection:
        return queries.points(connection, job=key)


def parts_of(store: Store, job_id: str) -> list[SiteRound]:
    key = job_of(store, job_id).key
    with store.turn() as connection:
        return queries.parts(connection, job=key)


def answered(site: str, *, at: float = NOW, number: int = 0, task: str = "round", **metrics: Any) -> dict[str, Any]:
    return {
        "event": "answered", "at": at, "site": site, "task": task, "round": number, "metrics": metrics,
        "seconds": 10.0, "sent_bytes": 1000, "received_bytes": 300,
    }  # fmt: skip


def test_a_site_that_did_not_measure_the_final_model_has_no_value_at_the_end(store: Store) -> None:
    """Its last value is of an earlier model, and the dashboard called it the lowest of the sites."""
    store.write("job", {"event": "started", "at": NOW, "job": "j", "task": "classification", "rounds": 2})
    for number in (0, 1):
        for site in ("north", "coast")[: 2 - number]:
            store.write("job", answered(site, number=number, scores={"auc": 0.5, "auc_low": 0.4, "auc_high": 0.6}))
        store.write("job", {"event": "round", "at": NOW, "round": number, "sites": ["north"]})
    store.write("job", answered("north", task="final", scores={"auc": 0.9, "auc_low": 0.8, "auc_high": 1.0}))
    assert seats_of(store, "job")["coast"].value == 0.5, "while the job runs the last one is shown, with its time"
    store.write("job", {"event": "finished", "at": NOW, "rounds": 2, "missing": {"coast": "no answer in time"}})
    seats = seats_of(store, "job")
    assert seats["north"].value == 0.9 and (seats["coast"].value, seats["coast"].low) == (None, None)


def round_event(number: int, part: dict[str, dict[str, Any]], *, at: float = NOW) -> dict[str, Any]:
    took = [site for site, one in part.items() if one["outcome"] == "accepted"]
    return {"event": "round", "at": at, "round": number, "sites": took, "wall_s": 12.0, "participation": part}


def test_no_one_but_its_owner_reads_it(store: Store) -> None:
    fill(store)
    files = sorted(store.path.parent.iterdir())
    assert [file.name for file in files] == ["metrics.db", "metrics.db-shm", "metrics.db-wal"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_a_store_is_not_made_unasked(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no metrics store there"):
        Store.open(tmp_path / "metrics.db")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [b"", b"site,auc\nnorth,0.8\n" * 40, b"SQLite format 3\0"])
def test_another_file_is_refused_in_one_line_and_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "metrics.db"
    file.write_bytes(content)
    with pytest.raises(StoreError, match="not a metrics store") as refused:
        Store.open(file, create=True)
    assert "\n" not in str(refused.value)
    assert file.read_bytes() == content


def test_another_programs_database_and_another_format_are_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "ledger.db") as other:
        other.execute("CREATE TABLE entries (number)")
    other.close()
    with pytest.raises(StoreError, match="not a metrics store"):
        Store.open(tmp_path / "ledger.db")
    Store.open(tmp_path / "metrics.db", create=True).close()
    with sqlite3.connect(tmp_path / "metrics.db") as later:
        later.execute("PRAGMA user_version = 99")
    later.close()
    with pytest.raises(StoreError, match="another format: 99"):
        Store.open(tmp_path / "metrics.db")


def test_counters_add_up_over_rounds_and_a_dropped_sites_bytes_count_once(store: Store) -> None:
    store.write("a", {"event": "started", "at": NOW, "job": "a", "task": "classification", "rounds": 2, "sites": []})
    for number in (0, 1):
        store.write("a", answered("north", number=number))
        gone = {"outcome": "dropped", "reason": "no answer in time", "sent_bytes": 1000, "received_bytes": None}
        took = {"outcome": "accepted", "sent_bytes": 1000, "received_bytes": 300}
        store.write("a", round_event(number, {"north": took, "river": gone}))
    store.write("a", answered("north", number=-1, task="final"))
    seats = seats_of(store, "a")
    assert (seats["north"].sent_bytes, seats["north"].received_bytes) == (3000, 900)
    assert (seats["river"].sent_bytes, seats["river"].received_bytes) == (2000, 0)
    assert [(seats[site].accepted, seats[site].dropped) for site in ("north", "river")] == [(2, 0), (0, 2)]


def test_the_rest_of_a_round_is_what_no_stage_of_the_site_explains(store: Store) -> None:
    store.write("a", answered("north", validate_s=1.0, train_s=4.0, seal_s=0.5))
    store.write("a", answered("river", validate_s=8.0, train_s=4.0))
    seats = seats_of(store, "a")
    assert seats["north"].rest_s == 4.5
    assert seats["river"].rest_s == 0.0  # its clock says more than the server waited


def test_a_line_has_each_models_value_and_the_final_one_at_its_end(store: Store) -> None:
    for number, auc in enumerate((0.5, 0.6)):
        store.write("a", answered("north", number=number, scores={"auc": auc, "loss": 1 - auc}, loss=0.9 - number / 10))
        store.write("a", round_event(number, {"north": {"outcome": "accepted"}}))
    store.write("a", answered("north", number=-1, task="final", scores={"auc": 0.7, "loss": 0.3}))
    assert [(point.round, point.value, point.training_loss) for point in points_of(store, "a")] == [
        (0, 0.5, 0.9),
        (1, 0.6, 0.8),
        (2, 0.7, None),
    ]
    seat = seats_of(store, "a")["north"]
    assert (seat.value, seat.training_loss, seat.validation_loss) == (0.7, 0.8, 0.3)


def test_the_model_that_was_selected_gives_the_latest_value(store: Store) -> None:
    for number, auc in enumerate((0.5, 0.8, 0.6)):
        store.write("a", answered("north", number=number, scores={"auc": auc}))
        store.write("a", round_event(number, {"north": {"outcome": "accepted"}}))
    store.write("a", answered("north", number=-1, task="final", scores={"auc": 0.55}))
    store.write("a", {"event": "selected", "at": NOW, "round": 1, "score": 0.8})
    store.write("a", answered("north", number=-1, task="final", scores={"auc": 0.8}))
    assert [point.value for point in points_of(store, "a")] == [0.5, 0.8, 0.6, 0.55]
    assert seats_of(store, "a")["north"].value == 0.8


def test_what_a_site_trained_alone_is_not_the_jobs(store: Store) -> None:
    store.write("a", answered("north", scores={"auc": 0.8}))
    store.write("a", answered("north", number=-1, task="alone", scores={"auc": 0.6}))
    assert seats_of(store, "a")["north"].value == 0.8
    assert seats_of(store, "a")["north"].sent_bytes == 2000


@pytest.mark.parametrize("odd", [math.nan, math.inf, "0.8", True, None, 10**400, [0.8]])
def test_what_is_no_finite_number_is_not_measured(store: Store, odd: Any) -> None:
    store.write("a", answered("north", scores={"auc": odd, "patients": odd, "images": odd}, train_s=odd))
    seat = seats_of(store, "a")["north"]
    assert (seat.value, seat.patients, seat.images, seat.train_s, seat.suppressed) == (None, None, None, None, 0)


def test_withheld_is_neither_zero_nor_unmeasured(store: Store) -> None:
    (job_id,) = fill(store, sites=3)
    seat = seats_of(store, job_id)[site_name(SUPPRESSED)]
    assert (seat.value, seat.suppressed) == (None, 1)
    assert all(point.value is None for point in points_of(store, job_id) if point.site == site_name(SUPPRESSED))


def test_who_was_dropped_and_why_stays_with_the_round(store: Store) -> None:
    (job_id,) = fill(store, sites=3, rounds=3)
    dropped = [part for part in parts_of(store, job_id) if part.outcome == "dropped"]
    assert [(part.site, part.round, part.reason) for part in dropped] == [(site_name(DROPPED), 1, "no answer in time")]


def test_an_unknown_kind_is_kept_and_an_unreadable_event_changes_nothing(store: Store) -> None:
    store.write("a", {"event": "later", "at": NOW, "site": "north", "thing": [1, 2]})
    with store.turn() as connection:
        (note,) = queries.notes(connection, job=1, kind="later")
    assert (note.site, note.at, note.body) == ("north", NOW, {"thing": [1, 2]})
    before = store.cursor()
    with pytest.raises(StoreError, match="cannot be read"):
        store.write("b", {"event": "answered", "at": NOW})
    assert store.cursor() == before
    with store.turn() as connection:
        assert [job.id for job in queries.jobs(connection)] == ["a"]


def test_an_older_time_never_replaces_a_newer_one(store: Store) -> None:
    store.seen([SiteSeen(site="north", last_seen=NOW, connected=True, certificate_until=NOW + DAY_S)], now=NOW)
    store.seen([SiteSeen(site="north", last_seen=NOW - 5, connected=False, certificate_until=None)], now=NOW)
    store.write("a", answered("north", at=NOW - 1))
    with store.turn() as connection:
        (site,) = queries.sites(connection)
    assert (site.last_seen, site.connected, site.certificate_until) == (NOW, 0, NOW + DAY_S)


def test_a_time_from_before_the_clock_was_set_back_is_replaced(store: Store) -> None:
    """Else a hospital that falls silent would look present until the clock has caught up, a day later."""
    store.seen([SiteSeen(site="north", last_seen=NOW, connected=True, certificate_until=None)], now=NOW)
    back = NOW - DAY_S
    store.seen([SiteSeen(site="north", last_seen=back, connected=True, certificate_until=None)], now=back)
    with store.turn() as connection:
        assert queries.sites(connection)[0].last_seen == back


def test_the_cursor_grows_and_says_which_jobs_changed(store: Store) -> None:
    store.write("a", answered("north"))
    first = store.cursor()
    store.write("b", answered("north"))
    store.seen([])
    assert store.cursor() > first + 1
    assert list(store.changed_since(first)) == ["b"]


def test_forgetting_leaves_what_is_newer(store: Store) -> None:
    old, new = fill(store, sites=3, jobs=2, rounds=2, now=NOW, round_s=DAY_S)
    assert store.forget(older_than_days=1.5, now=NOW) == 1
    with store.turn() as connection:
        assert [job.id for job in queries.jobs(connection)] == [new]
        for table in ("seats", "points", "rounds", "parts", "notes"):
            assert connection.execute(f"SELECT count(DISTINCT job) FROM {table}").fetchone() == (1,), table
    assert store.changed_since(0).keys() == {new}
    assert old != new


WRITER = """
import sys
from pathlib import Path
from fedward.metrics.store import Store
store = Store.open(Path(sys.argv[1]), create=True)
site, many = sys.argv[2], int(sys.argv[3])
for number in range(many):
    metrics = {"scores": {"auc": 0.5}}
    store.write("a", {"event": "answered", "at": 1.0, "site": site, "task": "round", "round": number,
                      "metrics": metrics, "sent_bytes": 1, "received_bytes": 2})
    print(number, flush=True)
"""


def writer(path: Path, site: str, many: int) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", textwrap.dedent(WRITER), str(path), site, str(many)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)


def test_processes_that_make_and_write_one_store_at_once_lose_nothing(tmp_path: Path) -> None:
    path, many = tmp_path / "metrics.db", 150
    wanted = dict.fromkeys(("north", "river", "hill"), (many, 2 * many))
    running = [writer(path, site, many) for site in wanted]
    assert [process.communicate(timeout=60)[1] for process in running] == [None] * 3
    assert [process.returncode for process in running] == [0] * 3
    with Store.open(path) as store:
        seats = seats_of(store, "a")
        assert {site: (seat.sent_bytes, seat.received_bytes) for site, seat in seats.items()} == wanted
        assert store.cursor() == 3 * many
    assert sorted(file.name for file in tmp_path.iterdir()) == ["metrics.db"]


def test_killing_a_writer_leaves_all_that_it_wrote(tmp_path: Path) -> None:
    path = tmp_path / "metrics.db"
    with writer(path, "north", 1_000_000) as process:
        assert process.stdout is not None
        said = [int(process.stdout.readline()) for _ in range(40)]
        process.send_signal(signal.SIGKILL)
        said += [int(line) for line in process.stdout.read().splitlines()]
    with Store.open(path) as store:
        written = len(points_of(store, "a"))
        with store.turn() as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert len(said) <= written <= len(said) + 1
        assert seats_of(store, "a")["north"].sent_bytes == written
        store.write("a", answered("north", number=written))
