"""Explain why metrics may not leave a hospital: names that are unknown, not listed or withheld; values that differ.

No line shows a value, nor a name outside the metric registry.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fedward.errors import shown
from fedward.privacy.disclosure.metric_registry import BREAKDOWNS, FLAT, GROUPS, SCORES, SUPPRESSED, TABLES, TOP
from fedward.privacy.disclosure.rule import Rule
from fedward.privacy.disclosure.subgroups import unknown_entries

Path = tuple[Any, ...]
"""Names from the top to a value; the author of the metrics chose them, so that a name may be of any type."""
_NO_ENTRY = "has an entry that is no label, class or structure of the job"
_ABSENT = object()


def faults(metrics: object, released: Mapping[str, Any], rule: Rule) -> tuple[str, ...]:
    """Return why ``metrics`` may not leave unchanged; empty exactly if they equal ``released``, in types too.

    Args:
        metrics: any object.
        released: the part that may leave.
        rule: the rule of that decision.

    Returns:
        One line a fault. Where names are at fault, values are not reported.
    """
    if type(metrics) is not dict:
        return ("metrics are not a table",)
    paths = list(_differences(metrics, released, ()))
    places = dict.fromkeys(path[:1] if path[0] in BREAKDOWNS else path for path in paths)  # a breakdown is read once
    named = dict.fromkeys(fault for place in places if (fault := _fault_of_name(place, metrics, rule)) is not None)
    return tuple(named) or tuple(
        f"metric {'.'.join(map(shown, path))} is not rounded, not above the floor, or not of its kind" for path in paths
    )


def _differences(one: Mapping[Any, Any], other: Mapping[Any, Any], above: Path) -> Iterator[Path]:
    """Yield paths of values that differ in value or type, or are in one of the two alone, and of names of another type.

    A name that is no plain string is a fault whatever it is equal to: its sender decides that, and what else it holds.
    """
    for name in [*one, *(name for name in other if name not in one)]:
        if type(name) is not str:
            yield (*above, name)
            continue
        mine: Any = one.get(name, _ABSENT)
        its: Any = other.get(name, _ABSENT)
        if type(mine) is dict and mine and (its is _ABSENT or type(its) is dict):
            yield from _differences(mine, its if type(its) is dict else {}, (*above, name))
        elif type(mine) is not type(its) or mine != its:
            yield (*above, name)


def _fault_of_name(path: Path, metrics: Mapping[Any, Any], rule: Rule) -> str | None:
    """Return the fault of the names on the path to a value that differs; None where there is none."""
    name, *below = path
    if type(name) is str and name in BREAKDOWNS:
        held = _held_back(name, BREAKDOWNS[name], "patients", rule)
        return held or next(unknown_entries(name, metrics[name], rule), None)
    if type(name) is not str or name not in TOP:
        return _fault_of_metric(path, next((one for one in FLAT if name in GROUPS[one]), None), rule)
    group, content, title = name, metrics[name], name
    while type(content) is dict and below and type(below[0]) is str and below[0] in TABLES.get(group, {}):
        title = below.pop(0)
        group, content = TABLES[group][title], content.get(title)
        if type(content) is dict and below:
            entry = below.pop(0)
            if not rule.entry(entry):
                return f"metric {title} {_NO_ENTRY}"
            content = content.get(entry)
    if type(content) is not dict:
        return f"metric {title} is not a table"
    if not below or (group in SCORES and below[0] == SUPPRESSED):
        return None
    if group == "pooled" and below[0] == "curves":
        return next(unknown_entries("curves", content.get("curves"), rule), None)
    return _fault_of_metric(tuple(below), group, rule)


def _fault_of_metric(path: Path, group: str | None, rule: Rule) -> str | None:
    """Return the fault of a metric that is unknown, not listed or withheld, or has an entry outside its table."""
    name = path[0]
    if group is None or type(name) is not str or name not in GROUPS[group]:
        return f"metric {shown(name)} is unknown"
    metric = GROUPS[group][name]
    if len(path) > 1 and group not in SCORES and not rule.entry(path[1], metric):
        what = (
            "has an entry that is not of its table"
            if metric.entries
            else "has an entry that is no label or class of the job"
        )
        return _held_back(name, group, name, rule) or f"metric {name} {what}"
    return _held_back(name, group, name, rule)


def _held_back(name: str, group: str, metric: str, rule: Rule) -> str | None:
    """Return why a name may not leave, by the rule for one metric of its group; None where it may."""
    if not rule.listed(group, metric):
        return f"metric {name} is not on the site's list"
    return None if rule.free(group, metric) else f"metric {name} is computed from training data without noise"
