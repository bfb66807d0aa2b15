"""An update leaves only once the hospital's audit log has it."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedward.audit.place import log_at
from fedward.audit.verify import entries, verify
from fedward.flare.audit_trail import notes
from fedward.flare.refusal import SENTENCES, Code
from tests.support.flare.hospital import Hospital, assert_refused, parts


@pytest.fixture
def kit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "startup").mkdir()
    monkeypatch.setattr(notes, "_kit", lambda context: tmp_path)
    return tmp_path


@pytest.mark.parametrize("privacy", ["none", "dp-sgd", "update-noise"])
def test_an_update_that_leaves_is_in_the_log_with_its_round_protection_and_entry(kit: Path, privacy: str) -> None:
    hospital = Hospital(kit / "site", privacy)
    hospital.receive()
    _, answer = hospital.honest()
    assert "update" in parts(hospital.send(answer))
    verify(log_at(kit))
    (one,) = entries(log_at(kit))
    number = next(entry.number for entry in hospital.record.entries() if entry.kind == "run-leave")
    assert (one.what, one.about["round"], one.about["protection"]) == ("update-left", 0, privacy)
    assert (one.about["job"], one.about["ledger"]) == (hospital.job_id, number)


def test_an_update_that_cannot_be_recorded_stays_and_the_next_round_goes_on(kit: Path) -> None:
    hospital = Hospital(kit / "site")
    hospital.receive()
    update, answer = hospital.honest()
    (kit / "audit").write_text("no folder")
    reason = assert_refused(hospital.send(answer), payload=update)
    assert reason == f"egress gate: {SENTENCES[Code.AUDIT]}"
    (kit / "audit").unlink()
    hospital.receive(number=1)
    assert "update" in parts(hospital.send(hospital.answer(hospital.update())))
    assert [(one.what, one.about["round"]) for one in entries(log_at(kit))] == [("update-left", 1)]


def test_a_gate_that_refuses_is_in_the_log_once(kit: Path) -> None:
    hospital = Hospital(kit / "site")
    for _ in range(3):
        assert_refused(hospital.send(hospital.answer(hospital.update())))
    (one,) = entries(log_at(kit))
    assert one.what == "gate-refused" and one.about["reason"].startswith("egress gate: ")
