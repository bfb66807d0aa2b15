"""Clean whole kits: drawn trees, faults at every step, and the two commands."""

from __future__ import annotations

import errno
import json
import os
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedward.audit.log import AuditLog
from fedward.audit.verify import entries, verify
from fedward.errors import FederationError, LedgerError
from fedward.flare.console.resume_request import REQUEST_FILE
from fedward.flare.server.checkpoints.earlier import BY_PERSON
from fedward.indexing.site_key import load_key
from fedward.privacy import accountant
from fedward.privacy.ledger.ledger import Ledger
from fedward.privacy.ledger.run_record import Record
from fedward.upkeep import clean, removal
from fedward.upkeep.clean import Cleaning, clean_server, clean_site
from fedward.upkeep.contents import RESUME_FILES
from tests.conftest import OPEN_SITE_TOML
from tests.support.command_line import typed
from tests.support.ledger import FAST, count_steps, job, people

DAY = 86_400.0
NOW = 2_000_000_000.0
ENDED, OPEN, RUNS, FRESH = (str(uuid.UUID(int=number)) for number in (1, 2, 3, 4))
HASH = "ab" * 32


def put(path: Path, *, days: float, size: int = 10) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    for one in (path, path.parent):
        os.utime(one, (NOW - days * DAY, NOW - days * DAY))


def tree(folder: Path) -> dict[str, bytes | str | None]:
    """Everything in a folder: content, or where a link leads."""
    return {
        str(path.relative_to(folder)): str(path.readlink())
        if path.is_symlink()
        else path.read_bytes()
        if path.is_file()
        else None
        for path in folder.rglob("*")
    }


@pytest.fixture
def site_toml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A site's kit with one job of each kind, and its ledger outside of ``local``."""
    monkeypatch.setattr(accountant, "epsilon", count_steps)
    monkeypatch.setattr(clean, "_command_lines", lambda: [f"python -m client_worker -n {RUNS} -c north"])
    kit = tmp_path / "north"
    (kit / "startup").mkdir(parents=True)
    (kit / "startup" / "fed_client.json").write_text("{}")
    path = kit / "local" / "site.toml"
    path.parent.mkdir()
    path.write_text(
        f"""
        site = "north"
        key = "site.key"
        {OPEN_SITE_TOML}
        upkeep = {{ keep_days = 30, keep_jobs = 0 }}
        [cohorts.chest]
        images = "../chest"
        index = "../index"
        max_quarantined_fraction = 0.5
        validation_fraction = 0.3
        privacy = {{ dp = "required", epsilon_cap = 20.0, delta = 1e-5, encryption = "not-required" }}
        """
    )
    key = load_key(path.parent / "site.key").secret
    ledger = Ledger.create(path.parent / "ledger.db", site="north", key=key)
    record = Record.open(path.parent / "ledger.db", site="north", key=key)
    for job_id in (ENDED, OPEN, RUNS):
        ledger.charge(**job(job_id, patients=people(int(job_id[-1]))))
        record.begin(job_id, job=HASH)
    ledger.close(ENDED)
    record.end(ENDED)
    for job_id in (ENDED, OPEN, RUNS):
        put(kit / job_id / "app" / "log.txt", days=90)
        put(kit / "checkpoints" / job_id / "state", days=90)
    put(kit / FRESH / "log.txt", days=0)
    for name in ("log.txt", "log.txt.1", "audit.log", "audit.log.1", "audit-000000000001.jsonl", "notes.txt.1"):
        put(kit / name, days=90)
    put(kit / "transfer" / "old.zip", days=90)
    put(kit / "chest" / "one.dcm", days=900)
    return path


