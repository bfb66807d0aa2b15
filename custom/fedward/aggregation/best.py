"""Which round's model was best, by the sites' own validation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fedward.training.weights import Weights


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A model and the mean of what sites measured on it.

    Attributes:
        after: rounds that made it; 0 is the initial model.
        weights: the model.
        score: mean over the sites that have a value, each counting once; None where no site has one.
    """

    after: int
    weights: Weights
    score: float | None


def candidate(weights: Weights, values: Iterable[float | None], *, after: int) -> Candidate:
    """A model with the sites' values for it; a site without a value does not count."""
    known = [value for value in values if value is not None]
    return Candidate(after=after, weights=weights, score=sum(known) / len(known) if known else None)


def better(one: Candidate | None, other: Candidate) -> Candidate:
    """The one with the higher score; of two equal ones, or where neither has a score, the later."""
    if one is None:
        return other
    first, second = (-1.0 if each.score is None else each.score for each in (one, other))
    return one if first > second else other
