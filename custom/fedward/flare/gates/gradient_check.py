"""Check a hospital's clipped gradients against the ledger, add its share of the noise, and seal the result.

Every path ends in a sealed sum with noise or in a refusal. The executor hands over whole numbers that were clipped and
not noised; the share of the noise is drawn in the gate, after the last check.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from fedward.errors import GateError
from fedward.flare.gates.state import GateState
from fedward.flare.gates.update_check import require_charged
from fedward.flare.protocol import MODEL
from fedward.privacy.outgoing import check_units
from fedward.privacy.sum_noise import sum_grid
from fedward.weights import digest, flatten_units


def noised_gradients(
    content: object, proof: object, state: GateState, *, round_number: int, base: str
) -> dict[str, Any]:
    """Return the sealed part of a round's answer.

    Args:
        content: trained tensor -> clipped sum, int64, as received from the executor.
        proof: ``Proof.plain()``, as received.
        state: the job at this hospital.
        round_number: round of the model that this gate's site received for it.
        base: identity of that model.

    Raises:
        GateError: the proof is missing, of other gradients, job or round; the ledger has no such round; or the numbers
            are not those of a clipped sum.
        LedgerError: the ledger is absent or damaged, or has released other gradients for the round.
    """
    gradients, ledger = state.secure_aggregation.gradients, state.ledger
    units = check_units(content, gradients.layout)
    checked, event = require_charged(proof, ledger, state, digest=digest(units), round_number=round_number)
    flat = flatten_units(units)
    grid = sum_grid(state.job, values=flat.size)
    norm = float(np.linalg.norm(flat.astype(np.float64)))
    if checked.steps != 1 or not norm <= len(ledger.patients_of(state.job_id)) * grid.most_l2:
        raise GateError("update is longer than its clip")
    sealed = gradients.seal(flat, noise_multiplier=event.noise_multiplier, round_number=round_number, base=base)
    # of the message, and not of the gradients: their digest would tell of a step that drew nobody
    ledger.release(checked.begun, digest=hashlib.sha256(sealed[MODEL]).hexdigest())
    return sealed