def test_only_what_is_of_ended_jobs_goes(site_toml: Path) -> None:
    kit = site_toml.parents[1]
    before = tree(kit)
    look = clean_site(site_toml, dry_run=True, now=NOW)
    assert tree(kit) == before
    done = clean_site(site_toml, now=NOW)
    assert look.removals == done.removals
    assert {one.unit.name for one in done.removals} == {ENDED, "log.txt.1", "transfer/old.zip"}
    kept = {unit.name: str(unit.kept) for unit in done.units if unit.kept}
    assert kept.keys() == {OPEN, RUNS, FRESH}
    assert "charge is open" in kept[OPEN] and f"--settle {OPEN}" in kept[OPEN]
    assert "process" in kept[RUNS] and "settle" not in kept[RUNS], "nobody is told to settle what runs"
    assert "last hour" in kept[FRESH]
    gone = {name for name in before if name not in tree(kit)}
    assert {name.split("/")[0] for name in gone} == {ENDED, "checkpoints", "log.txt.1", "transfer"}
    assert clean_site(site_toml, now=NOW).removals == (), "a second cleaning finds nothing"


def test_a_run_that_has_not_ended_stays_when_its_charge_is_closed(site_toml: Path) -> None:
    key = load_key(site_toml.parent / "site.key").secret
    Ledger.open(site_toml.parent / "ledger.db", site="north", key=key).close(OPEN)
    done = clean_site(site_toml, now=NOW)
    assert OPEN not in {one.unit.name for one in done.removals}
    Record.open(site_toml.parent / "ledger.db", site="north", key=key).end(OPEN)
    assert OPEN in {one.unit.name for one in clean_site(site_toml, now=NOW).removals}


def test_a_ledger_that_cannot_be_read_keeps_everything(site_toml: Path) -> None:
    kit, ledger = site_toml.parents[1], site_toml.parent / "ledger.db"
    ledger.write_bytes(b"not a ledger")
    before = tree(kit)
    with pytest.raises(LedgerError):
        clean_site(site_toml, now=NOW)
    assert tree(kit) == before
    ledger.unlink()
    with pytest.raises(LedgerError):  # its head is still there: it existed
        clean_site(site_toml, now=NOW)


def test_a_site_without_a_ledger_keeps_its_jobs(site_toml: Path) -> None:
    for path in site_toml.parent.glob("ledger.db*"):
        path.unlink()
    assert {one.unit.kind for one in clean_site(site_toml, now=NOW).removals} == {"log", "download"}


def test_the_hospitals_own_files_stay_wherever_they_are(site_toml: Path) -> None:
    text = site_toml.read_text().replace("../index", f"../{ENDED}/index").replace("../chest", "../transfer/images")
    site_toml.write_text(text)
    put(site_toml.parents[1] / "transfer" / "images" / "one.dcm", days=900)
    done = clean_site(site_toml, now=NOW)
    assert {one.unit.name for one in done.removals} == {"log.txt.1", "transfer/old.zip"}
    assert {str(unit.kept) for unit in done.units if unit.name in (ENDED, "transfer/images")} == {"holds cohort chest"}


def test_links_are_neither_followed_nor_removed(site_toml: Path, tmp_path: Path) -> None:
    kit, far = site_toml.parents[1], tmp_path / "far"
    put(far / str(uuid.UUID(int=9)) / "weights", days=900)
    put(far / "log", days=900)
    before = tree(far)
    (kit / str(uuid.UUID(int=8))).symlink_to(far, target_is_directory=True)
    (kit / "log.txt.2").symlink_to(far / "log")
    (kit / "transfer" / "link").symlink_to(far)
    (kit / "storage").symlink_to(far, target_is_directory=True)
    (kit / ENDED / "out").symlink_to(far, target_is_directory=True)
    done = clean_site(site_toml, now=NOW)
    assert {one.unit.name for one in done.removals} == {ENDED, "log.txt.1", "transfer/old.zip"}
    assert tree(far) == before
    assert (kit / "log.txt.2").is_symlink() and (kit / "transfer" / "link").is_symlink()


def test_without_limits_nothing_goes(site_toml: Path) -> None:
    site_toml.write_text(site_toml.read_text().replace("upkeep = {", "# upkeep = {"))
    done = clean_site(site_toml, now=NOW)
    assert done.retention is None and done.removals == ()


