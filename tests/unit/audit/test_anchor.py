"""The anchor outside a hospital's log: nobody without the site's key can put another log there."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from fedward.audit import log as log_module
from fedward.audit.entry import Last, make
from fedward.audit.log import AuditLog
from fedward.audit.place import log_at, log_of_kit, log_of_site
from fedward.audit.verify import entries, verify
from fedward.errors import AuditError
from fedward.indexing.site_key import load_key
from tests.support.audit_log import START

SITE = """site = "north"
key = "../state/site.key"
ledger = "../state/ledger.db"
approved_jobs = "any"
disclosure = { metrics = [], decimals = 3, min_count = 5 }
cohorts = {}
"""
Attack = Callable[[Path], object]


@pytest.fixture
def kit(tmp_path: Path) -> Path:
    kit = tmp_path / "kit"
    for name in ("startup", "local", "state"):
        (kit / name).mkdir(parents=True)
    (kit / "local" / "site.toml").write_text(SITE)
    return kit


@pytest.fixture
def keyed(kit: Path) -> Path:
    """A kit whose site's key was there before the log."""
    load_key(kit / "state" / "site.key")
    return kit


def log_of(kit: Path) -> AuditLog:
    log = log_of_kit(kit)
    assert log is not None
    return log


def anchor_of(kit: Path) -> Path:
    name = hashlib.sha256(os.fsencode(kit.resolve())).hexdigest()[:8]
    return kit / "state" / f"ledger.db.audit-{name}"


def write(log: AuditLog, count: int = 3) -> AuditLog:
    for number in range(count):
        log.append("update-left", who="own account svc", about={"round": number})
    return log


def empty(kit: Path) -> None:
    for path in (kit / "audit").iterdir():
        path.unlink()


def another_log(kit: Path) -> None:
    empty(kit)
    write(AuditLog(kit / "audit"), 4)


def first_head_again(kit: Path) -> None:
    """The site's own seal on the head of a log without entries, as it was for a moment."""
    seal = log_of(kit).keys.site
    assert seal is not None
    empty(kit)
    log_module.write_head(kit / "audit" / "audit.head", log_module.Last(), seal, owned=lambda handle: None)


ATTACKS: dict[str, Attack] = {
    "another log": another_log,
    "no file": empty,
    "no folder": lambda kit: shutil.rmtree(kit / "audit"),
    "first head": first_head_again,
}


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("first_own", [False, True])
def test_a_log_that_was_replaced_or_removed_is_found_and_nothing_is_appended(
    kit: Path, name: str, first_own: bool
) -> None:
    if first_own:
        write(log_of(kit), 2)
    load_key(kit / "state" / "site.key")
    write(log_of(kit))
    verify(log_of(kit))
    ATTACKS[name](kit)
    before = {path.name: path.read_bytes() for path in (kit / "audit").glob("*") if path.name != "audit.lock"}
    for act in (lambda: verify(log_at(kit)), lambda: write(log_of(kit))):
        with pytest.raises(AuditError) as raised:
            act()
        assert "\n" not in str(raised.value) and "tell the privacy officer" in str(raised.value)
    after = {path.name: path.read_bytes() for path in (kit / "audit").glob("*") if path.name != "audit.lock"}
    assert after == before


def test_entries_from_before_the_sites_key_cannot_be_replaced(kit: Path) -> None:
    """The attacker can read the key beside the log; the anchor has the hash of the entry that changes the key."""
    write(log_of(kit), 2)
    load_key(kit / "state" / "site.key")
    write(log_of(kit))
    true = log_of(kit).path.read_bytes().splitlines(keepends=True)
    other = AuditLog(kit.parent / "other")
    (kit.parent / "other").mkdir()
    shutil.copy(kit / "audit" / "audit.key", kit.parent / "other")
    write(other, 2)
    other.append("keyed", who="the log itself", about={"key": "site"})
    forged = other.path.read_bytes().splitlines(keepends=True)
    log_of(kit).path.write_bytes(b"".join([*forged, *true[3:]]))
    with pytest.raises(AuditError, match="entry 3 is not the one that the log's anchor names: this is another log"):
        verify(log_at(kit))


def test_a_log_that_is_put_back_to_before_its_anchor_is_found(kit: Path) -> None:
    write(log_of(kit), 2)
    shutil.copytree(kit / "audit", kit.parent / "old")
    load_key(kit / "state" / "site.key")
    write(log_of(kit))
    shutil.rmtree(kit / "audit")
    (kit.parent / "old").rename(kit / "audit")
    for act in (lambda: verify(log_at(kit)), lambda: write(log_of(kit))):
        with pytest.raises(AuditError, match="under another key"):
            act()


