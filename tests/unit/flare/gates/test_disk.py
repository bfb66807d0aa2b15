"""The disk or another process is in the way of the ledger: one task is refused, nothing leaves, and the job goes on."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fedward.errors import LedgerError
from fedward.flare.protocol import REFUSED_AT_DOOR, Task, global_weights, refusal, refuse
from fedward.flare.refusal import SENTENCES, Code
from fedward.privacy.ledger import chain_store
from fedward.privacy.ledger.run_record import Record
from fedward.privacy.ledger.runs import LEAVE
from tests.support.flare.hospital import Hospital, assert_refused, parts
from tests.support.flare.three import Three

PRIVACY = ["none", "clipped", "update-noise", "dp-sgd"]


def sqlite_full() -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorcode = sqlite3.SQLITE_FULL
    return error


@contextmanager
def failing(at: int, error: Exception, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The ledger cannot be opened from the turn with this number on; the list counts the turns."""
    connect, seen = chain_store._connect, [0]

    def guarded(*args: Any, **named: Any) -> Any:
        seen[0] += 1
        if seen[0] >= at:
            raise error
        return connect(*args, **named)

    with monkeypatch.context() as patch:
        patch.setattr(chain_store, "_connect", guarded)
        yield seen


def rounds_left(hospital: Hospital) -> list[int]:
    return [entry.body["round"] for entry in hospital.record.entries() if entry.kind == LEAVE]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (sqlite_full(), Code.DISK_FULL),
        (OSError(errno.ENOSPC, "MARK"), Code.DISK_FULL),
        (OSError(errno.EIO, "MARK"), Code.LEDGER_IO),
    ],
    ids=["sqlite", "full", "broken"],
)
@pytest.mark.parametrize("privacy", PRIVACY)
def test_from_whichever_turn_on_the_disk_is_full_the_update_has_its_entry_or_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, privacy: str, error: Exception, code: Code
) -> None:
    refusals = 0
    for at in range(1, 40):
        hospital = Hospital(tmp_path / str(at), privacy, changes={"federation": {"rounds": 4}})
        update, proof = hospital.update(), None
        if privacy == "dp-sgd":
            proof = hospital.proof(update)
        answer = hospital.answer(update, proof=proof)
        with failing(at, error, monkeypatch) as seen:
            received = hospital.receive()
            if received.get_header(REFUSED_AT_DOOR):
                answer = refuse(Code.AT_DOOR)
            sent = hospital.send(answer)
        if refusal(sent) is None:
            assert rounds_left(hospital) == [0] and received.get_header(REFUSED_AT_DOOR) is None
        else:
            refusals += 1
            assert_refused(sent, payload=update)
            assert refusal(sent) in (f"ingress gate: {SENTENCES[code]}", f"egress gate: {SENTENCES[code]}")
            assert rounds_left(hospital) == []
        # there is room again: the same process goes on, with the same round or the next
        number = 0 if at % 2 else 1
        assert global_weights(hospital.receive(number=number))
        update = hospital.update(seed=1)
        again = hospital.proof(update, number=number) if privacy == "dp-sgd" else None
        parts(hospital.send(hospital.answer(update, proof=again)))
        assert rounds_left(hospital)[-1] == number
        if seen[0] < at:
            break
    else:
        pytest.fail("more turns than expected")
    assert refusals >= 3


def test_a_sum_that_could_not_be_recorded_is_opened_when_it_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    three = Three(tmp_path, federation={"rounds": 3})
    made, _ = three.round(three.exchange.initial)
    city = three.hospitals["city"]
    for at in range(1, 40):
        with failing(at, sqlite_full(), monkeypatch) as seen:
            received = three.give("city", Task.ROUND, made, number=1)
        opened = city.record.require(city.job_id).opened("model", 0)
        if seen[0] < at:
            assert global_weights(received) and opened is not None
            break
        assert SENTENCES[Code.DISK_FULL] in str(received.get_header(REFUSED_AT_DOOR))
    else:
        pytest.fail("more turns than expected")
    assert at > 1


def test_an_admission_that_could_not_be_recorded_is_taken_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hospital = Hospital(tmp_path, admitted=False)
    for at in (1, 2):
        with failing(at, sqlite_full(), monkeypatch):
            assert hospital.receive(task=Task.ADMIT).get_header(REFUSED_AT_DOOR)
    assert hospital.ingress.standing(hospital.context(Task.ADMIT)) is None


def test_of_a_task_that_was_refused_at_the_door_nothing_leaves_but_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the executor answers, and once: the next task has its own answer."""
    hospital = Hospital(tmp_path)
    with failing(1, sqlite_full(), monkeypatch):
        hospital.receive(task=Task.FINAL)
    assert_refused(hospital.send(hospital.answer(), Task.FINAL), says=f"ingress gate: {SENTENCES[Code.DISK_FULL]}")
    assert global_weights(hospital.receive(task=Task.FINAL))
    assert set(parts(hospital.send(hospital.answer(), Task.FINAL))) == {"metrics"}


def test_a_fault_in_the_content_still_ends_the_job_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hospital = Hospital(tmp_path)
    hospital.receive()

    def broken(*args: object, **named: object) -> None:
        raise LedgerError("entry 3 was changed")

    with monkeypatch.context() as patch:
        patch.setattr(Record, "leave", broken)
        assert_refused(hospital.send(hospital.answer(hospital.update())), says=SENTENCES[Code.LEDGER])
    assert SENTENCES[Code.LEDGER] in str(hospital.receive().get_header(REFUSED_AT_DOOR)), "it stays refused"


def test_a_sentence_that_cannot_be_made_ends_the_job_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hospital = Hospital(tmp_path)
    hospital.receive()

    def fails(error: object) -> None:
        raise RuntimeError("MARK")

    with failing(1, sqlite_full(), monkeypatch), monkeypatch.context() as patch:
        patch.setattr("fedward.flare.gates.gate.public_reason", fails)
        assert_refused(hospital.send(hospital.answer(hospital.update())))
    assert hospital.receive().get_header(REFUSED_AT_DOOR)
