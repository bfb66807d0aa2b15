"""The writer: what an entry may hold, several writers at once, what a kill leaves, the keys, rotation, a full disk."""

from __future__ import annotations

import json
import os
import stat
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fedward.audit import log as log_module
from fedward.audit.actions import ABOUT, ACTIONS
from fedward.audit.entry import LONGEST_TEXT, MOST_NAMES, bounded
from fedward.audit.files import rotated, torn_name
from fedward.audit.keys import KEY_FILE
from fedward.audit.log import AuditLog
from fedward.audit.note import note, own_account, recorded
from fedward.audit.place import log_at, log_of_kit, log_of_site
from fedward.audit.verify import entries, verify
from fedward.errors import AuditError
from fedward.indexing.site_key import load_key
from tests.support.audit_log import of_rounds, written

SITE = """site = "north"
key = "key"
ledger = "ledger.db"
approved_jobs = "any"
disclosure = {{ metrics = [], decimals = 3, min_count = 5 }}
cohorts = {{}}
{more}"""


def warned(line: str) -> None:
    raise ValueError(line)


def kit_of(tmp_path: Path, *, more: str = "") -> Path:
    kit = tmp_path / "kit"
    (kit / "startup").mkdir(parents=True)
    (kit / "local").mkdir()
    (kit / "local" / "site.toml").write_text(SITE.format(more=more))
    return kit


def test_an_entry_is_one_json_line_in_utc_with_milliseconds(tmp_path: Path) -> None:
    moment = datetime(2026, 3, 1, 13, 0, 0, 7999, tzinfo=UTC).astimezone()
    log = AuditLog(tmp_path, clock=lambda: moment)
    log.append("job-submitted", who="a@b.org", about={"job": "7", "round": 3, "sites": {"b", "a"}, "reason": None})
    (line,) = log.path.read_text(encoding="ascii").splitlines()
    content = json.loads(line)
    assert list(content) == ["n", "at", "who", "what", "about", "prev", "hash"]
    assert content["at"] == "2026-03-01T13:00:00.007Z"
    assert content["about"] == {"job": "7", "round": 3, "sites": ["a", "b"]}


def test_only_the_owner_can_read_the_files(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        log = written(tmp_path / "audit", [("signed-in", "a", {})] * 3, rotate_bytes=1)
    finally:
        os.umask(before)
    with log.path.open("ab") as file:
        file.write(b'{"n":4')
    log.append("signed-in", who="a", about={})
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "audit").iterdir()}
    assert len(modes) == 8 and set(modes.values()) == {0o600}, modes
    assert stat.S_IMODE((tmp_path / "audit").stat().st_mode) == 0o700


def test_texts_of_others_are_escaped_and_bounded(tmp_path: Path) -> None:
    hostile = "x\n\x1b[2J\u202e\udcff" + "y" * 10_000
    entry = AuditLog(tmp_path).append("site-declined", who=hostile, about={"reason": hostile, "sites": [hostile] * 999})
    texts = [entry.who, entry.about["reason"], *entry.about["sites"]]
    assert all(text.isprintable() and len(text) <= LONGEST_TEXT for text in texts)
    assert len(entry.about["sites"]) == MOST_NAMES + 1 and entry.about["sites"][-1] == f"and {999 - MOST_NAMES} more"
    assert verify(AuditLog(tmp_path)).last.number == 1


@pytest.mark.parametrize("value", [1.5, None, b"x", {"a": 1}, [1], 2**60, object()])
def test_a_fact_of_another_type_is_a_mistake(value: object) -> None:
    with pytest.raises(ValueError, match="a text, a whole number or a list of texts"):
        bounded(value)


@pytest.mark.parametrize(("what", "about"), [("sang", {}), ("signed-in", {"patient": "x"})])
def test_an_act_or_a_fact_on_no_list_is_a_mistake(tmp_path: Path, what: str, about: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="no act or fact"):
        AuditLog(tmp_path).append(what, who="a", about=about)


def test_the_lists_are_sentences_and_none_of_the_facts_is_a_patients() -> None:
    assert all(action.meaning[0].isupper() and action.meaning.endswith(".") for action in ACTIONS.values())
    assert all(not meaning.endswith(".") for meaning in ABOUT.values())
    assert not any("identifier" in meaning or "pseudonym" in meaning for meaning in ABOUT.values())
    released = {name for name, action in ACTIONS.items() if action.must}
    assert released == {"admitted", "continued", "update-left", "model-opened", "approved", "key-sealed"}


