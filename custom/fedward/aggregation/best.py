"""Choose the best round's model by the sites' own validation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

Held = TypeVar("Held")
"""Model in its holder's form: weights, or a sum that only hospitals can open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate(Generic[Held]):
    """Model with the mean of the sites' scores for it.

    Attributes:
        after: rounds that made it; 0 is the initial model.
        model: the model.
        score: mean over the sites that have a value, each counted once; None if no site has one.
    """

    after: int
    model: Held
    score: float | None


def candidate(model: Held, values: Iterable[float | None], *, after: int) -> Candidate[Held]:
    """Return a model with the mean of the sites' values for it; a site without a value does not count."""
    known = [value for value in values if value is not None]
    return Candidate(after=after, model=model, score=sum(known) / len(known) if known else None)


def better(one: Candidate[Held] | None, other: Candidate[Held]) -> Candidate[Held]:
    """Return the candidate with the higher score; if the scores are equal or both absent, the later one."""
    if one is None:
        return other
    first, second = (-1.0 if each.score is None else each.score for each in (one, other))
    return one if first > second else other
