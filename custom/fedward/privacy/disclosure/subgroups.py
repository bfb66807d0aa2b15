"""Release parts of a label's patients: subgroups, and a classification's curves.

Both divide the patients whose number, and whose number with yes, the ``scores`` beside them disclose. So a value that
is hidden in a table must not follow from that total. Without the total, none of them leaves. Each patient has one sex,
one age and one maker (of several makers: "several"), and is positive, with yes in an image, or has no image with yes.

1. A value of sex, age or maker is shown where it has the minimum count of patients. Where any is hidden, enough values
   are hidden (``suppression.suppress_cells``), the same for all labels, since the patients hardly differ by label.
   Where all patients have one structure, its table counts them all; the patients without another structure are then
   none, or at least the minimum count.
2. Of those values, a label's positives and scores are shown where both they and all other patients have the minimum
   count, and again enough values are hidden.
3. Classes of which each image has one add up across labels as well: a value that is hidden for one is hidden for all.
   Where a label's total is hidden, the patients hidden at a value reach the minimum count.
4. Where anything of a dimension is hidden, its table names every value, so that the empty ones are not disclosed.

Bins of the reliability table are merged instead (``fedward.privacy.disclosure.reliability``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fedward.privacy.disclosure.categories import DIMENSIONS, FALSE_POSITIVE_RATES, RELIABILITY_BINS
from fedward.privacy.disclosure.metric_registry import GROUPS, SUPPRESSED, Metric
from fedward.privacy.disclosure.reliability import coarse_bins
from fedward.privacy.disclosure.rule import Rule
from fedward.privacy.disclosure.suppression import Cell, suppress_cells

Content = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """Counts of a label or structure that leave; None where one does not.

    Attributes:
        patients: of a label all patients, of a structure those who have it.
        positives: patients with yes; a structure has none.
        structure: True for a structure.
        everyone: for a structure, all patients, with it or without.
    """

    patients: int | None
    positives: int | None
    structure: bool = False
    everyone: int | None = None

    @property
    def of_each(self) -> tuple[int, int] | None:
        """Patients, and patients with yes; None where either is unknown."""
        return None if self.patients is None or self.positives is None else (self.patients, self.positives)

    @property
    def known(self) -> bool:
        return self.patients is not None and (self.structure or self.positives is not None)


Wholes = Mapping[str | None, Whole]


def wholes_of(scores: Content) -> Wholes:
    """Return the counts that scores or pooled scores disclose, by label; under None where one label has no name.

    Args:
        scores: scores as ``release`` returns them.
    """
    if structures := scores.get("structures"):
        everyone = scores.get("patients")
        return {
            name: Whole(patients=part.get("patients"), positives=None, structure=True, everyone=everyone)
            for name, part in structures.items()
        }
    if "labels" not in scores and "positives" not in scores:
        return {None: Whole(patients=scores.get("dice_patients"), positives=None, structure=True)}
    tables = scores.get("labels") or {None: scores}
    return {
        name: Whole(patients=part.get("patients"), positives=part.get("positives")) for name, part in tables.items()
    }


def subgroups(content: Content, wholes: Wholes, rule: Rule) -> dict[str, Any]:
    """Return the part of ``subgroups`` that may leave; see the module.

    Args:
        content: label or structure -> dimension -> value -> metrics; other entries are left out.
        wholes: counts of each label that leave.
        rule: the hospital's.
    """
    labels = {name: content[name] for name in content if rule.entry(name) and isinstance(content[name], Mapping)}
    found: dict[str, Any] = {name: {} for name in labels}
    for dimension in DIMENSIONS:
        tables = {
            name: {value: cell for value, cell in label[dimension].items() if value in DIMENSIONS[dimension]}
            for name, label in labels.items()
            if isinstance(label.get(dimension), Mapping)
        }
        for name, table in _Dimension(dimension, tables, wholes, rule).released().items():
            found[name][dimension] = table
    return {name: curve for name, curve in found.items() if curve}


def curves(content: Content, wholes: Wholes, rule: Rule) -> dict[str, Any]:
    """Return the part of ``curves`` that may leave: label -> ``roc`` and ``reliability``; see the module."""
    found = {}
    for name in content:
        if not rule.entry(name) or not isinstance(content[name], Mapping):
            continue
        of_each = _whole(wholes, name, content).of_each
        tables: dict[str, Any] = {}
        if isinstance(table := content[name].get("roc"), Mapping):
            rates = [rate for rate in FALSE_POSITIVE_RATES if rate in table]
            tables["roc"] = {rate: rule.clean(Metric("score"), table[rate]) if of_each else None for rate in rates}
        if isinstance(table := content[name].get("reliability"), Mapping):
            tables["reliability"] = coarse_bins(table, of_each, rule)
        if known := {curve: points for curve, points in tables.items() if points}:
            found[name] = known
    return found


def unknown_entries(group: str, content: object, rule: Rule) -> Iterator[str]:
    """Yield faults of names and forms, none of which shows the name."""
    if type(content) is not dict:
        yield f"metric {group} is not a table"
        return
    for name, label in content.items():
        if not rule.entry(name):
            yield f"metric {group} has an entry that is no label, class or structure of the job"
        elif type(label) is not dict or not label or not all(_of_table(group, *item) for item in label.items()):
            yield f"metric {group} has an entry that is not of its table"


def _of_table(group: str, name: object, table: object) -> bool:
    """True if a dimension's or a curve's table has only names that it can have."""
    if type(table) is not dict or not table:
        return False
    if group == "curves" and name == "roc":
        return all(type(rate) is str and rate in FALSE_POSITIVE_RATES for rate in table)
    parts = DIMENSIONS if group == "subgroups" else {"reliability": RELIABILITY_BINS}
    if type(name) is not str or name not in parts:
        return False
    known = {*GROUPS["subgroup" if group == "subgroups" else "reliability"], SUPPRESSED}
    return all(
        type(part) is str and part in parts[name] and type(cell) is dict and cell.keys() <= known
        for part, cell in table.items()
    )


class _Dimension:
    """One dimension of all labels."""

    def __init__(self, dimension: str, tables: Mapping[str, Content], wholes: Wholes, rule: Rule) -> None:
        self._values, self._tables, self._rule = DIMENSIONS[dimension], tables, rule
        found = {name: _whole(wholes, name, tables) for name in tables}
        self._known = {name: whole for name, whole in found.items() if whole.known}
        self._classes = rule.exclusive and len(wholes) > 1
        self._unseen_labels = any(name not in self._known for name in wholes if name is not None)

    def released(self) -> dict[str, dict[str, Any]]:
        people = self._people()
        seen = {name: people if whole.structure else frozenset[str]() for name, whole in self._known.items()}
        seen |= self._positives(people)
        found = {
            name: self._disclosed(name, people if name in self._known else frozenset(), seen) for name in self._tables
        }
        return {name: table for name, table in found.items() if table}

    def _people(self) -> frozenset[str]:
        """Return the values whose patients may be shown."""
        tables: dict[object, dict[str, Cell]] = {
            name: {value: _counts(cell, ("patients",)) for value, cell in self._tables[name].items()}
            for name in self._known
        }
        wholes: dict[object, tuple[int, ...]] = {name: (whole.patients or 0,) for name, whole in self._known.items()}
        for name, cells in self._without().items():
            tables["without", name] = cells
            wholes["without", name] = ((self._known[name].everyone or 0) - wholes[name][0],)
        return suppress_cells(tables, wholes=wholes, least=self._rule.disclosure.min_count)

    def _without(self) -> dict[str, dict[str, Cell]]:
        """Return structure -> value -> patients without it, if they follow from a structure that all patients have."""
        structures = {name: whole for name, whole in self._known.items() if whole.structure}
        full = [name for name, whole in structures.items() if whole.patients == whole.everyone]
        if not full:
            return {}
        everyone = self._tables[full[0]]
        found = {}
        for name in structures.keys() - set(full):
            table = self._tables[name]
            cells = {value: _rest(everyone.get(value), table.get(value)) for value in {*everyone, *table}}
            found[name] = {value: cell for value, cell in cells.items() if cell != (0,)}
        return found

    def _positives(self, people: frozenset[str]) -> dict[str, frozenset[str]]:
        """Return label -> values whose positives may be shown."""
        labels = {name: whole.of_each for name, whole in self._known.items() if not whole.structure}
        allowed = dict.fromkeys(labels, people)
        while True:
            seen = {
                name: suppress_cells(
                    {name: {value: _each(cell) for value, cell in self._tables[name].items()}},
                    wholes={name: (*whole, whole[0] - whole[1]) if whole else ()},
                    least=self._rule.disclosure.min_count,
                    allowed=allowed[name],
                )
                for name, whole in labels.items()
            }
            drop = frozenset(value for value in people if self._follows(value, seen))
            if all(not drop & values for values in seen.values()):
                return seen
            allowed = {name: values - drop for name, values in seen.items()}

    def _follows(self, value: str, seen: Mapping[str, frozenset[str]]) -> bool:
        """True if a class's hidden positives at a value might follow from those of the other classes."""
        open_ones = [name for name in seen if value in seen[name]]
        if not self._classes or not open_ones:
            return False
        if len(open_ones) < len(seen):
            return True
        cells = [self._tables[name][value] for name in open_ones]
        rest: int = cells[0]["patients"] - sum(cell["positives"] for cell in cells)
        return self._unseen_labels and rest < self._rule.disclosure.min_count

    def _disclosed(self, name: str, people: Collection[str], seen: Mapping[str, Collection[str]]) -> dict[str, Any]:
        table = self._tables[name]
        group = GROUPS["subgroup"]
        keys = [key for key in group if any(isinstance(cell, Mapping) and key in cell for cell in table.values())]
        if not keys:
            return {}

        def of(value: str) -> dict[str, Any]:
            if value in seen.get(name, ()):
                return {key: self._rule.clean(group[key], table[value].get(key)) for key in keys}
            kept = ("patients",) if value in people else ()
            return {key: table[value][key] if key in kept else None for key in keys} | {SUPPRESSED: True}

        whole = all(value in seen.get(name, ()) for value in table)
        return {value: of(value) for value in (table if whole else self._values)}


def _each(cell: object) -> Cell:
    """Return the patients of a subgroup, those with yes, and those without."""
    counts = _counts(cell, ("patients", "positives"))
    if counts is None:
        return None
    negatives = counts[0] - counts[1]
    return (*counts, negatives) if negatives >= 0 else None


def _rest(everyone: object, part: object) -> Cell:
    """Return the patients of a value who are outside a part of them."""
    whole, others = (_counts(cell, ("patients",)) for cell in (everyone, part))
    if whole is None or others is None or whole[0] < others[0]:
        return None
    return (whole[0] - others[0],)


def _counts(cell: object, names: tuple[str, ...]) -> tuple[int, ...] | None:
    if not isinstance(cell, Mapping):
        return None
    values = [cell.get(name) for name in names]
    if not all(type(value) is int and value >= 0 for value in values):
        return None
    return tuple(values)  # type: ignore[arg-type]


def _whole(wholes: Wholes, name: str, content: Mapping[str, object]) -> Whole:
    """Return the counts of a label that leave; counts without a name belong to the only label."""
    unknown = Whole(patients=None, positives=None)
    if None in wholes:
        return wholes[None] if len(content) == 1 else unknown
    return wholes.get(name, unknown)
