"""How the model does on a site's patients by sex, age and scanner, the worst of them first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fedward.reporting.data.score import Score

DIMENSIONS = {"sex": "sex", "age": "age", "maker": "scanner"}
"""Dimensions as a site names them -> as they are shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subgroup:
    """One site's validation patients that have something in common.

    Attributes:
        label: label, class or structure that the score is of.
        dimension, value: what they have in common, as in ("sex", "F").
        score: in the job's measure.
        gap: its value less that of all the site's validation patients; None where either is missing.
    """

    label: str
    dimension: str
    value: str
    score: Score
    gap: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """The best and the worst subgroup of one label and dimension at one site."""

    label: str
    dimension: str
    best: str
    worst: str
    gap: float


def subgroups_of(measure: str, metrics: Mapping[str, Any]) -> tuple[Subgroup, ...]:
    """Subgroups in a site's last answer, worst gap first; those without a value come last.

    What all of a site's patients have in common, such as its one scanner's maker, parts nobody and is left out.

    Args:
        measure: "auc" or "dice".
        metrics: of the answer.
    """
    scores = metrics.get("scores") or {}
    parts = scores.get("labels") or scores.get("structures") or {}
    found = [
        _subgroup(measure, (label, dimension, value), one, (parts.get(label) or scores).get(measure))
        for label, dimensions in (metrics.get("subgroups") or {}).items()
        if isinstance(dimensions, Mapping)
        for dimension, values in dimensions.items()
        if isinstance(values, Mapping) and len(values) > 1
        for value, one in values.items()
    ]
    return tuple(sorted(found, key=_rank))


def spreads(subgroups: tuple[Subgroup, ...]) -> tuple[Spread, ...]:
    """Best less worst within each label and dimension where two or more have a value, the widest first."""
    values: dict[tuple[str, str], dict[str, float]] = {}
    for one in subgroups:
        if one.score.value is not None:
            values.setdefault((one.label, one.dimension), {})[one.value] = one.score.value
    found = []
    for (label, dimension), known in values.items():
        if len(known) < 2:
            continue
        best, worst = max(known, key=lambda name: known[name]), min(known, key=lambda name: known[name])
        gap = known[best] - known[worst]
        found.append(Spread(label=label, dimension=dimension, best=best, worst=worst, gap=gap))
    return tuple(sorted(found, key=lambda one: (-one.gap, one.label, one.dimension)))


def _subgroup(
    measure: str, place: tuple[str, str, str], one: Mapping[str, Any] | None, whole: float | None
) -> Subgroup:
    label, dimension, value = place
    facts = one or {}
    got = facts.get(measure)
    score = Score(
        value=got,
        low=facts.get(f"{measure}_low"),
        high=facts.get(f"{measure}_high"),
        n=facts.get("patients"),
        positives=facts.get("positives"),
        suppressed=got is None,
    )
    gap = None if got is None or whole is None else got - whole
    return Subgroup(label=label, dimension=dimension, value=value, score=score, gap=gap)


def _rank(one: Subgroup) -> tuple[bool, float, str, str, str]:
    return (one.gap is None, one.gap or 0.0, one.label, one.dimension, one.value)
