"""Give each image the labels of its lines; find lines that contradict each other, and labels that spread.

A line counts under its most specific usable kind that is not empty. An image has the labels of the lines of its most
specific kind. Lines of one kind that label one image differently give it no label, and no other line does instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from fedward.indexing.site_key import Kind
from fedward.indexing.tables.cohort import Cohort, Names
from fedward.indexing.tables.reading import RefusedLine
from fedward.indexing.tables.rows import LabelRow

_SHOWN = 5
_Group = tuple[Kind, str | int]
"""Kind, and what its lines name in common: a patient, study or series by its pseudonym, an image by its number."""


@dataclass(slots=True)
class Assignment:
    """Lines of a table, sorted.

    Attributes:
        images: names of each image.
        cohort: the same images.
        groups: lines that name the same.
        unmatched: rows that name no image.
        refused: refused lines.
    """

    images: Sequence[Names]
    cohort: Cohort
    groups: dict[_Group, list[LabelRow]] = field(default_factory=dict)
    unmatched: list[LabelRow] = field(default_factory=list)
    refused: list[RefusedLine] = field(default_factory=list)
    _mute: set[int] = field(default_factory=set)

    def matched(self) -> dict[Kind, int]:
        """Return the number of lines that name an image and are not refused, by the kind under which they count."""
        counts: dict[Kind, int] = {}
        for (kind, _), rows in self.groups.items():
            if lines := sum(row.line not in self._mute for row in rows):
                counts[kind] = counts.get(kind, 0) + lines
        return counts

    def rows(self) -> list[LabelRow | None]:
        """Return the row of each image, None for an image without one."""
        return [self._row_of(number) for number in range(len(self.images))]

    def spread(self, finer: Kind) -> int:
        """Count the patients, studies or series that a line was to label a part of, and labels as a whole.

        Args:
            finer: kind of a key column by which no line names an image, though each line of a part has its own.
        """
        return sum(
            len(rows) > 1 or self._parts(name, kind, finer) > 1
            for (kind, name), rows in self.groups.items()
            if kind != "image" and not any(row.line in self._mute for row in rows)
        )

    def _parts(self, name: str | int, kind: Kind, finer: Kind) -> int:
        numbers = self.cohort.named[kind].get(str(name), frozenset())
        return len(numbers) if finer == "image" else len({self.images[number].get(finer) for number in numbers})

    def _groups_of(self, number: int) -> Iterator[list[LabelRow]]:
        for kind in self.cohort.usable:
            names: Sequence[str | int] = (number,) if kind == "image" else sorted(self.images[number].get(kind, ()))
            if rows := [row for name in names for row in self.groups.get((kind, name), ())]:
                yield rows

    def _row_of(self, number: int) -> LabelRow | None:
        rows = next(self._groups_of(number), None)
        return None if rows is None or any(row.line in self._mute for row in rows) else rows[0]

    def refuse_conflicts(self) -> None:
        """Refuse the lines that name the same and label it differently."""
        for rows in self.groups.values():
            if any(row.labels != rows[0].labels for row in rows):
                shown = ", ".join(str(row.line) for row in rows[:_SHOWN]) + ", …" * (len(rows) > _SHOWN)
                self.refused += [RefusedLine(row.line, "conflicting-lines", f"lines {shown}") for row in rows]
                self._mute |= {row.line for row in rows}


def assigned(images: Sequence[Names], cohort: Cohort, rows: Sequence[LabelRow]) -> Assignment:
    """Sort the rows of a table: those that name an image, those that name none, those that are refused."""
    done = Assignment(images, cohort)
    for row in rows:
        if reason := cohort.doubt(row):
            done.refused.append(RefusedLine(row.line, reason))
            continue
        kind = cohort.counts_under(row)
        numbers = () if kind is None else cohort.images_of(row, kind)
        if kind is None or not numbers:
            done.unmatched.append(row)
        else:
            name = min(numbers) if kind == "image" else row.keys[kind]
            done.groups.setdefault((kind, name), []).append(row)
    done.refuse_conflicts()
    return done


def unused_kinds(cohort: Cohort, rows: Sequence[LabelRow]) -> tuple[Kind, ...]:
    """Return the kinds of the rows that are more specific than all usable ones, most specific first."""
    if not cohort.usable:
        return ()
    finer = list(cohort.named)[: list(cohort.named).index(cohort.usable[0])]
    return tuple(kind for kind in finer if any(kind in row.keys for row in rows))
