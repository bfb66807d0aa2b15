"""Decide which numbers leave a hospital, and round them: registry of metrics, the hospital's list, minimum counts.

The list (``site.toml``, ``[disclosure] metrics``) holds names of groups ("scores"), of single metrics ("auc") or both
("scores.loss"). A listed metric brings the counts that it depends on, since without them no minimum count can be
checked. ``fedward.privacy.disclosure.metric_registry`` has the names. Figures over all hospitals together leave only
where the list names them as such: "pooled", "pooled.auc", "cohort_statistics"; so do "subgroups", "curves" and
"profile".

The minimum count applies to patients: to all those that a number is about, to those with yes, and to those without (who
have no image with yes). Images are disclosed only as the number of all of them, with those patients. A count below
the minimum is null, never 0, and so is every metric that depends on it; ``suppressed`` marks this. Where a suppressed
value of a table would follow from its total, the next smallest is suppressed too (Hundepool et al. 2012, Statistical
Disclosure Control, section 4.2.2); a mean over labels leaves only where the value of each label does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedward.privacy.disclosure.metric_faults import faults
from fedward.privacy.disclosure.metric_registry import (
    ABOVE,
    BREAKDOWNS,
    FLAT,
    GROUPS,
    NAMED,
    SCORES,
    SUPPRESSED,
    TABLE_KINDS,
    TABLES,
    TOP,
    WITHIN,
    Metric,
)
from fedward.privacy.disclosure.profile import beside_subgroups
from fedward.privacy.disclosure.rule import Rule
from fedward.privacy.disclosure.subgroups import curves, subgroups, wholes_of
from fedward.privacy.disclosure.suppression import suppress_labels, suppress_parts
from fedward.settings import Disclosure


@dataclass(frozen=True, slots=True)
class Release:
    """Decision on one answer's metrics.

    Attributes:
        metrics: metrics that may leave, new JSON-ready data. ε is rounded up, all else to nearest.
        refused: reasons why the given metrics may not leave unchanged, one line each; empty where ``metrics`` equals
            them.
    """

    metrics: dict[str, Any]
    refused: tuple[str, ...]


def release(metrics: object, rule: Rule) -> Release:
    """Decide which of ``metrics`` may leave, and round them.

    A released result is released unchanged by a second call.

    Args:
        metrics: any object; entries outside the registry are left out.
        rule: the hospital's and the job's.
    """
    found: dict[str, Any] = {}
    content = _named(metrics) if isinstance(metrics, Mapping) else {}
    for group in FLAT:
        found |= _entries(content, group, rule)
    for group in TOP:  # scores come before groups that depend on their counts
        inner = content.get(group)
        if isinstance(inner, Mapping) and (part := _group(inner, group, rule, found)):
            found[group] = part
    released = {name: found[name] for name in content if name in found}
    return Release(released, faults(metrics, released, rule))


def _named(content: Mapping[Any, Any]) -> dict[str, Any]:
    """Return tables of which every name is a plain string; others are left out, whatever they are equal to."""
    return {
        name: _named(value) if isinstance(value, Mapping) else value
        for name, value in content.items()
        if type(name) is str
    }


def unknown_names(disclosure: Disclosure) -> list[str]:
    """Return names on the hospital's list that are no group and no metric."""
    single = {group: table for group, table in GROUPS.items() if ABOVE.get(group, group) not in BREAKDOWNS}
    leaves = {name for group, table in single.items() if ABOVE.get(group, group) not in NAMED for name in table}
    dotted = {f"{group}.{name}" for group, table in single.items() for name in table}
    return [name for name in disclosure.metrics if name not in leaves | dotted | set(GROUPS)]


def _entries(content: Mapping[str, Any], group: str, rule: Rule) -> dict[str, Any]:
    """Return the free metrics of one table, minimum counts applied; a metric whose count is absent or null is null."""
    table, least = GROUPS[group], rule.disclosure.min_count
    free = {
        name: rule.clean(table[name], content[name]) for name in content if name in table and rule.free(group, name)
    }
    patients, positives = free.get("patients"), free.get("positives")
    if type(patients) is int and type(positives) is int and patients - positives < least:
        free["positives"] = None
    for part, whole in WITHIN.get(group, {}).items():
        if part in free and _few_left(free[part], free.get(whole), least):
            free[part] = None
    hidden = {name for name in free if _lacks_count(table[name], free, table)}
    hidden |= {name for name in free if table[name].kind == "count" and free[name] is None}
    found = {name: None if name in hidden else value for name, value in free.items()}
    return found | {SUPPRESSED: True} if hidden and group in SCORES else found


def _lacks_count(metric: Metric, values: Mapping[str, Any], table: Mapping[str, Metric]) -> bool:
    return any(values.get(count) is None or _lacks_count(table[count], values, table) for count in metric.rests_on)


def _few_left(part: object, whole: object, least: int) -> bool:
    """True if some but too few of a total's patients are outside a part, or the total is unknown."""
    return type(part) is int and (type(whole) is not int or (whole != part and whole - part < least))


def _group(content: Mapping[str, Any], group: str, rule: Rule, found: Mapping[str, Any]) -> dict[str, Any]:
    """Return a group, given those that were found before it."""
    if group in BREAKDOWNS:
        make = subgroups if group == "subgroups" else curves
        return (
            make(content, wholes_of(found.get("scores", {})), rule) if rule.free(BREAKDOWNS[group], "patients") else {}
        )
    if group in TABLES:
        return _scores(content, group, rule)
    counted = _counted(content, group, rule)
    return (
        beside_subgroups(counted, found.get("subgroups", {}), least=rule.disclosure.min_count)
        if group == "profile"
        else counted
    )


