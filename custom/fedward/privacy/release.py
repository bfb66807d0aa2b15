"""Which numbers leave a hospital, and how coarse: a table of every metric that has a name, a list, rounding, a floor.

The list (``site.toml``, ``[leaving] metrics``) holds names of groups ("scores"), of single metrics ("auc") or both
("scores.loss"). A metric that is listed brings the counts it rests on, since without them no floor can be held.
A count below the floor is null, never 0, and so is whatever rests on it; ``suppressed`` says so. Where exactly one
entry of a table is suppressed, the next smallest is too, or it would follow from the whole (Hundepool et al. 2012,
Statistical Disclosure Control, section 4.2.2). ``fedward.privacy.metric_table`` has the names. Figures over all
hospitals together leave only where the list names them as such: "pooled", "pooled.auc", "cohort_statistics".
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fedward.privacy.metric_table import (
    ABOVE,
    FLAT,
    GROUPS,
    SCORES,
    SUPPRESSED,
    TABLES,
    TOGETHER,
    Metric,
    clean,
    held_back,
    known_name,
    shown,
)
from fedward.privacy.suppression import suppress_labels, suppress_parts
from fedward.settings import Leaving


def release(
    metrics: Mapping[str, Any],
    leaving: Leaving,
    *,
    private: bool,
    alone: bool = False,
    names: Collection[str] | None = None,
) -> dict[str, Any]:
    """The part of ``metrics`` that may leave, as coarse as the hospital says.

    Args:
        metrics: anything at all; what is no metric of the table is left out.
        leaving: the hospital's list, decimals and floor.
        private: the job has differential privacy: what is computed from training data without noise stays.
        alone: the metrics are those of the model that this hospital trained alone; under ``private`` its scores stay.
        names: labels, classes and structures of the job; entries of other names are left out. None: any short name.

    Returns:
        New JSON-ready data. ``release`` of it is equal to it. ε is rounded up, all else to nearest.
    """
    rule = _Rule(leaving, private, alone, None if names is None else frozenset(names))
    found: dict[str, Any] = {}
    for group in FLAT:
        found |= _entries(metrics, group, rule)
    for group in set(GROUPS) - set(FLAT) - set(ABOVE):
        content = metrics.get(group)
        if isinstance(content, Mapping) and (part := _group(content, group, rule)):
            found[group] = part
    return {name: found[name] for name in metrics if name in found}


def refused(
    metrics: Mapping[str, Any],
    leaving: Leaving,
    *,
    private: bool,
    alone: bool = False,
    names: Collection[str] | None = None,
) -> list[str]:
    """Why ``metrics`` may not leave, one line a fault; none for what ``release`` gave with the same arguments."""
    rule = _Rule(leaving, private, alone, None if names is None else frozenset(names))
    if type(metrics) is not dict:
        return ["metrics are not a table"]
    faults = [fault for name, value in metrics.items() for fault in _named(name, value, rule)]
    if faults:
        return faults
    given = release(metrics, leaving, private=private, alone=alone, names=names)
    return [
        f"metric {path} is not rounded, not above the floor, or not of its kind" for path in _unlike(metrics, given)
    ]


def unknown_names(leaving: Leaving) -> list[str]:
    """Names on the hospital's list that are no group and no metric."""
    leaves = {name for group in GROUPS if ABOVE.get(group, group) not in TOGETHER for name in GROUPS[group]}
    dotted = {f"{group}.{name}" for group, content in GROUPS.items() for name in content}
    return [name for name in leaving.metrics if name not in leaves | dotted | set(GROUPS)]


@dataclass(frozen=True, slots=True)
class _Rule:
    leaving: Leaving
    private: bool
    alone: bool
    names: frozenset[str] | None

    def listed(self, group: str, name: str) -> bool:
        """Whether the list has the metric, or one that rests on it."""
        asked, within = set(self.leaving.metrics), ABOVE.get(group, group)
        names = {name, *(other for other, metric in GROUPS[group].items() if name in metric.rests_on)}
        dotted = {f"{within}.{other}" for other in names}
        return bool(asked & ({within} | dotted | (set() if within in TOGETHER else names)))

    def free(self, group: str, name: str) -> bool:
        return self.listed(group, name) and not held_back(group, name, private=self.private, alone=self.alone)

    def entry(self, name: object, metric: Metric | None = None) -> bool:
        """Whether a label, class or structure of the job is called so, or the metric's table has such an entry."""
        if metric is not None and metric.entries:
            return name in metric.entries
        return known_name(name) and (self.names is None or name in self.names)

    def clean(self, metric: Metric, value: object) -> object:
        return clean(metric.kind, value, decimals=self.leaving.decimals, min_count=self.leaving.min_count)


def _entries(content: Mapping[str, Any], group: str, rule: _Rule) -> dict[str, Any]:
    """The free metrics of one table, floors held; a metric whose count is absent or null is null."""
    table, least = GROUPS[group], rule.leaving.min_count
    free = {
        name: rule.clean(table[name], content[name]) for name in content if name in table and rule.free(group, name)
    }
    n, positives = free.get("n"), free.get("positives")
    if type(n) is int and type(positives) is int and n - positives < least:
        free["positives"] = None
    hidden = {name for name in free if _lacks_count(table[name], free, table)}
    hidden |= {name for name in free if table[name].kind == "count" and free[name] is None}
    found = {name: None if name in hidden else value for name, value in free.items()}
    return found | {SUPPRESSED: True} if hidden and group in SCORES else found


