"""Why a hospital's metrics may not leave: names that are unknown, not on its list, or held back; values that differ.

No line shows a value, nor a name that is not of the metrics' table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fedward.errors import shown
from fedward.privacy.disclosure.metric_registry import BREAKDOWNS, FLAT, GROUPS, SCORES, SUPPRESSED, TABLES, TOP
from fedward.privacy.disclosure.rule import Rule
from fedward.privacy.disclosure.subgroups import unknown_entries


def named(name: object, value: object, rule: Rule) -> Iterator[str]:
    """Faults of a metric's name at the top level, and of the names within it."""
    if type(name) is str and name in BREAKDOWNS:
        yield from _breakdown(name, value, BREAKDOWNS[name], rule)
        return
    if type(name) is str and name in TOP:
        yield from _table(name, value, name, rule)
        return
    group = next((one for one in FLAT if name in GROUPS[one]), None)
    yield from _leaf(name, group, rule)


def _leaf(name: object, group: str | None, rule: Rule) -> Iterator[str]:
    """Whether a metric is unknown, not listed, or held back."""
    if group is None or type(name) is not str or name not in GROUPS[group]:
        yield f"metric {shown(name)} is unknown"
    else:
        yield from _held_back(name, group, name, rule)


def _held_back(name: str, group: str, metric: str, rule: Rule) -> Iterator[str]:
    """Why a name may not leave, by the rule for one metric of its group."""
    if not rule.listed(group, metric):
        yield f"metric {name} is not on the site's list"
    elif not rule.free(group, metric):
        yield f"metric {name} is computed from training data without noise"


def _table(name: str, content: object, group: str, rule: Rule) -> Iterator[str]:
    if type(content) is not dict:
        yield f"metric {name} is not a table"
        return
    for inner, value in content.items():
        if type(inner) is str and inner in TABLES.get(group, {}):
            yield from _inner(inner, value, TABLES[group][inner], rule)
            continue
        if group == "pooled" and inner == "curves":
            yield from unknown_entries("curves", value, rule)
            continue
        if group not in SCORES or inner != SUPPRESSED:
            yield from _leaf(inner, group, rule)
        metric = GROUPS[group].get(inner) if type(inner) is str else None
        if group not in SCORES and type(value) is dict and not all(rule.entry(entry, metric) for entry in value):
            what = "is not of its table" if metric is not None and metric.entries else "is no label or class of the job"
            yield f"metric {shown(inner)} has an entry that {what}"


def _breakdown(name: str, content: object, group: str, rule: Rule) -> Iterator[str]:
    faults = list(_held_back(name, group, "patients", rule))
    yield from faults or unknown_entries(name, content, rule)


def _inner(name: str, content: object, group: str, rule: Rule) -> Iterator[str]:
    if type(content) is not dict:
        yield f"metric {name} is not a table"
        return
    for entry, value in content.items():
        if rule.entry(entry):
            yield from _table(name, value, group, rule)
        else:
            yield f"metric {name} has an entry that is no label, class or structure of the job"


def unlike(one: Mapping[str, Any], other: Mapping[str, Any], *, above: str = "") -> Iterator[str]:
    """Paths at which two tables differ in value or type; an entry's own name stays out of it."""
    for name in [*one, *(name for name in other if name not in one)]:
        path = above + ("" if not above else ".") + shown(name)
        mine, its = one.get(name), other.get(name)
        if type(mine) is dict and type(its) is dict:
            yield from unlike(mine, its, above=path)
        elif (name in one) != (name in other) or type(mine) is not type(its) or mine != its:
            yield path
