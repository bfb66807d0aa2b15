"""Merge the bins of a reliability table until each reaches the hospital's minimum count.

If a model is confident, the middle bins hold few patients and the outer ones few of one kind. Hiding such bins
would leave hardly a point of the curve. Neighbours are merged instead, from the lowest score up, until each bin has the
minimum count of patients with yes and of patients without. Then nothing is hidden beside the shown bins, so that
nothing follows from the total.

The table is over patients, each with one score and in one bin (``fedward.validation.calibration.reliability``), so that
patients of merged bins add up.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedward.privacy.disclosure.categories import RELIABILITY_BINS
from fedward.privacy.disclosure.metric_registry import GROUPS, SUPPRESSED
from fedward.privacy.disclosure.rule import Rule

_GROUP = GROUPS["reliability"]
_COUNTS = ("patients", "positives")
_MOST = 10**9


@dataclass(frozen=True, slots=True)
class _Bin:
    """Patients, those of them with yes, and the mean of their scores."""

    patients: int
    positives: int
    score: float


def coarse_bins(table: Mapping[str, Any], whole: tuple[int, int] | None, rule: Rule) -> dict[str, Any]:
    """Return a label's reliability table as it may leave.

    Args:
        table: lower edge -> ``patients``, ``positives``, ``score``; edges that are none of RELIABILITY_BINS are left
            out.
        whole: patients, and patients with yes, that are disclosed of the label, or None.
        rule: the hospital's.

    Returns:
        Lower edge -> the same, rounded. A bin ends at the next edge in the table; the first begins at 0, the last ends
        at 1. Each has the minimum count of patients with yes and of patients without. Every edge is null where that
        is impossible, the total is not disclosed, or the bins do not add up to it. A second call returns its input
        unchanged.
    """
    bins = {edge: table[edge] for edge in RELIABILITY_BINS if edge in table}
    if not bins:
        return {}
    merged = None if whole is None else _merged({edge: _numbers(cell) for edge, cell in bins.items()}, rule)
    if merged is None or whole != tuple(sum(getattr(cell, name) for cell in merged.values()) for name in _COUNTS):
        return {edge: {**dict.fromkeys(_GROUP), SUPPRESSED: True} for edge in RELIABILITY_BINS}
    return {
        edge: {name: rule.clean(metric, getattr(cell, name)) for name, metric in _GROUP.items()}
        for edge, cell in merged.items()
    }


def _merged(bins: Mapping[str, _Bin | None], rule: Rule) -> dict[str, _Bin] | None:
    """Merge neighbours until each bin has the minimum count; what is left at the end joins the last bin."""
    done: list[tuple[str, list[_Bin]]] = []
    edge, held = "", list[_Bin]()
    for lower, cell in bins.items():
        if cell is None:
            return None
        edge, held = (edge, [*held, cell]) if held else (lower, [cell])
        if _enough(held, rule.disclosure.min_count):
            done.append((edge, held))
            held = []
    if held:
        if not done:
            return None
        first, cells = done.pop()
        done.append((first, [*cells, *held]))
    lows = [RELIABILITY_BINS[0], *(edge for edge, _ in done[1:])]  # a higher first edge would disclose a count of 0
    return {low: _together(cells) for low, (_, cells) in zip(lows, done, strict=True)}


def _together(cells: Sequence[_Bin]) -> _Bin:
    if len(cells) == 1:
        return cells[0]
    patients, positives = (sum(getattr(cell, name) for cell in cells) for name in _COUNTS)
    return _Bin(patients, positives, min(1.0, math.fsum(cell.patients * cell.score for cell in cells) / patients))


def _enough(cells: Sequence[_Bin], least: int) -> bool:
    patients, positives = (sum(getattr(cell, name) for cell in cells) for name in _COUNTS)
    return bool(min(positives, patients - positives) >= least)


def _numbers(cell: object) -> _Bin | None:
    if not isinstance(cell, Mapping):
        return None
    (patients, positives), score = (cell.get(name) for name in _COUNTS), _share(cell.get("score"))
    if type(patients) is not int or type(positives) is not int or not 0 <= positives <= patients <= _MOST:
        return None
    return None if score is None else _Bin(patients, positives, score)


def _share(value: object) -> float | None:
    return float(value) if type(value) in (int, float) and 0 <= value <= 1 else None  # type: ignore[arg-type,operator]