class _Fault:
    """Raise an error at the n-th rename, and at no other."""

    def __init__(self, number: int, error: BaseException) -> None:
        self.left, self.error, self.real = number, error, Path.rename

    def __call__(self, path: Path, target: Path) -> Path:
        self.left -= 1
        if self.left == 0:
            raise self.error
        return self.real(path, target)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.EACCES, "Permission denied")])
def test_a_fault_at_any_step_leaves_everything_as_it_was(
    site_toml: Path, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    kit = site_toml.parents[1]
    before = tree(kit)
    for number in range(1, 6):  # run folder, checkpoint, log, download; then the rename that decides
        fault = _Fault(number, error)
        monkeypatch.setattr(Path, "rename", lambda path, target, fault=fault: fault(path, target))
        with pytest.raises((KeyboardInterrupt, FederationError)):
            clean_site(site_toml, now=NOW)
        monkeypatch.undo()
        assert tree(kit) == before, number


class _Killed(BaseException):
    pass


@pytest.mark.parametrize("number", range(1, 6))
def test_a_kill_is_mended_by_the_next_call(site_toml: Path, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill runs no code of ours after it, so putting back is left out here."""
    kit = site_toml.parents[1]
    before = tree(kit)
    with monkeypatch.context() as patch:
        fault = _Fault(number, _Killed())
        patch.setattr(Path, "rename", lambda path, target: fault(path, target))
        patch.setattr(removal, "_put_back", lambda kit: None)
        with pytest.raises(_Killed):
            removal.remove(kit, [ENDED, f"checkpoints/{ENDED}", "log.txt.1", "transfer/old.zip"])
    assert tree(kit) != before
    removal.settle(kit)
    assert tree(kit) == before


def test_a_removal_that_was_decided_is_finished(site_toml: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kit = site_toml.parents[1]

    def stop(path: Path) -> None:
        raise _Killed

    with monkeypatch.context() as patch:
        patch.setattr(removal.shutil, "rmtree", stop)
        with pytest.raises(_Killed):
            removal.remove(kit, [ENDED])
    assert (kit / removal.REMOVED).is_dir() and not (kit / ENDED).exists()
    removal.settle(kit)
    assert not (kit / removal.REMOVED).exists() and not (kit / ENDED).exists()


def test_two_cleanings_at_once_are_refused(site_toml: Path) -> None:
    with removal.only_one(site_toml.parents[1]), pytest.raises(FederationError, match="another command"):
        clean_site(site_toml, now=NOW)


# the server's kit


STATES = ("SUBMITTED", "DISPATCHED", "RUNNING", "FINISHED:COMPLETED", "FINISHED:ABORTED", "unreadable", "unknown")


@pytest.fixture
def folders(tmp_path: Path) -> Iterator[Path]:
    import tempfile

    with tempfile.TemporaryDirectory(dir=FAST) as name:
        yield Path(name)


jobs = st.lists(
    st.tuples(
        st.sampled_from(STATES), st.floats(0.1, 100), st.integers(0, 3000), st.booleans(), st.booleans(), st.booleans()
    ),
    max_size=8,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(jobs, st.integers(1, 60), st.integers(0, 3), st.none() | st.floats(0.000001, 0.00001))
def test_drawn_kits_of_a_server(
    folders: Path, drawn: list[Any], keep_days: int, keep_jobs: int, max_gb: float | None
) -> None:
    kit = folders / uuid.uuid4().hex
    (kit / "startup").mkdir(parents=True)
    (kit / "startup" / "fed_server.json").write_text("{}")
    put(kit / "startup" / "server.key", days=900)
    put(kit / "metrics.db", days=900)
    limits = f"keep_days = {keep_days}\nkeep_jobs = {keep_jobs}\n" + (f"max_gb = {max_gb}" if max_gb else "")
    (kit / "local").mkdir()
    (kit / "local" / "upkeep.toml").write_text(limits)
    safe = set(tree(kit))
    for number, (state, days, size, run, checkpoint, linked) in enumerate(drawn):
        job_id = str(uuid.UUID(int=number))
        if state != "unknown":
            stored = kit / "storage" / "jobs" / job_id
            put(stored / "data", days=days, size=size)
            (stored / "meta").write_text("{" if state == "unreadable" else json.dumps({"status": state}))
            for path in (stored / "meta", stored):
                os.utime(path, (NOW - days * DAY, NOW - days * DAY))
        if run:
            put(kit / job_id / "log.txt", days=days, size=size)
            if linked:
                (kit / job_id / "link").symlink_to(kit / "startup")
                os.utime(kit / job_id, (NOW - days * DAY, NOW - days * DAY))
        if checkpoint:
            put(kit / "checkpoints" / job_id / "round", days=days, size=size)
        if not state.startswith("FINISHED") and state != "unknown":
            safe |= {name for name in tree(kit) if job_id in name}
    first = clean_server(kit, now=NOW)
    after = tree(kit)
    assert safe <= set(after), "nothing protected is ever removed"
    second = clean_server(kit, now=NOW)
    assert second.removals == () and tree(kit) == after
    if max_gb is not None and any(unit.kept is None for unit in second.units):
        assert sum(unit.size for unit in second.units) <= max_gb * 10**9
    assert {one.unit.name for one in first.removals}.isdisjoint(unit.name for unit in second.units)


def aborted(folder: Path, *job_ids: str) -> Path:
    """A server's kit with jobs that were aborted long ago, and that a person may have resumed."""
    kit = folder / "server"
    (kit / "startup").mkdir(parents=True)
    (kit / "startup" / "fed_server.json").write_text("{}")
    (kit / "local").mkdir()
    (kit / "local" / "upkeep.toml").write_text("keep_days = 30\nkeep_jobs = 0\nmax_gb = 0.000001\n")
    for job_id in job_ids:
        put(kit / "checkpoints" / job_id / "g-00000001" / "model.npz", days=90, size=5000)
        meta = kit / "storage" / "jobs" / job_id / "meta"
        put(meta, days=90)
        meta.write_text('{"status": "FINISHED:ABORTED"}')
        for path in (meta, meta.parent, kit / "checkpoints" / job_id):
            os.utime(path, (NOW - 90 * DAY, NOW - 90 * DAY))
    return kit


@pytest.mark.parametrize("name", RESUME_FILES)
def test_a_job_that_a_person_has_asked_to_resume_stays_however_old_the_request_is(name: str, tmp_path: Path) -> None:
    assert RESUME_FILES == (REQUEST_FILE, BY_PERSON)
    kit = aborted(tmp_path, ENDED, OPEN)
    put(kit / "checkpoints" / ENDED / name, days=60)
    done = clean_server(kit, now=NOW)
    assert {one.unit.name for one in done.removals} == {OPEN}
    assert [unit.kept for unit in done.units if unit.name == ENDED] == ["a person has asked to resume it"]
    assert (kit / "checkpoints" / ENDED / "g-00000001").is_dir() and not (kit / "checkpoints" / OPEN).exists()


def _asks(kit: Path) -> None:
    (kit / "checkpoints" / ENDED / REQUEST_FILE).write_text("{}")


def _runs(kit: Path) -> None:
    (kit / "storage" / "jobs" / ENDED / "meta").write_text('{"status": "RUNNING"}')


def _writes(kit: Path) -> None:
    put(kit / "checkpoints" / ENDED / "events.jsonl", days=50)


@pytest.mark.parametrize("meanwhile", [_asks, _runs, _writes])
def test_a_job_that_is_resumed_between_the_look_and_the_removal_stays_and_the_others_go(
    meanwhile: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kit = aborted(tmp_path, ENDED, OPEN)
    due = clean.due

    def late(*args: Any, **named: Any) -> Any:
        found = due(*args, **named)
        assert {one.unit.name for one in found} == {ENDED, OPEN}
        meanwhile(kit)
        return found

    monkeypatch.setattr(clean, "due", late)
    assert {one.unit.name for one in clean_server(kit, now=NOW).removals} == {OPEN}
    assert (kit / "checkpoints" / ENDED / "g-00000001").is_dir() and (kit / "storage" / "jobs" / ENDED).is_dir()
    assert not (kit / "checkpoints" / OPEN).exists() and not (kit / removal.MOVING).exists()


@pytest.mark.parametrize(
    ("known", "first", "then"),
    [
        ("_command_lines", [], [f"python -m client_worker -n {ENDED} -c north"]),
        ("_open_jobs", lambda job_id: None, {ENDED: "its charge is open"}.get),
    ],
)
def test_a_run_that_begins_at_a_site_between_the_look_and_the_removal_stays(
    known: str, first: Any, then: Any, site_toml: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [first, then]
    monkeypatch.setattr(clean, known, lambda *given: answers.pop(0))
    assert ENDED not in {one.unit.name for one in clean_site(site_toml, now=NOW).removals}
    assert answers == [] and (site_toml.parents[1] / ENDED).is_dir()


def test_the_daily_step_cleans_and_says_so(site_toml: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(clean.time, "time", lambda: NOW)
    step = clean.daily(site_toml.parents[1], said.append)
    step()
    step()
    assert len(said) == 1 and ENDED in said[0]


# as typed


def test_the_command_shows_and_removes(
    site_toml: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kit = site_toml.parents[1]
    monkeypatch.setattr(clean.time, "time", lambda: NOW)
    assert typed(monkeypatch, "site", "clean", str(site_toml), "--dry-run") == 0
    said = capsys.readouterr().out
    assert f"would remove  job {ENDED}" in said and f"stays  job {OPEN}" in said and "older than 30 days" in said
    assert (kit / ENDED).is_dir()
    assert typed(monkeypatch, "site", "clean", str(site_toml), "--format", "json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert {one["name"] for one in answer["removed"]} == {ENDED, "log.txt.1", "transfer/old.zip"}
    assert not (kit / ENDED).exists()
    assert typed(monkeypatch, "federation", "clean", str(kit)) == 1
    assert "is not the server's kit" in capsys.readouterr().err


def test_a_policy_outside_a_kit_is_refused(site_toml: Path, tmp_path: Path) -> None:
    copy = tmp_path / "site.toml"
    copy.write_text(site_toml.read_text())
    with pytest.raises(FederationError, match="not in a site's kit"):
        clean_site(copy, now=NOW)


def test_a_cleaning_says_how_much_it_frees(site_toml: Path) -> None:
    done: Cleaning = clean_site(site_toml, dry_run=True, now=NOW)
    assert done.freed == 40


def test_closed_files_of_the_audit_log_go_after_their_days_and_the_log_still_verifies(
    site_toml: Path,
) -> None:
    ago: list[float] = []
    log = AuditLog(
        site_toml.parents[1] / "audit",
        site_toml=site_toml,
        clock=lambda: datetime.fromtimestamp(NOW, UTC) - timedelta(days=ago[-1]),
        rotate_bytes=1,
    )
    for days in (900, 401, 399, 5, 1):
        ago.append(days)
        log.append("signed-in", who=f"{days} days ago", about={})
    assert clean_site(site_toml, now=NOW).audit == (), "without audit_days it is kept for ever"
    site_toml.write_text(site_toml.read_text().replace("keep_jobs = 0", "keep_jobs = 0, audit_days = 400"))
    would = clean_site(site_toml, dry_run=True, now=NOW).audit
    assert len(would) == 2 and all(path.exists() for path in would)
    assert clean_site(site_toml, now=NOW).audit == would
    assert not any(path.exists() for path in would)
    kept = AuditLog(log.path.parent, site_toml=site_toml)
    assert verify(kept).first == 3
    assert [one.what for one in entries(kept)].count("expired") == 2
    assert clean_site(site_toml, now=NOW).audit == ()