def _scores(content: Mapping[str, Any], group: str, rule: Rule) -> dict[str, Any]:
    found = _entries(content, group, rule)
    for table, within in TABLES[group].items():
        inner = content.get(table)
        if not isinstance(inner, Mapping):
            continue
        parts = {
            name: part if _is_of(found, part, table, rule) else _blank(part)
            for name in inner
            if rule.entry(name) and isinstance(inner[name], Mapping) and (part := _entries(inner[name], within, rule))
        }
        if parts:
            found[table] = _complement(parts, found, rule.disclosure.min_count)
            if any(SUPPRESSED in part for part in found[table].values()):
                found = _no_means(found, group)
            elif table == "labels":
                found = _means(found, content, group, rule)
    if group == "pooled" and "pooled" in rule.disclosure.metrics and rule.free(group, "patients"):
        inner = content.get("curves")
        if isinstance(inner, Mapping) and (reported := curves(inner, wholes_of(found), rule)):
            found["curves"] = reported
    return found


def _is_of(whole: Mapping[str, Any], part: Mapping[str, Any], table: str, rule: Rule) -> bool:
    """True if a label counts all patients; for a structure, if none or enough of all patients are outside it."""
    everyone = whole.get("patients")
    if everyone is None:
        return False
    if "patients" not in part:
        return True
    if table == "labels":
        return bool(part["patients"] == everyone)
    return not _few_left(part["patients"], everyone, rule.disclosure.min_count)


def _means(found: Mapping[str, Any], content: Mapping[str, Any], group: str, rule: Rule) -> dict[str, Any]:
    """Return scores with their means over labels, where each label leaves.

    A mean adds nothing to its labels. It needs no minimum count of the patients without any label, who may be few.
    """
    labels = list(found["labels"].values())
    known = all(found.get(name) is not None for name in ("patients", "images"))
    if not known or len(labels) < 2 or any(part.get("positives") is None for part in labels):
        return dict(found)
    means = {name: metric for name, metric in GROUPS[group].items() if "positives" in metric.rests_on and name in found}
    return {**found, **{name: rule.clean(metric, content[name]) for name, metric in means.items()}}


def _no_means(found: Mapping[str, Any], group: str) -> dict[str, Any]:
    """Set to null what depends on all labels or structures together: a hidden one's patients would follow from it."""
    together = {"positives", "dice_patients"}
    rests = {name for name, metric in GROUPS[group].items() if name in together or together & set(metric.rests_on)}
    return {name: None if name in rests else value for name, value in found.items()} | {SUPPRESSED: True}


def _blank(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {**dict.fromkeys(entry), SUPPRESSED: True}


def _complement(parts: dict[str, dict[str, Any]], whole: Mapping[str, Any], least: int) -> dict[str, dict[str, Any]]:
    """Suppress further entries where a suppressed value would follow from the others."""
    open_ones = {name: part for name, part in parts.items() if SUPPRESSED not in part}
    if all("positives" in part for part in open_ones.values()):
        counts = {name: open_ones[name]["positives"] if name in open_ones else None for name in parts}
        kept = suppress_labels(counts, patients=whole.get("patients"), images=whole.get("images"), least=least)
        keep = {name for name, value in kept.items() if value is not None}
    else:
        keep = set(open_ones)
        if len(open_ones) == len(parts) - 1 and open_ones:
            keep -= {min(open_ones, key=lambda name: (open_ones[name].get("patients", 0), name))}
    return {name: part if name in keep or SUPPRESSED in part else _blank(part) for name, part in parts.items()}


def _counted(content: Mapping[str, Any], group: str, rule: Rule) -> dict[str, Any]:
    """Return a group without scores: its metrics, and the entries of its tables."""
    found = _entries(content, group, rule)
    for name in found:
        metric = GROUPS[group][name]
        if metric.kind in TABLE_KINDS:
            table = content[name] if isinstance(content[name], Mapping) else {}
            given = {entry: table[entry] for entry in table if rule.entry(entry, metric)}
            wholes = [None if found[name] is None else found.get(count) for count in metric.rests_on]
            found[name] = _cells(given, metric, wholes, rule)
    return {name: None if _some_hidden(found, GROUPS[group][name]) else value for name, value in found.items()}


def _some_hidden(found: Mapping[str, Any], metric: Metric) -> bool:
    """True if a metric depends on a table that is empty or hides an entry."""
    tables = [found[name] for name in metric.rests_on if isinstance(found.get(name), Mapping)]
    return metric.kind not in TABLE_KINDS and any(not table or None in table.values() for table in tables)


def _cells(given: Mapping[str, Any], metric: Metric, wholes: Sequence[int | None], rule: Rule) -> dict[str, Any]:
    """Return the entries of a table; of ``wholes`` the first counts patients, and the second images."""
    least, patients = rule.disclosure.min_count, wholes[0]
    if metric.kind == "counts":
        return suppress_labels(given, patients=patients, images=wholes[1], least=least)
    if metric.kind in ("parts", "strata"):
        every = {**given, **dict.fromkeys(set(metric.entries) - set(given))}
        kept = suppress_parts(every, total=patients, least=least, empty=metric.kind == "strata")
        return {name: kept[name] for name in given}
    share = Metric("score")
    return {name: None if patients is None else rule.clean(share, value) for name, value in given.items()}
