"""The ledger's word on an update: whether the protection that job and hospital agreed on was applied to it.

Every path ends in an update that may leave or in a refusal; the ledger is opened, and so checked, anew each round.
"""

from __future__ import annotations

import numpy as np
from nvflare.apis.fl_context import FLContext

from fedward.errors import GateRefused
from fedward.flare import job_context
from fedward.flare.gates.gate import Door
from fedward.flare.gates.stock_filters import apply_stock_filter
from fedward.privacy.accountant import update_noise_event
from fedward.privacy.attestation import Proof
from fedward.privacy.noise import SecureRandom
from fedward.privacy.outgoing import Filter, protect
from fedward.privacy.policy.agreement import check_noise
from fedward.weights import Weights, digest


def vouched(update: Weights, proof: object, door: Door, *, round_number: int, context: FLContext) -> Weights:
    """The update as it may leave.

    Args:
        update: of the agreed layout, finite, a difference.
        proof: ``Proof.plain()`` under dp-sgd, else None.
        door: the job at this hospital.
        round_number: of the model that this gate's site received for it.
        context: of the task, for FLARE's own filters.

    Raises:
        GateRefused: the proof is missing, of another update, job or round, or the ledger has no such round.
        LedgerError: the ledger is absent or damaged, or has released another update for the round.
        OverBudget: noise on one more update is more than a patient has left.
    """
    makers = {"dp-sgd": _dp_sgd, "update-noise": _update_noise, "none": _unprotected}
    mechanism = door.agreement.mechanism
    if mechanism not in makers or (proof is None) != (mechanism != "dp-sgd"):
        raise GateRefused("update has no proof of its protection" if proof is None else "proof where none is due")
    return makers[mechanism](update, proof, door, round_number, context)


def _dp_sgd(update: Weights, content: object, door: Door, number: int, context: FLContext) -> Weights:
    proof, ledger = Proof.from_plain(content), job_context.open_ledger(door.policy)
    if proof.digest != digest(update):
        raise GateRefused("update is not the one that its proof is for")
    if proof.job_id != door.job_id or proof.round_number != number:
        raise GateRefused("proof is of another job or round")
    entry, charge, asked = ledger.entry(proof.begun), ledger.find(door.job_id), door.agreement.dp_sgd
    due = {"job_id": door.job_id, "round": number, "steps": proof.steps}
    if entry is None or entry.kind != "begin" or any(entry.body.get(name) != value for name, value in due.items()):
        raise GateRefused("ledger has no such round of this job")
    if charge is None or asked is None:
        raise GateRefused("job is not charged")
    made = (proof.sampling_rate, proof.noise_multiplier)
    if made != (charge.event.sampling_rate, charge.event.noise_multiplier):
        raise GateRefused("update was made with another sampling rate or noise than was charged")
    if not proof.clip_norm_l2 <= asked.clip_norm_l2 or not proof.noise_multiplier >= (asked.noise_multiplier or 0.0):
        raise GateRefused("update was made with a larger clip or less noise than the job's")
    check_noise(door.agreement, proof.noise_multiplier)
    safe = protect(update, door.agreement, filters=_filters(door, context))
    ledger.release(proof.begun, digest=proof.digest)
    return safe


def _update_noise(update: Weights, content: object, door: Door, number: int, context: FLContext) -> Weights:
    agreed, ledger = door.agreement, job_context.open_ledger(door.policy)
    charge, due = ledger.find(door.job_id), update_noise_event(agreed.noise_multiplier, rounds=1)
    if charge is None:
        raise GateRefused("job is not charged")
    charged = (charge.event.sampling_rate, charge.event.noise_multiplier)
    if charged != (due.sampling_rate, due.noise_multiplier):
        raise GateRefused("job is charged with other noise than was agreed")
    check_noise(agreed, due.noise_multiplier)
    begun = ledger.begin(door.job_id, round_number=number, steps=1)
    safe = protect(update, agreed, filters=_filters(door, context), source=SecureRandom())
    if all(np.array_equal(safe[name], update[name]) for name in update):
        raise GateRefused("update left its protection unchanged")
    ledger.release(begun.hash, digest=digest(safe))
    return safe


def _unprotected(update: Weights, content: object, door: Door, number: int, context: FLContext) -> Weights:
    if door.agreement.epsilon_cap is not None:
        known = [
            entry.body.get("job_id")
            for entry in job_context.open_ledger(door.policy).entries()
            if entry.kind == "unprotected"
        ]
        if door.job_id not in known:
            raise GateRefused("ledger does not say that this job runs without differential privacy")
    return protect(update, door.agreement, filters=_filters(door, context))


def _filters(door: Door, context: FLContext) -> tuple[Filter, ...]:
    def named(name: str) -> Filter:
        return lambda update: apply_stock_filter(name, update, context)

    return tuple(named(name) for name in door.agreement.filters)
