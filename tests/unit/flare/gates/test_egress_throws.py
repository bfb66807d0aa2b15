"""Whatever the egress gate calls may throw: nothing of the answer leaves, now or later."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fedward.errors import GateError
from fedward.flare.gates.egress import EgressGate
from fedward.flare.protocol import Task
from tests.support.flare.hospital import Hospital, assert_refused, nan

Make = Callable[..., Hospital]


CALLS = [
    "fedward.flare.gates.gate._key",
    "fedward.flare.gates.state.agree",
    "fedward.flare.gates.gate.job_context.job_spec",
    "fedward.flare.gates.gate.job_context.site_policy",
    "fedward.flare.gates.state.layout_of",
    "fedward.flare.gates.gate.one_line",
    "fedward.flare.gates.gate.public_reason",
    "fedward.flare.gates.egress._content",
    "fedward.flare.gates.egress._metrics",
    "fedward.flare.gates.egress._parts",
    "fedward.flare.gates.egress._passed",
    "fedward.flare.gates.egress._update",
    "fedward.flare.gates.egress.check_difference",
    "fedward.flare.gates.egress.check_tensors",
    "fedward.flare.gates.egress.gate_state",
    "fedward.flare.gates.egress.refuse",
    "fedward.privacy.disclosure.release.faults",
    "fedward.flare.gates.egress.release",
    "fedward.flare.gates.egress.task_of",
    "fedward.flare.gates.egress.to_shareable",
    "fedward.flare.gates.egress.EgressGate.latch",
    "fedward.flare.gates.egress.EgressGate.standing",
    "fedward.flare.gates.update_check._filters",
    "fedward.flare.job_context.open_ledger",
    "fedward.privacy.ledger.ledger.Ledger.open",
    "fedward.flare.job_context.load_key",
    "fedward.flare.gates.update_check.protect",
    "fedward.flare.gates.update_check.checked_update",
    "fedward.training.networks.initial_weights",
]
ONLY = {
    "dp-sgd": [
        "fedward.privacy.ledger.ledger.Ledger.entry",
        "fedward.privacy.ledger.ledger.Ledger.find",
        "fedward.privacy.ledger.ledger.Ledger.release",
        "fedward.flare.gates.update_check.Proof.from_plain",
        "fedward.flare.gates.update_check.check_noise",
        "fedward.flare.gates.update_check.digest",
    ],
    "update-noise": [
        "fedward.privacy.ledger.ledger.Ledger.begin",
        "fedward.privacy.ledger.ledger.Ledger.find",
        "fedward.privacy.ledger.ledger.Ledger.release",
        "fedward.flare.gates.update_check.SecureRandom",
        "fedward.flare.gates.update_check.check_noise",
        "fedward.flare.gates.update_check.digest",
        "fedward.flare.gates.update_check.update_noise_event",
        "fedward.privacy.outgoing.add_noise",
        "fedward.privacy.outgoing.clip_global",
    ],
    "none": ["fedward.privacy.ledger.ledger.Ledger.entries"],
}


@pytest.mark.parametrize(
    ("privacy", "call"), [(privacy, call) for privacy, more in ONLY.items() for call in [*CALLS, *more]]
)
@pytest.mark.parametrize("error", [RuntimeError("MARK DOE"), GateError("told", value="MARK")], ids=["any", "own"])
def test_whatever_throws_nothing_leaves(
    make: Make, monkeypatch: pytest.MonkeyPatch, privacy: str, call: str, error: Exception
) -> None:
    """FLARE answers an exception of a filter with a bare return code, so that a raise is closed as well."""
    thrown = []

    def fail(*args: object, **kwargs: object) -> None:
        thrown.append(call)
        raise error

    hospital = make(privacy, received=False)
    if call in (
        "fedward.flare.gates.gate.one_line",
        "fedward.flare.gates.gate.public_reason",
        "fedward.flare.gates.egress.refuse",
    ) or (call.endswith("latch")):
        hospital.receive()
        update, _ = hospital.honest()
        answer = hospital.answer(nan(update, min(update)))  # these are called once something else is wrong
    elif call in ("fedward.flare.gates.state.layout_of", "fedward.training.networks.initial_weights"):
        update, answer = hospital.honest()  # called by the first gate that needs them
        hospital.receive()
        from fedward.flare.gates import gate
        from fedward.flare.gates.gate import gate_state

        door = gate_state(hospital.context(Task.ROUND))
        for name in ("initial", "layout", "agreement"):
            door.__dict__.pop(name, None)
    else:
        hospital.receive()
        update, answer = hospital.honest()
        from fedward.flare.gates import gate
        from fedward.flare.gates.gate import gate_state

        door = gate_state(hospital.context(Task.ROUND))
        door.__dict__.pop("agreement", None)
        if "job_spec" in call or "site_policy" in call:
            gate._STATES.clear()
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
    if call not in ("fedward.flare.gates.gate._key", "fedward.flare.gates.egress.EgressGate.standing"):
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
