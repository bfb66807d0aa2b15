"""Check a round's ledger entry for each site, and the count of bytes."""

from __future__ import annotations

import numpy as np
import pytest
from nvflare.apis.dxo import DXO, DataKind

from fedward.errors import JobError
from fedward.flare.protocol import Model, Reply, question, to_shareable
from fedward.flare.server.participation import (
    NO_ANSWER,
    TaskTraffic,
    participation,
    patients_of,
    patients_together,
    payload_bytes,
    required_steps,
)

WEIGHTS = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.float32([1.5])}


def test_bytes_are_those_of_arrays_and_messages_at_any_depth() -> None:
    assert payload_bytes(question(Model(after=0, weights=WEIGHTS), round_number=0)) == 28
    assert payload_bytes(question(Model(after=1, sealed=b"x" * 40, confirmed=b"y" * 2), round_number=1)) == 42
    assert payload_bytes(to_shareable(Reply(metrics={"loss": 0.5}, update=WEIGHTS))) == 28
    sealed = Reply(metrics={}, sealed={"model": b"z" * 11, "clipped": 3, "key": "k" * 32})
    assert payload_bytes(to_shareable(sealed)) == 11
    assert payload_bytes(question(None, round_number=-1)) == 0


@pytest.mark.parametrize(
    ("content", "size"),
    [
        ({"a": [b"12", (b"3", {"b": np.zeros((2, 0))})]}, 3),
        (np.float64(1.0), 8),
        (DXO(data_kind=DataKind.WEIGHTS, data={"a": np.zeros(3, np.int16)}), 6),
        (memoryview(np.zeros((2, 2), np.float32)), 16),
        ("words", 0),
        (7, 0),
        (None, 0),
    ],
)
def test_whatever_else_there_is(content: object, size: int) -> None:
    assert payload_bytes(content) == size


def test_a_part_counts_from_its_first_sending_and_every_byte_that_was_sent() -> None:
    part = TaskTraffic()
    part.sent(at=10.0, payload=100)
    part.sent(at=14.0, payload=100)  # its connection broke and it asked again
    part.answered(at=17.5, payload=30)
    assert part.measured() == {"seconds": 7.5, "sent_bytes": 200, "received_bytes": 30}


def test_a_rounds_ledger_has_every_site_that_was_asked() -> None:
    trained = TaskTraffic(sent_at=0.0, sent_bytes=10, seconds=2.0, received_bytes=8, trained=True, steps=7)
    silent = TaskTraffic(sent_at=0.0, sent_bytes=10)
    ledger = participation(
        ["south", "coast", "north", "city"],
        {"city": 40, "coast": None},
        refused={"north": "answer brings no update"},
        parts={"city": trained, "coast": trained, "north": trained, "south": silent},
        unchosen={},
    )
    assert list(ledger) == ["city", "coast", "north", "south"]
    measured = {"seconds": 2.0, "sent_bytes": 10, "received_bytes": 8}
    assert ledger["city"] == {
        "outcome": "accepted",
        "reason": None,
        "trained": True,
        "patients": 40,
        "steps": 7,
        **measured,
    }
    assert ledger["coast"]["patients"] is None and ledger["coast"]["outcome"] == "accepted"
    assert ledger["north"] == {
        "outcome": "dropped",
        "reason": "answer brings no update",
        "trained": True,
        "patients": None,
        "steps": 7,
        **measured,
    }
    assert ledger["south"]["reason"] == NO_ANSWER and not ledger["south"]["trained"]
    assert ledger["south"]["received_bytes"] is None, "nothing came, which is not nothing received"
    assert patients_together(ledger) == 40
    assert patients_together({"north": ledger["north"]}) is None


@pytest.mark.parametrize(("told", "patients"), [(12, 12), (0, 0), (None, None), (-1, None), (True, None), ("12", None)])
def test_patients_are_what_a_site_says_or_nothing(told: object, patients: int | None) -> None:
    assert patients_of({"patients": told}) == patients
    assert patients_of({}) is None


@pytest.mark.parametrize("steps", [16, 8, 4])
def test_steps_by_which_an_update_is_weighed(steps: int) -> None:
    assert required_steps({"steps": steps}, planned=16) == steps


@pytest.mark.parametrize("steps", [None, 0, 3, 17, 10**9, True, "16", 16.0])
def test_steps_that_would_scale_the_updates_at_will(steps: object) -> None:
    with pytest.raises(JobError, match="no steps that the job allows"):
        required_steps({"steps": steps}, planned=16)


def test_without_planned_steps_none_are_allowed() -> None:
    with pytest.raises(JobError, match="no steps that the job allows"):
        required_steps({"steps": 16}, planned=None)
