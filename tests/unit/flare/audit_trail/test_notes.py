"""Acts of FLARE's processes: where they are recorded, and what happens where they cannot be."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from nvflare.apis.fl_constant import ReservedKey
from nvflare.apis.fl_context import FLContext

from fedward.audit.actions import ACTIONS, EXPIRED, KEYED, TORN, UNDONE
from fedward.audit.place import log_at
from fedward.audit.verify import entries, verify
from fedward.errors import AuditError
from fedward.flare.audit_trail import notes
from fedward.flare.audit_trail.job_trail import ACTS, JobTrail
from fedward.flare.audit_trail.sign_ins import SignIns
from fedward.flare.gates.audit import note_opened, note_update
from fedward.metrics.events import KINDS
from tests.support.flare.hospital import Hospital


@pytest.fixture
def kit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "startup").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(notes, "_REFUSALS", notes._Refusals())
    return tmp_path


def context_of(kit: Path, job_id: str = "j1") -> FLContext:
    context = FLContext()
    workspace = SimpleNamespace(get_root_dir=lambda: str(kit))
    context.set_prop(ReservedKey.ENGINE, SimpleNamespace(get_workspace=lambda: workspace), private=True)
    context.set_prop(ReservedKey.RUN_NUM, job_id, private=False)
    return context


def found(kit: Path) -> list[tuple[str, Mapping[str, Any]]]:
    verify(log_at(kit))
    return [(one.what, one.about) for one in entries(log_at(kit))]


def broken(kit: Path) -> None:
    notes.note_here("process-started")
    (kit / "audit" / "audit.head").write_text("{}")


def test_an_act_is_recorded_with_its_job(kit: Path) -> None:
    notes.note(context_of(kit), "admitted", name="tb")
    notes.for_job(context_of(kit, "j2"))("run-ended", name="tb")
    assert found(kit) == [("admitted", {"job": "j1", "name": "tb"}), ("run-ended", {"job": "j2", "name": "tb"})]


def test_a_process_without_a_kit_records_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    notes.note(context_of(tmp_path), "update-left", round=1)
    notes.note(FLContext(), "update-left", round=1)
    notes.note_here("process-started")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("what", ACTIONS)
def test_an_act_that_must_be_recorded_is_refused_and_another_is_told(
    kit: Path, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    broken(kit)
    with caplog.at_level(logging.WARNING, "fedward.audit"):
        if ACTIONS[what].must:
            with pytest.raises(AuditError, match=f"{what} is refused: head of the audit log was changed"):
                notes.note(context_of(kit), what)
        else:
            notes.note(context_of(kit), what)
            assert f"{what} is not in the audit log" in caplog.text


@pytest.mark.parametrize("must", [True, False])
def test_any_other_error_refuses_too_or_is_told(
    kit: Path, must: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("DOE")

    monkeypatch.setattr(notes.writer, "note", fail)
    if must:
        with pytest.raises(AuditError, match=r"update-left is refused: it cannot be recorded \(RuntimeError\)"):
            notes.note(context_of(kit), "update-left")
    else:
        notes.note(context_of(kit), "task-refused")
        assert "task-refused is not in the audit log: RuntimeError" in caplog.text and "DOE" not in caplog.text


def test_no_sender_fills_the_log_with_refusals(kit: Path) -> None:
    for number in range(notes.MOST_REFUSALS + 40):
        notes.checked("job-deployed", "job-refused", "no", who=None, job=f"j{number}")
    kept = found(kit)
    assert len(kept) == notes.MOST_REFUSALS + 1
    assert kept[0][1] == {"job": "j0", "reason": "no"} and kept[-1][1] == {"reason": notes.LEFT_OUT}
    clock = iter([0.0] * 101 + [3601.0] * 2)
    refusals = notes._Refusals(lambda: next(clock))
    assert [refusals.left("job-refused") for _ in range(103)][-4:] == [2, 1, 101, 100]


@pytest.mark.parametrize("job", [None, 7, b"x", {"a": 1}])
def test_a_job_that_is_no_text_is_left_out(kit: Path, job: object) -> None:
    notes.checked("job-deployed", "job-refused", "no id", who=None, job=job)
    (one,) = entries(log_at(kit))
    assert (one.who, one.what, one.about) == ("not proven", "job-refused", {"reason": "no id"})


def test_the_course_of_a_job_is_recorded_and_every_event_passed_on(kit: Path) -> None:
    passed: list[Mapping[str, Any]] = []
    trail = JobTrail(passed.append, context_of(kit))
    events: list[dict[str, Any]] = [
        {"event": "started", "job": "tb", "rounds": 1, "sites": ["a", "b", "c"], "coverage": {}},
        {"event": "admitted", "site": "a", "privacy": {}},
        {"event": "admitted", "site": "b"},
        {"event": "declined", "site": "c", "reason": "no such cohort"},
        {"event": "answered", "site": "a", "task": "round", "metrics": {}},
        {"event": "round", "round": 0, "sites": ["a", "b"], "wall_s": 1.5},
        {"event": "returned", "site": 1.5, "round": 0},
        {"event": "finished", "rounds": 1, "missing": {"b": "no answer"}},
    ]
    for event in events:
        trail(event)
    assert passed == events
    assert found(kit) == [
        ("job-started", {"job": "j1", "name": "tb", "rounds": 1, "sites": ["a", "b", "c"]}),
        ("site-declined", {"job": "j1", "site": "c", "reason": "no such cohort"}),
        ("sites-admitted", {"job": "j1", "sites": ["a", "b"]}),
        ("round-complete", {"job": "j1", "round": 0, "sites": ["a", "b"]}),
        ("job-finished", {"job": "j1", "rounds": 1, "missing": ["b: no answer"]}),
    ]


def test_every_act_of_a_jobs_trail_is_one_and_every_end_has_one() -> None:
    assert {act for act, _ in ACTS.values()} <= set(ACTIONS)
    assert {"started", "finished", "failed"} <= set(ACTS) & set(KINDS)


def test_sites_sign_in_and_out(kit: Path) -> None:
    sign_ins = SignIns()
    for names in ({}, {"t1": "a", "t2": "b"}, {"t1": "a", "t2": "b"}, {"t3": "a", "t2": "b"}, {"t3": "a"}):
        sign_ins.seen(names)
    log = [(one.what, one.who) for one in entries(log_at(kit))]
    assert log == [("signed-in", "a"), ("signed-in", "b"), ("signed-out", "a"), ("signed-in", "a"), ("signed-out", "b")]


def test_what_the_gate_lets_out_names_its_entry_in_the_ledger(kit: Path) -> None:
    hospital = Hospital(kit / "north")
    number = hospital.record.leave(hospital.job_id, round_number=0, model="0" * 64, repeats=2)
    state = SimpleNamespace(
        job=hospital.job, job_id=hospital.job_id, record=hospital.record, agreement=SimpleNamespace(mechanism="dp-sgd")
    )
    note_update(state, context_of(kit, hospital.job_id), round_number=0, entry=number)  # type: ignore[arg-type]
    note_opened(state, context_of(kit, hospital.job_id))  # type: ignore[arg-type]
    assert number == hospital.record.entries()[-1].number
    assert found(kit) == [
        ("update-left", {"job": hospital.job_id, "round": 0, "protection": "dp-sgd", "ledger": number}),
        ("model-opened", {"job": hospital.job_id, "protection": "dp-sgd"}),
    ]


def test_the_logs_own_acts_are_no_ones_else() -> None:
    assert {TORN, KEYED, EXPIRED, UNDONE} <= set(ACTIONS)
    assert not {TORN, KEYED, EXPIRED, UNDONE} & {act for act, _ in ACTS.values()}
