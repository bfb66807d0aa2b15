"""A reliability table in bins that are as wide as the hospital's floor wants.

Of a model that is sure of itself the middle bins hold few patients and the outer ones few of one kind. To hide those
would leave hardly a point of the curve; neighbours are put together instead, from the lowest score up, until each bin
has the floor of patients with yes and of patients without. Nothing is hidden then beside what is shown, so that nothing
follows from the whole.

A patient with several images may be in several bins, so patients of two bins do not add up. Each patient is therefore
counted in one bin alone (``fedward.validation.calibration.reliability``): at the lowest image with yes, or, without
any, at the lowest image. A bin's patients are then never more than those who have an image in it, and they add up.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedward.privacy.metric_table import GROUPS, RELIABILITY_BINS, SUPPRESSED
from fedward.privacy.rule import Rule

_GROUP = GROUPS["reliability"]
_COUNTS = ("patients", "positives")
_MOST = 10**9


@dataclass(frozen=True, slots=True)
class _Bin:
    """Patients who are counted here and those of them with yes; images, None where not known; means over images."""

    patients: int
    positives: int
    images: int | None
    score: float
    observed: float


def coarse_bins(table: Mapping[str, Any], whole: tuple[int, int] | None, rule: Rule) -> dict[str, Any]:
    """A label's reliability table as it may leave.

    Args:
        table: lower edge -> ``patients``, ``positives``, ``images``, ``score``, ``observed``; edges that are none of
            RELIABILITY_BINS are left out. Bins without ``images`` cannot be put together.
        whole: patients, and patients with yes, that are told of the label, or None.
        rule: the hospital's.

    Returns:
        Lower edge -> the same without images, rounded. A bin reaches up to the next edge that is there, the last to 1.
        Each has the floor of patients with yes and of patients without. Every edge null where that cannot be had, the
        whole is not told, or the bins are not of it. It is equal to what the same call makes of it.
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
    """Neighbours together until each has the floor; what is left at the end goes to the last."""
    done: list[tuple[str, list[_Bin]]] = []
    edge, held = "", list[_Bin]()
    for lower, cell in bins.items():
        if cell is None:
            return None
        edge, held = (edge, [*held, cell]) if held else (lower, [cell])
        if _enough(held, rule.leaving.min_count):
            done.append((edge, held))
            held = []
    if held:
        if not done:
            return None
        first, cells = done.pop()
        done.append((first, [*cells, *held]))
    found = {edge: _together(cells) for edge, cells in done}
    return None if None in found.values() else found  # type: ignore[return-value]


def _together(cells: Sequence[_Bin]) -> _Bin | None:
    if len(cells) == 1:
        return cells[0]
    if any(cell.images is None for cell in cells):
        return None
    images = [cell.images or 0 for cell in cells]
    means = [
        min(
            1.0, math.fsum(count * getattr(cell, name) for count, cell in zip(images, cells, strict=True)) / sum(images)
        )
        for name in ("score", "observed")
    ]
    patients, positives = (sum(getattr(cell, name) for cell in cells) for name in _COUNTS)
    return _Bin(patients, positives, sum(images), *means)


def _enough(cells: Sequence[_Bin], least: int) -> bool:
    patients, positives = (sum(getattr(cell, name) for cell in cells) for name in _COUNTS)
    return bool(min(positives, patients - positives) >= least)


def _numbers(cell: object) -> _Bin | None:
    if not isinstance(cell, Mapping):
        return None
    patients, positives, images = (cell.get(name) for name in (*_COUNTS, "images"))
    score, share = _share(cell.get("score")), _share(cell.get("observed"))
    if type(patients) is not int or type(positives) is not int or not 0 <= positives <= patients <= _MOST:
        return None
    if score is None or share is None or (images is not None and not (type(images) is int and 1 <= images <= _MOST)):
        return None
    return _Bin(patients, positives, images, score, share)


def _share(value: object) -> float | None:
    return float(value) if type(value) in (int, float) and 0 <= value <= 1 else None  # type: ignore[arg-type,operator]