def test_writers_in_threads_lose_no_entry(tmp_path: Path) -> None:
    def write(name: str) -> None:
        log = AuditLog(tmp_path)
        for number in range(20):
            log.append("round-complete", who=name, about={"round": number})

    threads = [threading.Thread(target=write, args=(f"writer {number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert verify(AuditLog(tmp_path)).last.number == 80
    for name in {entry.who for entry in entries(AuditLog(tmp_path))}:
        assert [one.about["round"] for one in entries(AuditLog(tmp_path)) if one.who == name] == list(range(20))


@pytest.mark.parametrize("torn", [b'{"n":3,"at":"2026', b"\0" * 50, b'{"n":3\0\0\0\0"}\n', b"{}"])
def test_a_torn_last_line_is_kept_aside_and_told(tmp_path: Path, torn: bytes) -> None:
    log = of_rounds(tmp_path, 2)
    with log.path.open("ab") as file:
        file.write(torn)
    assert verify(log).torn_bytes == len(torn)
    assert log.append("signed-in", who="a", about={}).number == 4
    told = list(entries(log))[2]
    assert (told.what, told.about["bytes"]) == ("torn", len(torn))
    assert (tmp_path / torn_name(3)).read_bytes() == torn
    assert (verify(log).last.number, verify(log).torn_bytes) == (4, 0)


def test_the_first_line_may_be_torn(tmp_path: Path) -> None:
    log = of_rounds(tmp_path / "whole", 1)
    line = log.path.read_bytes()
    torn = AuditLog(tmp_path / "torn")
    torn._make_folder()
    torn._read_head(None)
    torn.path.write_bytes(line[:-1])
    assert verify(torn).last.number == 0
    torn.append("signed-in", who="a", about={})
    assert [entry.what for entry in entries(torn)] == ["torn", "signed-in"]
    assert verify(torn).last.number == 2


def test_a_torn_line_below_the_head_was_cut_by_somebody(tmp_path: Path) -> None:
    log = of_rounds(tmp_path, 3)
    os.truncate(log.path, log.path.stat().st_size - 5)
    for act in (lambda: verify(log), lambda: log.append("signed-in", who="a", about={})):
        with pytest.raises(AuditError, match="entry 3"):
            act()


def test_a_log_longer_than_its_head_goes_on(tmp_path: Path) -> None:
    """A kill between the line and the head."""
    log = of_rounds(tmp_path, 2)
    head = log.head.read_bytes()
    log.append("signed-in", who="a", about={})
    log.head.write_bytes(head)
    assert verify(log).last.number == 3
    assert log.append("signed-in", who="a", about={}).number == 4
    assert verify(log).last.number == 4


def test_a_full_disk_is_said_and_leaves_the_log_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = of_rounds(tmp_path, 2)
    before = log.path.read_bytes()
    true_write = os.write
    monkeypatch.setattr(log_module.os, "write", lambda handle, line: true_write(handle, line[:9]))
    with pytest.raises(AuditError, match="'No space left on device'; free space"):
        log.append("signed-in", who="a", about={})
    assert log.path.read_bytes() == before
    lines: list[str] = []
    assert note(log, "signed-in", warn=lines.append) is None
    assert len(lines) == 1 and lines[0].startswith("signed-in is not in the audit log: ")
    with pytest.raises(AuditError, match="update-left is refused: audit log cannot be written"):
        note(log, "update-left", warn=warned)
    monkeypatch.undo()
    log.append("signed-in", who="a", about={})
    assert verify(log).last.number == 3


def test_a_head_that_cannot_be_written_after_a_durable_entry_is_made_up_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = of_rounds(tmp_path, 2)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(log_module, "write_head", full)
    assert log.append("signed-in", who="a", about={}).number == 3
    with pytest.raises(AuditError, match="No space left"):
        log.append("signed-in", who="a", about={})
    monkeypatch.undo()
    assert log.append("signed-in", who="a", about={}).number == 4
    assert verify(log).last.number == 4


def test_a_process_that_is_stopped_with_the_lock_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_module, "LOCK_S", 0.02)
    log = of_rounds(tmp_path, 1)
    with AuditLog(tmp_path)._writing(), pytest.raises(AuditError, match="another process holds the audit log"):
        log.append("signed-in", who="a", about={})
    assert log.append("signed-in", who="a", about={}).number == 2


def test_a_file_is_rotated_by_size_and_by_age_and_the_chain_goes_on(tmp_path: Path) -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    log = AuditLog(tmp_path, clock=lambda: moment, rotate_bytes=900)
    for _ in range(9):
        log.append("signed-in", who="a", about={})
    firsts = [int(path.stem[-12:]) for path in rotated(log.path)]
    assert len(firsts) >= 2 and firsts[0] == 1
    assert all(path.stat().st_size >= 900 for path in rotated(log.path))
    old = AuditLog(tmp_path, clock=lambda: moment + timedelta(days=93))
    old.append("signed-in", who="a", about={})
    assert len(rotated(log.path)) == len(firsts) + 1
    assert verify(log).last.number == 10
    log.path.unlink()
    with pytest.raises(AuditError, match="entry 10 is missing"):
        verify(log)


def test_a_kill_between_rotation_and_the_next_entry_is_no_fault(tmp_path: Path) -> None:
    log = of_rounds(tmp_path, 3)
    log.path.rename(tmp_path / "audit-000000000001.jsonl")
    assert verify(log).last.number == 3
    log.append("signed-in", who="a", about={})
    assert verify(log).last.number == 4


def test_a_hospitals_log_goes_over_to_the_sites_key_once_it_exists(tmp_path: Path) -> None:
    kit = kit_of(tmp_path)
    log = log_of_kit(kit)
    assert log is not None
    log.append("kit-joined", who="a", about={})
    assert verify(log).sealed_by == "own"
    load_key(kit / "local" / "key")
    again = log_of_site(kit / "local" / "site.toml")
    assert again.path == log.path
    again.append("cohort-indexed", who="a", about={})
    again.append("cohort-indexed", who="a", about={})
    assert [entry.what for entry in entries(again)] == ["kit-joined", "keyed", "cohort-indexed", "cohort-indexed"]
    assert verify(log_at(kit)).sealed_by == "site"
    # a kill between the entry and the head that has the new key
    head, content = again.head.read_bytes(), again.path.read_bytes()
    (kit / "local" / "key").rename(kit / "local" / "away")
    with pytest.raises(AuditError, match="the site's key, which sealed the anchor of the audit log, is not here"):
        verify(log_at(kit))
    with pytest.raises(AuditError, match="the site's key, which sealed the anchor of the audit log, is not here"):
        log_at(kit).append("signed-in", who="a", about={})
    assert (again.head.read_bytes(), again.path.read_bytes()) == (head, content)


def test_a_kill_between_the_change_of_the_key_and_the_head_goes_on(tmp_path: Path) -> None:
    kit = kit_of(tmp_path)
    log = log_at_kit(kit)
    log.append("kit-joined", who="a", about={})
    head = log.head.read_bytes()
    load_key(kit / "local" / "key")
    log_at_kit(kit).append("cohort-indexed", who="a", about={})
    first_two = log.path.read_bytes().splitlines(keepends=True)[:2]
    log.path.write_bytes(b"".join(first_two))
    log.head.write_bytes(head)
    next((kit / "local").glob("ledger.db.audit-*")).unlink()
    assert verify(log_at_kit(kit), anchored=False).last.number == 2
    log_at_kit(kit).append("cohort-indexed", who="a", about={})
    assert [entry.what for entry in entries(log)] == ["kit-joined", "keyed", "cohort-indexed"]
    assert verify(log_at_kit(kit)).sealed_by == "site"


def log_at_kit(kit: Path) -> AuditLog:
    log = log_of_kit(kit)
    assert log is not None
    return log


def test_a_faulty_site_toml_does_not_lose_the_log(tmp_path: Path) -> None:
    kit = kit_of(tmp_path, more="unknown = 1\n")
    log_at_kit(kit).append("process-started", who="a", about={})
    assert verify(log_at(kit)).sealed_by == "own"


def test_the_log_of_a_site_without_a_kit_lies_beside_its_ledger(tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text(SITE.format(more=""))
    assert log_of_site(tmp_path / "site.toml").path == tmp_path / "audit" / "audit.jsonl"
    assert log_of_kit(tmp_path) is None
    assert note(None, "update-left", warn=warned) is None


@pytest.mark.parametrize("content", [b"", b"zz", b"00" * 31, b"\xff" * 64])
def test_a_damaged_key_is_said(tmp_path: Path, content: bytes) -> None:
    log = of_rounds(tmp_path, 1)
    (tmp_path / KEY_FILE).write_bytes(content)
    with pytest.raises(AuditError, match="key of the audit log is damaged"):
        AuditLog(tmp_path).append("signed-in", who="a", about={})
    assert log.path.exists()


def test_an_act_that_fails_after_it_was_recorded_is_told(tmp_path: Path) -> None:
    log = of_rounds(tmp_path, 1)
    with pytest.raises(KeyError), recorded(log, "approved", warn=warned, hash="ab"):
        raise KeyError
    with recorded(log, "approved", warn=warned, hash="cd"):
        pass
    assert [(entry.what, entry.about.get("entry")) for entry in entries(log)][1:] == [
        ("approved", None),
        ("undone", 2),
        ("approved", None),
    ]
    assert {entry.who for entry in list(entries(log))[1:]} == {own_account()}
