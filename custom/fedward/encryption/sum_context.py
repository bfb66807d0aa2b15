"""Identify one sum. Every field is bound into the cipher and the tag, so that a message fits into no other sum."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import Literal

Purpose = Literal["model", "scores", "cohort", "confirm"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SumContext:
    """Identity of one sum, the same in every message that is added to it; nothing in it is secret.

    Attributes:
        job_id: FLARE's id of the run.
        purpose: kind of the numbers: of what the next model is made, which is weights or gradients; score histograms or
            cohort statistics; or, to confirm, a 1 from each hospital that has opened the sum whose ``message.identity``
            is ``layout``.
        round_number: from 0; for scores the number of rounds that made the model, for cohort and confirm 0.
        layout: SHA-256, 64 hexadecimal digits, of the numbers' meaning and order; for scores, of the model too.
        context: ``roster.context_of`` the run: its job, its hospitals, and the nonce that each of them drew for it.
        length: number of numbers.
        base: identity of the sealed model that the hospitals' models of a round started from (``message.identity``), so
            that models of different origin have no sum; 64 zeros for the initial model, and where there is none.
        bits: of one number of the sum, its sign included: 24, 32 or 48.
        group: number of the group of hospitals whose numbers are summed, from 0; -1: the sum is of all.
    """

    job_id: str
    purpose: Purpose
    round_number: int
    layout: str
    context: str
    length: int
    bits: int
    base: str = "0" * 64
    group: int = -1

    def plain(self) -> dict[str, str | int]:
        """Return the fields by name."""
        return {name: getattr(self, name) for name in _FIELDS}

    def canonical(self) -> bytes:
        """Return the fields as bytes; two different contexts give different bytes."""
        return json.dumps(self.plain(), sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode("ascii")


_FIELDS = tuple(one.name for one in fields(SumContext))


def kind_of(topic: SumContext) -> str:
    """Return the kind of a sum, which has one sum in a round: its purpose, and of a group's the group."""
    return topic.purpose if topic.group < 0 else f"{topic.purpose}-{topic.group}"


def is_masked(purpose: Purpose) -> bool:
    """True if numbers of this purpose are masked in a masked job: all but confirmations, which are 1 each."""
    return purpose != "confirm"
