"""Record how an update was made, so that the site's own gate can check it against the ledger.

A proof never leaves the hospital: the gate removes it. It convinces only the gate, which runs in the same process. Its
purpose: an update whose protection was skipped, forgotten or undone cannot be sent by mistake.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

from fedward.errors import GateError

PROOF = "fedward_proof"
"""Header of a reply; it carries ``Proof.plain()`` from the executor to the gate."""
_HEX = frozenset("0123456789abcdef")


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """Record of how one round's update was made under DP-SGD.

    Attributes:
        begun: hash of the ledger's entry that was written before the round's training began.
        job_id: FLARE's id of the job.
        round_number: from 0.
        mechanism: only "dp-sgd" has a proof; the gate itself adds noise on the update.
        steps: steps of the round, empty ones included.
        sampling_rate: probability with which each patient was drawn for a step.
        noise_multiplier: noise's standard deviation over ``clip_norm_l2``.
        clip_norm_l2: bound on a patient's gradient.
        digest: ``digest`` of the update that training produced.
    """

    begun: str
    job_id: str
    round_number: int
    mechanism: Literal["dp-sgd"]
    steps: int
    sampling_rate: float
    noise_multiplier: float
    clip_norm_l2: float
    digest: str

    def plain(self) -> dict[str, Any]:
        """Return the proof as JSON-ready data."""
        return asdict(self)

    @classmethod
    def from_plain(cls, content: object) -> Self:
        """Read a proof from plain data: the inverse of ``plain``.

        Raises:
            GateError: a key is missing or extra, or a value is not of its type or range.
        """
        if type(content) is not dict or set(content) != set(cls.__dataclass_fields__):
            raise GateError("proof of protection has other fields than it should")
        for name, good in _FIELDS.items():
            if not good(content[name]):
                raise GateError(f"proof of protection has no usable {name}")
        return cls(**content)


def _hash(value: object) -> bool:
    return type(value) is str and len(value) == 64 and set(value) <= _HEX


def _positive(value: object) -> bool:
    return type(value) is float and math.isfinite(value) and value > 0


_FIELDS = {
    "begun": _hash,
    "job_id": lambda value: type(value) is str and 0 < len(value) <= 128,
    "round_number": lambda value: type(value) is int and value >= 0,
    "mechanism": lambda value: value == "dp-sgd",
    "steps": lambda value: type(value) is int and value >= 0,
    "sampling_rate": lambda value: _positive(value) and value <= 1.0,
    "noise_multiplier": _positive,
    "clip_norm_l2": _positive,
    "digest": _hash,
}
