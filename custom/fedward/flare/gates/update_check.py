"""Check against the ledger that an update was protected as job and hospital agreed.

Every path ends in an update that may leave or in a refusal. The gate opens the ledger itself, and verifies in each
round what was written since: it trusts no entry that it has not checked.
"""

from __future__ import annotations

import numpy as np
from nvflare.apis.fl_context import FLContext

from fedward.errors import GateError
from fedward.flare.gates.state import GateState
from fedward.flare.gates.stock_filters import apply_stock_filter
from fedward.privacy.accountant import Event, update_noise_event
from fedward.privacy.attestation import Proof
from fedward.privacy.ledger.ledger import Ledger
from fedward.privacy.noise import SecureRandom
from fedward.privacy.outgoing import Filter, protect
from fedward.privacy.policy.agreement import check_noise
from fedward.weights import Weights, digest


def checked_update(
    update: Weights, proof: object, state: GateState, *, round_number: int, context: FLContext
) -> Weights:
    """Verify the protection of an update and return the update as it may leave.

    Args:
        update: a finite difference of the agreed layout.
        proof: ``Proof.plain()`` under dp-sgd, else None.
        state: the job at this hospital.
        round_number: round of the model that this gate's site received for it.
        context: context of the task, for FLARE's own filters.

    Raises:
        GateError: the proof is missing, of another update, job or round, or the ledger has no such round.
        LedgerError: the ledger is absent or damaged, or has released another update for the round.
        BudgetError: noise on one more update exceeds the budget that a patient has left.
    """
    makers = {"dp-sgd": _dp_sgd, "update-noise": _update_noise, "none": _unprotected}
    mechanism = state.agreement.mechanism
    if mechanism not in makers or (proof is None) != (mechanism != "dp-sgd"):
        raise GateError("update has no proof of its protection" if proof is None else "proof where none is due")
    return makers[mechanism](update, proof, state, round_number, context)


def require_charged(
    content: object, ledger: Ledger, state: GateState, *, digest: str, round_number: int
) -> tuple[Proof, Event]:
    """Check that what training produced under DP-SGD was made as the ledger was charged, and not otherwise.

    Args:
        content: ``Proof.plain()``, as received.
        ledger: the hospital's, as the gate opened it.
        state: the job at this hospital.
        digest: of what training produced.
        round_number: the round.

    Returns:
        The proof, and the event of the charge.

    Raises:
        GateError: the proof is missing, of another update, job or round, or the ledger has no such round.
    """
    proof, number = Proof.from_plain(content), round_number
    if proof.digest != digest:
        raise GateError("update is not the one that its proof is for")
    if proof.job_id != state.job_id or proof.round_number != number:
        raise GateError("proof is of another job or round")
    entry, charge, asked = ledger.entry(proof.begun), ledger.find(state.job_id), state.agreement.dp_sgd
    expected = {"job_id": state.job_id, "round": number, "steps": proof.steps}
    if entry is None or entry.kind != "begin" or any(entry.body.get(name) != value for name, value in expected.items()):
        raise GateError("ledger has no such round of this job")
    if charge is None or asked is None:
        raise GateError("job is not charged")
    made = (proof.sampling_rate, proof.noise_multiplier)
    if made != (charge.event.sampling_rate, charge.event.noise_multiplier):
        raise GateError("update was made with another sampling rate or noise than was charged")
    if not proof.clip_norm_l2 <= asked.clip_norm_l2 or not proof.noise_multiplier >= (asked.noise_multiplier or 0.0):
        raise GateError("update was made with a larger clip or less noise than the job's")
    check_noise(state.agreement, proof.noise_multiplier)
    return proof, charge.event


def _dp_sgd(update: Weights, content: object, state: GateState, number: int, context: FLContext) -> Weights:
    ledger = state.ledger
    proof, _ = require_charged(content, ledger, state, digest=digest(update), round_number=number)
    safe = protect(update, state.agreement, filters=_filters(state, context))
    ledger.release(proof.begun, digest=proof.digest)
    return safe


def _update_noise(update: Weights, content: object, state: GateState, number: int, context: FLContext) -> Weights:
    agreed, ledger = state.agreement, state.ledger
    charge, expected = ledger.find(state.job_id), update_noise_event(agreed.noise_multiplier, rounds=1)
    if charge is None:
        raise GateError("job is not charged")
    charged = (charge.event.sampling_rate, charge.event.noise_multiplier)
    if charged != (expected.sampling_rate, expected.noise_multiplier):
        raise GateError("job is charged with other noise than was agreed")
    check_noise(agreed, expected.noise_multiplier)
    begun = ledger.begin(state.job_id, round_number=number, steps=1)
    safe = protect(update, agreed, filters=_filters(state, context), source=SecureRandom())
    if all(np.array_equal(safe[name], update[name]) for name in update):
        raise GateError("update left its protection unchanged")
    ledger.release(begun.hash, digest=digest(safe))
    return safe


def _unprotected(update: Weights, content: object, state: GateState, number: int, context: FLContext) -> Weights:
    if state.agreement.epsilon_cap is not None:
        known = [entry.body.get("job_id") for entry in state.ledger.entries() if entry.kind == "unprotected"]
        if state.job_id not in known:
            raise GateError("ledger does not say that this job runs without differential privacy")
    return protect(update, state.agreement, filters=_filters(state, context))


def _filters(state: GateState, context: FLContext) -> tuple[Filter, ...]:
    def named(name: str) -> Filter:
        return lambda update: apply_stock_filter(name, update, context)

    return tuple(named(name) for name in state.agreement.filters)
