"""What a sum is about. Every field is bound into the cipher and the tag, so that no part serves in another sum."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Literal

Purpose = Literal["model", "scores", "cohort", "confirm"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SumContext:
    """What every part of one sum has in common; nothing in it is secret.

    Attributes:
        job_id: FLARE's id of the run.
        purpose: whether the numbers are a model's, score histograms or cohort statistics; or a one from each hospital
            that has opened the sum whose ``message.identity`` is ``layout``.
        round_number: from 0; scores have the number of rounds that made the model, all else that is no model has 0.
        layout: SHA-256, 64 hexadecimal digits, of what the numbers mean and in which order; of scores, of whose too.
        context: ``roster.context_of`` the run: its job, its hospitals, and the nonce that each of them drew for it.
        length: how many numbers.
        bits: of one number of the sum, its sign included: 24, 32 or 48.
    """

    job_id: str
    purpose: Purpose
    round_number: int
    layout: str
    context: str
    length: int
    bits: int

    def canonical(self) -> bytes:
        """The same as bytes; two topics that differ have different ones."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode("ascii")
