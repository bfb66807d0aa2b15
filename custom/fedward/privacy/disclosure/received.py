"""Filter metrics at the server: keep names of the metric registry, values of their kind, and nothing else.

A hospital's gate sends no more than that (``fedward.privacy.disclosure.release``). A participant that runs another
program may send any name, text or number, and what the server accepts reaches events, a store, a report and terminals.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from fedward.privacy.disclosure.categories import DIMENSIONS, FALSE_POSITIVE_RATES, RELIABILITY_BINS
from fedward.privacy.disclosure.metric_registry import (
    BREAKDOWNS,
    FLAT,
    GROUPS,
    SCORES,
    SUPPRESSED,
    TABLE_KINDS,
    TABLES,
    TOP,
    Metric,
    clean,
    known_name,
)

DECIMALS = 6
"""Largest number of decimals that a hospital may disclose; see ``fedward.settings.Disclosure``."""
_COUNT, _SHARE = Metric("count"), Metric("score")
_SAY_SUPPRESSED = (*SCORES, *BREAKDOWNS.values())


def received(metrics: object, *, names: Collection[str]) -> dict[str, Any]:
    """Return the named part of ``metrics``, each value of its kind and range; hospitals have applied minimum counts.

    Args:
        metrics: any object; entries outside the registry are left out, a value of another kind is null.
        names: labels, classes and structures of the job; entries of other names are left out.

    Returns:
        New JSON-ready data. A result of ``release`` for the same names is returned unchanged, and so is a result of
        this function.
    """
    known = frozenset(name for name in names if known_name(name))
    found: dict[str, Any] = {}
    for name, value in _items(metrics):
        flat = next((group for group in FLAT if name in GROUPS[group]), None)
        if flat is not None:
            found[name] = _value(GROUPS[flat][name], value, known)
        elif name in TOP and type(value) is dict:
            found[name] = _group(name, value, known)
    return found


def _items(content: object) -> Iterator[tuple[str, Any]]:
    """Yield the entries of a table whose names are text; none of anything else."""
    if type(content) is dict:
        yield from ((name, value) for name, value in content.items() if type(name) is str)


def _group(group: str, content: object, names: frozenset[str]) -> dict[str, Any]:
    if group == "subgroups":
        return {label: _subgroups(one, names) for label, one in _items(content) if label in names}
    if group == "curves":
        return {label: _curves(one, names) for label, one in _items(content) if label in names}
    found: dict[str, Any] = {}
    for name, value in _items(content):
        if (below := TABLES.get(group, {}).get(name)) is not None:
            found[name] = {entry: _group(below, part, names) for entry, part in _items(value) if entry in names}
        elif group == "pooled" and name == "curves":
            found[name] = _group(name, value, names)
        elif name == SUPPRESSED and group in _SAY_SUPPRESSED:
            found |= {name: True} if value is True else {}
        elif name in GROUPS[group]:
            found[name] = _value(GROUPS[group][name], value, names)
    return found


def _subgroups(label: object, names: frozenset[str]) -> dict[str, Any]:
    return {
        dimension: {value: _group("subgroup", cell, names) for value, cell in _items(cells) if value in parts}
        for dimension, cells in _items(label)
        if (parts := DIMENSIONS.get(dimension)) is not None
    }


def _curves(label: object, names: frozenset[str]) -> dict[str, Any]:
    tables = {name: table for name, table in _items(label) if type(table) is dict}
    found: dict[str, Any] = {}
    if "roc" in tables:
        found["roc"] = _cells(_SHARE, tables["roc"], FALSE_POSITIVE_RATES, names)
    if "reliability" in tables:
        bins = _items(tables["reliability"])
        found["reliability"] = {
            edge: _group("reliability", cell, names) for edge, cell in bins if edge in RELIABILITY_BINS
        }
    return {name: found[name] for name in tables if name in found}


def _value(metric: Metric, value: object, names: frozenset[str]) -> object:
    if metric.kind in TABLE_KINDS:
        return _cells(_SHARE if metric.kind == "shares" else _COUNT, value, metric.entries or names, names)
    return clean(metric.kind, value, decimals=DECIMALS, min_count=0)


def _cells(metric: Metric, table: object, entries: Collection[str], names: frozenset[str]) -> Mapping[str, Any]:
    return {entry: _value(metric, value, names) for entry, value in _items(table) if entry in entries}