def _lacks_count(metric: Metric, values: Mapping[str, Any], table: Mapping[str, Metric]) -> bool:
    return any(values.get(count) is None or _lacks_count(table[count], values, table) for count in metric.rests_on)


def _group(content: Mapping[str, Any], group: str, rule: _Rule) -> dict[str, Any]:
    return _scores(content, group, rule) if group in TABLES else _counted(content, group, rule)


def _scores(content: Mapping[str, Any], group: str, rule: _Rule) -> dict[str, Any]:
    found = _entries(content, group, rule)
    below = found.get("n") is None or found.get("patients") is None
    for table, within in TABLES[group].items():
        inner = content.get(table)
        if not isinstance(inner, Mapping):
            continue
        parts = {
            name: _blank(part) if below else part
            for name in inner
            if rule.entry(name) and isinstance(inner[name], Mapping) and (part := _entries(inner[name], within, rule))
        }
        if parts:
            found[table] = _complement(parts)
    return found


def _blank(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {**dict.fromkeys(entry), SUPPRESSED: True}


def _complement(parts: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Suppress the smallest other entry where exactly one is suppressed."""
    if sum(SUPPRESSED in part for part in parts.values()) != 1 or len(parts) < 2:
        return parts
    sizes = {name: part.get("positives", part.get("n", 0)) for name, part in parts.items() if SUPPRESSED not in part}
    least = min(sizes, key=lambda name: (sizes[name], name))
    return {name: _blank(part) if name == least else part for name, part in parts.items()}


def _counted(content: Mapping[str, Any], group: str, rule: _Rule) -> dict[str, Any]:
    """A group without scores: its metrics, and the entries of its tables."""
    found = _entries(content, group, rule)
    for name in found:
        metric = GROUPS[group][name]
        if metric.kind in ("counts", "parts", "shares"):
            whole = None if found[name] is None else found.get(metric.rests_on[0])
            table = content[name] if isinstance(content[name], Mapping) else {}
            given = {entry: table[entry] for entry in table if rule.entry(entry, metric)}
            found[name] = _cells(given, metric, whole, rule)
    return found


def _cells(given: Mapping[str, Any], metric: Metric, whole: int | None, rule: _Rule) -> dict[str, Any]:
    least = rule.leaving.min_count
    if metric.kind == "counts":
        return suppress_labels(given, images=whole, least=least)
    if metric.kind == "parts":
        every = {**given, **dict.fromkeys(set(metric.entries) - set(given))}
        kept = suppress_parts(every, total=whole, least=least)
        return {name: kept[name] for name in given}
    share = Metric("score")
    return {name: None if whole is None else rule.clean(share, value) for name, value in given.items()}


def _named(name: object, value: object, rule: _Rule) -> Iterator[str]:
    """Faults of a name at the top level."""
    if type(name) is str and name in set(GROUPS) - set(FLAT) - set(ABOVE):
        yield from _table(name, value, name, rule)
        return
    group = next((one for one in FLAT if name in GROUPS[one]), None)
    yield from _leaf(name, group, rule)


def _leaf(name: object, group: str | None, rule: _Rule) -> Iterator[str]:
    """Whether a metric is unknown, not listed, or held back."""
    if group is None or type(name) is not str or name not in GROUPS[group]:
        yield f"metric {shown(name)} is unknown"
    elif not rule.listed(group, name):
        yield f"metric {name} is not on the site's list"
    elif not rule.free(group, name):
        yield f"metric {name} is computed from training data without noise"


def _table(name: str, content: object, group: str, rule: _Rule) -> Iterator[str]:
    if type(content) is not dict:
        yield f"metric {name} is not a table"
        return
    for inner, value in content.items():
        if type(inner) is str and inner in TABLES.get(group, {}):
            yield from _inner(inner, value, TABLES[group][inner], rule)
            continue
        if group not in SCORES or inner != SUPPRESSED:
            yield from _leaf(inner, group, rule)
        metric = GROUPS[group].get(inner) if type(inner) is str else None
        if group not in SCORES and type(value) is dict and not all(rule.entry(entry, metric) for entry in value):
            what = "is not of its table" if metric is not None and metric.entries else "is no label or class of the job"
            yield f"metric {shown(inner)} has an entry that {what}"


def _inner(name: str, content: object, group: str, rule: _Rule) -> Iterator[str]:
    if type(content) is not dict:
        yield f"metric {name} is not a table"
        return
    for entry, value in content.items():
        if rule.entry(entry):
            yield from _table(name, value, group, rule)
        else:
            yield f"metric {name} has an entry that is no label, class or structure of the job"


def _unlike(one: Mapping[str, Any], other: Mapping[str, Any], *, above: str = "") -> Iterator[str]:
    """Paths at which two tables differ in value or type; an entry's own name stays out of it."""
    for name in [*one, *(name for name in other if name not in one)]:
        path = above + ("" if not above else ".") + shown(name)
        mine, its = one.get(name), other.get(name)
        if type(mine) is dict and type(its) is dict:
            yield from _unlike(mine, its, above=path)
        elif (name in one) != (name in other) or type(mine) is not type(its) or mine != its:
            yield path