def test_the_anchor_is_written_once_and_outside_the_folder(keyed: Path) -> None:
    write(log_of(keyed), 1)
    anchor = anchor_of(keyed).read_bytes()
    write(log_of(keyed), 9)
    assert anchor_of(keyed).read_bytes() == anchor
    assert anchor_of(keyed).stat().st_mode & 0o777 == 0o600
    assert verify(log_at(keyed)).last.number == 10


@pytest.mark.parametrize("content", [b"", b"{}", b'{"n": 1}', b"\xff"])
def test_a_damaged_anchor_refuses(keyed: Path, content: bytes) -> None:
    write(log_of(keyed))
    anchor_of(keyed).write_bytes(content)
    for act in (lambda: verify(log_at(keyed)), lambda: write(log_of(keyed))):
        with pytest.raises(AuditError, match="anchor of the audit log was changed"):
            act()


def test_a_head_is_no_anchor_and_an_anchor_no_head(keyed: Path) -> None:
    log = write(log_of(keyed), 1)
    head, anchor = log.head.read_bytes(), anchor_of(keyed).read_bytes()
    assert head != anchor
    log.head.write_bytes(anchor)
    with pytest.raises(AuditError, match="head of the audit log was changed"):
        verify(log)
    log.head.write_bytes(head)
    anchor_of(keyed).write_bytes(head)
    with pytest.raises(AuditError, match="anchor of the audit log was changed"):
        verify(log)


def test_without_the_sites_key_an_anchored_log_is_neither_checked_nor_written(keyed: Path) -> None:
    write(log_of(keyed))
    (keyed / "state" / "site.key").rename(keyed / "state" / "away")
    another_log(keyed)
    for act in (lambda: verify(log_at(keyed)), lambda: write(log_of(keyed))):
        with pytest.raises(AuditError, match="the site's key, which sealed the anchor of the audit log, is not here"):
            act()


def test_a_log_of_an_earlier_version_gets_its_anchor_with_the_next_entry_if_it_is_whole(keyed: Path) -> None:
    log = write(log_of(keyed))
    anchor_of(keyed).unlink()
    with pytest.raises(AuditError, match=r"ledger\.db\.audit-[0-9a-f]{8}: audit log has no anchor; start the service"):
        verify(log_at(keyed))
    content = log.path.read_bytes()
    log.path.write_bytes(content.replace(b'"round":1', b'"round":7'))
    with pytest.raises(AuditError, match="entry 2 was changed"):
        write(log_of(keyed))
    assert not anchor_of(keyed).exists()
    log.path.write_bytes(content)
    write(log_of(keyed), 1)
    assert verify(log_at(keyed)).last.number == 4


