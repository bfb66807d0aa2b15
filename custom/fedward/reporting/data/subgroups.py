"""Collect the model's scores on a site's patients by sex, age and scanner, the worst first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fedward.reporting.data.score import Score

DIMENSIONS = {"sex": "sex", "age": "age", "maker": "scanner"}
"""Dimension in a site's answer -> its name as shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subgroup:
    """Validation patients of one site that share a property.

    Attributes:
        label: label, class or structure of the score.
        dimension, value: shared property, as in ("sex", "F").
        score: score in the job's measure.
        gap: its value less that of all the site's validation patients; None where either is missing.
    """

    label: str
    dimension: str
    value: str
    score: Score
    gap: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Best and worst subgroup of one label and dimension at one site."""

    label: str
    dimension: str
    best: str
    worst: str
    gap: float


def subgroups_of(measure: str, metrics: Mapping[str, Any]) -> tuple[Subgroup, ...]:
    """Return the subgroups in a site's last answer, worst gap first; those without a value come last.

    A property that all of a site's patients share, such as the maker of its only scanner, is left out.

    Args:
        measure: "auc" or "dice".
        metrics: metrics of the answer.
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
    """Return best less worst for each label and dimension with two or more values, the widest first."""
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
