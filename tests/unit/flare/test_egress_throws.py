"""Whatever the egress gate calls may throw: nothing of the answer leaves, now or later."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fedward.errors import GateRefused
from fedward.flare.egress import EgressGate
from fedward.flare.protocol import Task
from tests.unit.flare.hospital import Hospital, assert_refused, nan

Make = Callable[..., Hospital]


CALLS = [
    "fedward.flare.door._key",
    "fedward.flare.door.agree",
    "fedward.flare.door.app.job_spec",
    "fedward.flare.door.app.site_policy",
    "fedward.flare.door.layout_of",
    "fedward.flare.door.one_line",
    "fedward.flare.door.public_reason",
    "fedward.flare.egress._content",
    "fedward.flare.egress._metrics",
    "fedward.flare.egress._parts",
    "fedward.flare.egress._passed",
    "fedward.flare.egress._update",
    "fedward.flare.egress.check_difference",
    "fedward.flare.egress.check_tensors",
    "fedward.flare.egress.open_door",
    "fedward.flare.egress.refuse",
    "fedward.flare.egress.refused",
    "fedward.flare.egress.release",
    "fedward.flare.egress.task_of",
    "fedward.flare.egress.to_shareable",
    "fedward.flare.egress.EgressGate.latch",
    "fedward.flare.egress.EgressGate.standing",
    "fedward.flare.vouch._filters",
    "fedward.flare.app.open_ledger",
    "fedward.privacy.ledger.ledger.Ledger.open",
    "fedward.flare.app.load_key",
    "fedward.flare.vouch.protect",
    "fedward.flare.vouch.vouched",
    "fedward.training.networks.initial_weights",
]
ONLY = {
    "dp-sgd": [
        "fedward.privacy.ledger.ledger.Ledger.entry",
        "fedward.privacy.ledger.ledger.Ledger.find",
        "fedward.privacy.ledger.ledger.Ledger.release",
        "fedward.flare.vouch.Proof.from_plain",
        "fedward.flare.vouch.check_noise",
        "fedward.flare.vouch.digest",
    ],
    "update-noise": [
        "fedward.privacy.ledger.ledger.Ledger.begin",
        "fedward.privacy.ledger.ledger.Ledger.find",
        "fedward.privacy.ledger.ledger.Ledger.release",
        "fedward.flare.vouch.SecureRandom",
        "fedward.flare.vouch.check_noise",
        "fedward.flare.vouch.digest",
        "fedward.flare.vouch.update_noise_event",
        "fedward.privacy.outgoing.add_gaussian",
        "fedward.privacy.outgoing.clip_global",
    ],
    "none": ["fedward.privacy.ledger.ledger.Ledger.entries"],
}


@pytest.mark.parametrize(
    ("privacy", "call"), [(privacy, call) for privacy, more in ONLY.items() for call in [*CALLS, *more]]
)
@pytest.mark.parametrize("error", [RuntimeError("MARK DOE"), GateRefused("told", value="MARK")], ids=["any", "own"])
def test_whatever_throws_nothing_leaves(
    make: Make, monkeypatch: pytest.MonkeyPatch, privacy: str, call: str, error: Exception
) -> None:
    """FLARE answers an exception of a filter with a bare return code, so that a raise is closed as well."""
    thrown = []

    def fail(*args: object, **kwargs: object) -> None:
        thrown.append(call)
        raise error

    hospital = make(privacy, received=False)
    if call in ("fedward.flare.door.one_line", "fedward.flare.door.public_reason", "fedward.flare.egress.refuse") or (
        call.endswith("latch")
    ):
        hospital.receive()
        update, _ = hospital.honest()
        answer = hospital.answer(nan(update, min(update)))  # these are called once something else is wrong
    elif call in ("fedward.flare.door.layout_of", "fedward.training.networks.initial_weights"):
        update, answer = hospital.honest()  # called by the first gate that needs them
        hospital.receive()
        from fedward.flare.door import open_door

        door = open_door(hospital.context(Task.ROUND))
        for name in ("initial", "layout", "agreement"):
            door.__dict__.pop(name, None)
    else:
        hospital.receive()
        update, answer = hospital.honest()
        from fedward.flare.door import _DOORS, open_door

        door = open_door(hospital.context(Task.ROUND))
        door.__dict__.pop("agreement", None)
        if "job_spec" in call or "site_policy" in call:
            _DOORS.clear()
    monkeypatch.setattr(call, fail)
    for task in (Task.ROUND, Task.ROUND):
        try:
            message = hospital.send(answer, task)
        except Exception as raised:  # noqa: BLE001 - as FLARE catches it
            assert raised is error
        else:
            assert_refused(message, payload=update)
    assert thrown
    monkeypatch.undo()
    if call not in ("fedward.flare.door._key", "fedward.flare.egress.EgressGate.standing"):
        hospital.receive()
        try:
            message = hospital.send(answer)
        except Exception as raised:  # noqa: BLE001
            assert raised is error
        else:
            if not call.endswith("latch"):
                assert_refused(message, payload=update)


def test_the_sites_log_failing_does_not_open_the_gate(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(EgressGate, "log_error", fail)
    monkeypatch.setattr(EgressGate, "log_exception", fail)
    hospital = make()
    update = nan(hospital.update(), min(hospital.model))
    assert_refused(hospital.send(hospital.answer(update)), says="not finite", payload=update)


def test_the_log_has_the_reason_and_fires_no_event(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    said = []
    monkeypatch.setattr(EgressGate, "log_error", lambda self, context, text, **how: said.append((text, how)))
    hospital = make()
    hospital.send(hospital.answer())
    assert said == [("egress gate refused: round answers without an update", {"fire_event": False})]
