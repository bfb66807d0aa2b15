"""A reliability table in bins that are as wide as the hospital's floor wants.

Of a model that is sure of itself the middle bins hold few images and the outer ones few of one kind. To hide those
would leave hardly a point of the curve; neighbours are put together instead, from the lowest score up, until each bin
has the floor of positives and of negatives. Nothing is hidden then beside what is shown, so that nothing follows from
the whole.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from fedward.privacy.metric_table import GROUPS, RELIABILITY_BINS, SUPPRESSED, Metric
from fedward.privacy.rule import Rule

_GROUP = GROUPS["reliability"]
_SHARE = Metric("score")
_Bin = tuple[int, float, float]
"""Images, the sum of their scores, positives."""


def coarse_bins(table: Mapping[str, Any], whole: tuple[int, int, int] | None, rule: Rule) -> dict[str, Any]:
    """A label's reliability table as it may leave.

    Args:
        table: lower edge -> ``n``, ``score``, ``observed``; edges that are none of RELIABILITY_BINS are left out.
        whole: images, positives and negatives that are told of the label, or None.
        rule: the hospital's.

    Returns:
        Lower edge -> the same, rounded. A bin reaches up to the next edge that is there, the last to 1. Positives and
        negatives of each, as they follow from its rounded share at the fewest, have the floor. Every edge null where
        that cannot be had, the whole is not told, or the bins are not of it. It is equal to what the same call makes
        of it.
    """
    bins = {edge: table[edge] for edge in RELIABILITY_BINS if edge in table}
    if not bins:
        return {}
    cells = None if whole is None else _merged({edge: _numbers(cell) for edge, cell in bins.items()}, rule)
    if whole is None or cells is None or not _are_of(cells, whole, rule):
        return {edge: {**dict.fromkeys(_GROUP), SUPPRESSED: True} for edge in RELIABILITY_BINS}
    return cells


def _merged(bins: Mapping[str, _Bin | None], rule: Rule) -> dict[str, Any] | None:
    """Neighbours together until each has the floor; what is left at the end goes to the last."""
    done: list[tuple[str, list[_Bin]]] = []
    edge, held = "", list[_Bin]()
    for lower, cell in bins.items():
        if cell is None:
            return None
        edge, held = (edge, [*held, cell]) if held else (lower, [cell])
        if _enough(_told(held, rule), rule):
            done.append((edge, held))
            held = []
    if held:
        if not done:
            return None
        first, cells = done.pop()
        done.append((first, [*cells, *held]))
    return {edge: _told(cells, rule) for edge, cells in done}


def _told(cells: list[_Bin], rule: Rule) -> dict[str, Any]:
    n = sum(cell[0] for cell in cells)
    score, positives = math.fsum(cell[1] for cell in cells), math.fsum(cell[2] for cell in cells)
    values = {"n": n, "score": score / n, "observed": positives / n}
    return {name: rule.clean(metric, values[name]) for name, metric in _GROUP.items()}


def _enough(told: Mapping[str, Any], rule: Rule) -> bool:
    bounds = _positives(told, rule)
    if bounds is None:
        return False
    least = rule.leaving.min_count
    return bounds[0] >= least and told["n"] - bounds[1] >= least


def _are_of(cells: Mapping[str, Any], whole: tuple[int, int, int], rule: Rule) -> bool:
    """Whether every bin has the floor and they may be the label's images and positives, parted."""
    bounds = [_positives(cell, rule) for cell in cells.values()]
    known = [pair for pair in bounds if pair is not None]
    if len(known) != len(cells) or not all(_enough(cell, rule) for cell in cells.values()):
        return False
    low, high = (sum(pair[end] for pair in known) for end in (0, 1))
    return sum(cell["n"] for cell in cells.values()) == whole[0] and low <= whole[1] <= high


def _positives(told: Mapping[str, Any], rule: Rule) -> tuple[int, int] | None:
    """The fewest and the most positives that a rounded share allows."""
    n, share = told["n"], told["observed"]
    if type(n) is not int or not isinstance(share, float):
        return None
    slack = 0.5 * 10.0**-rule.leaving.decimals + 1e-9
    low, high = max(0, math.ceil(n * (share - slack))), min(n, math.floor(n * (share + slack)))
    return (low, high) if low <= high else None


def _numbers(cell: object) -> _Bin | None:
    if not isinstance(cell, Mapping):
        return None
    n, score, share = cell.get("n"), _share(cell.get("score")), _share(cell.get("observed"))
    if type(n) is not int or n < 1 or score is None or share is None:
        return None
    return n, n * score, n * share


def _share(value: object) -> float | None:
    return float(value) if type(value) in (int, float) and 0 <= value <= 1 else None  # type: ignore[arg-type,operator]