def test_a_disk_that_takes_no_anchor_stops_the_next_entry(keyed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = log_of(keyed)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(log.anchor, "write", full)
    write(log, 1)
    with pytest.raises(AuditError, match="No space left on device"):
        write(log, 1)
    monkeypatch.undo()
    write(log_of(keyed), 1)
    assert (verify(log_at(keyed)).last.number, anchor_of(keyed).exists()) == (2, True)


def test_a_kill_before_the_head_or_the_anchor_goes_on(keyed: Path) -> None:
    log = write(log_of(keyed), 1)
    head = log.head.read_bytes()
    anchor_of(keyed).unlink()
    write(log_of(keyed), 1)
    log.head.write_bytes(head)
    anchor_of(keyed).unlink()
    write(log_of(keyed), 1)
    assert verify(log_at(keyed)).last.number == 3


def test_a_new_log_is_begun_by_a_person_alone_and_the_old_one_cannot_come_back(keyed: Path) -> None:
    write(log_of(keyed))
    with pytest.raises(AuditError, match="a log is here; move its folder away"):
        log_of(keyed).restart(who="a", reason="x")
    (keyed / "audit").rename(keyed / "moved")
    with pytest.raises(AuditError, match="log was removed"):
        write(log_of(keyed))
    shutil.rmtree(keyed / "audit")
    old = anchor_of(keyed).read_bytes()
    log_of(keyed).restart(who="a", reason="disk")
    first = next(iter(entries(log_of(keyed))))
    assert (first.what, first.about["last"], first.about["reason"]) == ("log-restarted", 1, "disk")
    assert anchor_of(keyed).read_bytes() != old
    write(log_of(keyed))
    assert verify(log_at(keyed)).last.number == 4
    shutil.rmtree(keyed / "audit")
    (keyed / "moved").rename(keyed / "audit")
    with pytest.raises(AuditError, match="entry 1 is not the one that the log's anchor names"):
        verify(log_at(keyed))


def test_a_restart_that_was_killed_before_its_anchor_is_done_again(keyed: Path) -> None:
    write(log_of(keyed))
    old = anchor_of(keyed).read_bytes()
    shutil.rmtree(keyed / "audit")
    log_of(keyed).restart(who="a", reason="disk")
    anchor_of(keyed).write_bytes(old)
    for act in (lambda: verify(log_at(keyed)), lambda: write(log_of(keyed))):
        with pytest.raises(AuditError, match="entry 1 is not the one that the log's anchor names"):
            act()
    shutil.rmtree(keyed / "audit")
    log_of(keyed).restart(who="a", reason="disk")
    assert verify(write(log_of(keyed))).last.number == 4


def test_without_a_site_a_new_log_is_begun_too(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit")
    log.restart(who="a", reason="disk")
    assert verify(write(log)).last.number == 4


def test_a_kits_log_and_that_of_a_policy_outside_have_an_anchor_each(keyed: Path) -> None:
    outside = keyed.parent / "policy" / "site.toml"
    outside.parent.mkdir()
    outside.write_text(SITE.replace("../state", str(keyed / "state")))
    write(log_of(keyed))
    other = write(log_of_site(outside))
    assert other.path == keyed / "state" / "audit" / "audit.jsonl"
    assert set((keyed / "state").glob("ledger*")) == {keyed / "state" / "ledger.db.audit", anchor_of(keyed)}
    assert verify(log_at(keyed)).last.number == verify(log_at(outside)).last.number == 3


def test_two_kits_with_one_ledger_have_an_anchor_each(keyed: Path) -> None:
    """The service's kit in its container, and the one beside it that commands are run with."""
    second = keyed.parent / "second"
    (second / "startup").mkdir(parents=True)
    (second / "local").mkdir()
    (second / "local" / "site.toml").write_text(SITE.replace("../state", str(keyed / "state")))
    write(log_of(keyed))
    write(log_of(second), 2)
    assert (verify(log_at(keyed)).last.number, verify(log_at(second)).last.number) == (3, 2)


def test_a_copy_is_checked_against_the_anchor(keyed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(log_of(keyed))
    copy = keyed.parent / "copy"
    shutil.copytree(keyed / "audit", copy)
    monkeypatch.chdir(keyed / "local")
    assert verify(log_at(copy, site_toml=Path("site.toml"))).last.number == 3
    shutil.rmtree(copy)
    write(AuditLog(copy))
    with pytest.raises(AuditError, match="under another key"):
        verify(log_at(copy, site_toml=Path("site.toml")))


def test_a_log_that_is_put_back_to_before_an_anchor_that_came_late_is_found(keyed: Path) -> None:
    log = write(log_of(keyed), 2)
    old = log.path.read_bytes(), log.head.read_bytes()
    write(log, 2)
    anchor_of(keyed).unlink()
    write(log_of(keyed), 1)
    log.path.write_bytes(old[0])
    log.head.write_bytes(old[1])
    with pytest.raises(AuditError, match="entry 3 is missing: the log ends there, and its anchor is entry 4"):
        verify(log_at(keyed))
    with pytest.raises(AuditError, match="log was cut: entry 4 is missing"):
        write(log_of(keyed))


def test_entries_after_the_anchors_cannot_have_the_key_beside_the_log(keyed: Path) -> None:
    """A forged log that begins after the anchor's entry, says that retention removed it, and keeps the true head."""
    log = write(log_of(keyed))
    head, gone = log.head.read_bytes(), Last(2, "0" * 64)
    empty(keyed)
    log.head.write_bytes(head)
    own = log_of(keyed).keys.make_own(lambda handle: None)
    facts = {"file": "audit-000000000001.jsonl", "first": 1, "last": gone.number, "hash": gone.hash}
    first = make("expired", "a", facts, after=gone, seal=own, now=START)
    second = make("approved", "a", {}, after=Last(first.number, first.hash), seal=own, now=START)
    log.path.write_bytes(first.line() + second.line())
    for act in (lambda: verify(log_at(keyed)), lambda: write(log_of(keyed))):
        with pytest.raises(AuditError, match="under another key"):
            act()


def test_writers_that_begin_a_log_at_once_leave_one_anchor_and_no_fault(keyed: Path) -> None:
    threads = [threading.Thread(target=lambda: write(log_of(keyed), 5)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert verify(log_at(keyed)).last.number == 20
    assert list((keyed / "state").glob("ledger*")) == [anchor_of(keyed)]
