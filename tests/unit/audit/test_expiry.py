"""Retention of an audit log: it removes no file of a log with a fault, and a file has its first entry's number."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from fedward.audit.expiry import expire, older
from fedward.audit.files import rotated
from fedward.audit.log import AuditLog
from fedward.audit.verify import verify
from fedward.errors import AuditError
from fedward.indexing.site_key import load_key
from tests.support.audit_log import START, of_rounds, written
from tests.unit.audit.test_anchor import SITE

ACTS: list[tuple[str, str, dict[str, object]]] = [("round-complete", "a", {"round": number}) for number in range(6)]


@pytest.fixture
def log(tmp_path: Path) -> AuditLog:
    return written(tmp_path / "kit" / "audit", ACTS, rotate_bytes=300)


def change(path: Path, old: bytes, new: bytes) -> None:
    assert old in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(old, new))


def test_a_changed_file_is_never_removed(log: AuditLog) -> None:
    """An attacker without the key dates the file back, so that retention takes its change along."""
    before = rotated(log.path)
    assert len(before) >= 2
    for path in before[:2]:
        change(path, b'"at":"2026', b'"at":"2020')
    change(before[0], b'"what":"round-complete"', b'"what":"job-finished"')
    for act in (lambda: older(log, START), lambda: expire(log, START, who="a")):
        with pytest.raises(AuditError, match="entry 1 was changed") as raised:
            act()
        assert "\n" not in str(raised.value)
    assert rotated(log.path) == before
    with pytest.raises(AuditError, match="entry 1 was changed"):
        verify(log)


def test_a_fault_in_a_file_that_is_not_due_removes_nothing(log: AuditLog) -> None:
    before = rotated(log.path)
    change(log.path, b'"round":5', b'"round":9')
    with pytest.raises(AuditError, match="entry 6 was changed"):
        expire(log, START + timedelta(minutes=3), who="a")
    assert rotated(log.path) == before


def test_a_renamed_file_is_found(log: AuditLog) -> None:
    rotated(log.path)[0].rename(log.path.with_name("audit-000000000002.jsonl"))
    for act in (lambda: verify(log), lambda: expire(log, START + timedelta(days=1), who="a")):
        with pytest.raises(AuditError, match="closed file was renamed: its first entry is 1"):
            act()


def test_an_empty_closed_file_is_found(log: AuditLog) -> None:
    log.path.with_name("audit-000000000099.jsonl").touch()
    with pytest.raises(AuditError, match="closed file of the audit log is empty"):
        verify(log)


def test_two_cleanings_at_once_remove_a_file_once(log: AuditLog, monkeypatch: pytest.MonkeyPatch) -> None:
    from fedward.audit import expiry

    due = expiry._due(log, START + timedelta(days=1))
    monkeypatch.setattr(expiry, "_due", lambda log, before: due)
    assert len(expire(log, START, who="a")) == len(due)
    assert expire(log, START, who="b") == []
    assert verify(log).first > 1


def test_a_log_that_was_not_begun_has_nothing_due(tmp_path: Path) -> None:
    assert older(AuditLog(tmp_path / "audit"), START) == []


def test_the_anchors_own_entry_may_be_removed(tmp_path: Path) -> None:
    kit = tmp_path / "kit"
    for name in ("startup", "local", "state"):
        (kit / name).mkdir(parents=True)
    site_toml = kit / "local" / "site.toml"
    site_toml.write_text(SITE)
    load_key(kit / "state" / "site.key")
    moments = iter(range(100))
    log = AuditLog(
        kit / "audit", site_toml=site_toml, rotate_bytes=500, clock=lambda: START + timedelta(minutes=next(moments))
    )
    for what, who, about in ACTS:
        log.append(what, who=who, about=about)
    assert expire(log, START + timedelta(days=1), who="a")
    assert verify(log).first > 1
    log.append("signed-in", who="a", about={})
    for path in (kit / "audit").iterdir():
        path.unlink()
    of_rounds(kit / "audit", 20)
    with pytest.raises(AuditError, match="under another key"):
        verify(AuditLog(kit / "audit", site_toml=site_toml))
