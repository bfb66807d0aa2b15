"""Choose among candidates by successive halving: all get a short trial, and the better part a longer one.

After Jamieson & Talwalkar 2016 (section 3, "Successive Halving"): the worst are dropped after each rung, and the rest
start again with a larger budget. Chosen over a library: none that is installed has it for trials of one's own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Trial = TypeVar("Trial")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung(Generic[Trial]):
    """One rung: every trial in it had the same budget.

    Attributes:
        budget: budget of each trial.
        scores: each trial with its score, the best first; None is worse than any number.
    """

    budget: int
    scores: tuple[tuple[Trial, float | None], ...]


def rung_sizes(candidates: int, *, budget: int, factor: int) -> tuple[tuple[int, int], ...]:
    """Return (trials, budget of each) of every rung; the last rung has the whole budget.

    All rungs together cost no more than the whole budget for each candidate.

    Args:
        candidates: number of candidates, 1 or more.
        budget: budget of the longest trial, 1 or more.
        factor: a rung keeps one in so many trials, rounded down, with so many times the budget; 2 or more.
    """
    trials = [candidates]
    while trials[-1] > 1 and factor ** len(trials) <= budget:
        trials.append(max(1, trials[-1] // factor))
    last = len(trials) - 1
    return tuple((count, budget // factor ** (last - number)) for number, count in enumerate(trials))


def halve(
    candidates: Sequence[Trial], score: Callable[[Trial, int], float | None], *, budget: int, factor: int = 2
) -> tuple[Rung[Trial], ...]:
    """Run every rung; the first trial of the last one is the choice.

    Args:
        candidates: the candidates, 1 or more.
        score: score of a candidate with a budget, the higher the better; None where it has none.
        budget, factor: as in ``rung_sizes``.
    """
    rungs: list[Rung[Trial]] = []
    kept = tuple(candidates)
    for count, each in rung_sizes(len(kept), budget=budget, factor=factor):
        scored = [(trial, score(trial, each)) for trial in kept[:count]]
        scored.sort(key=lambda pair: math.inf if pair[1] is None else -pair[1])
        rungs.append(Rung(budget=each, scores=tuple(scored)))
        kept = tuple(trial for trial, _ in scored)
    return tuple(rungs)
