"""Read the hospital's label table, a CSV, and match its rows to images by its key columns.

Key columns, most specific first: SOPInstanceUID, SeriesInstanceUID, StudyInstanceUID, PatientID; for NIfTI: Image, the
file name with or without folder and suffix. Every other column is a label, but for one that identifies people, such as
PatientName, which is not read. An empty value, or a word such as NA, means no label.

Identifiers match exactly. A line that may mean another image or patient is refused, and so is a line whose cells are
not clear; all other lines count. Each line has one outcome: matched, unmatched, refused or blank.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from fedward.errors import CohortError
from fedward.indexing.site_key import Kind, SiteKey
from fedward.indexing.tables.account import (
    RESPELLED,
    LabelLines,
    fallback_in_words,
    in_words,
    require_lines,
    tally_refused,
)
from fedward.indexing.tables.assignment import assigned, unused_kinds
from fedward.indexing.tables.cohort import Cohort, Names
from fedward.indexing.tables.reading import RefusedLine, read_cells
from fedward.indexing.tables.rows import (
    LabelRow,
    identifying_columns,
    key_columns,
    kind_of,
    label_columns,
    rows_of,
    unnamed_columns,
)
from fedward.indexing.tables.spellings import Spellings
from fedward.visible import visible

_SHOWN, _LONGEST_SHOWN = 20, 40
"""Columns of a message, and characters of each."""
_AS_IN_THE_FILES = (
    "write the identifiers as they stand in the image headers; for NIfTI, head the column Image and write file names"
)


@dataclass(frozen=True, slots=True)
class Assigned:
    """Labels of each image, with the account of the table and its refused lines."""

    labels: list[dict[str, str]]
    lines: LabelLines
    refused: tuple[RefusedLine, ...]


@dataclass(frozen=True, slots=True)
class LabelTable:
    """Label table with pseudonyms for its keys.

    Attributes:
        path: path of the file.
        columns: label columns, in order.
        keys: kind -> key column, most specific first.
        rows: rows of the table.
        key: the site's key.
        refused: lines that could not be read.
        blank: numbers of the blank lines.
        unnamed_columns: number of columns with values under an empty heading.
        identifying_columns: headings of the columns that were not read, because they identify people.
    """

    path: Path
    columns: tuple[str, ...]
    keys: dict[Kind, str]
    rows: tuple[LabelRow, ...]
    key: SiteKey
    refused: tuple[RefusedLine, ...] = ()
    blank: tuple[int, ...] = ()
    unnamed_columns: int = 0
    identifying_columns: tuple[str, ...] = ()

    def match(self, images: Sequence[Names]) -> list[dict[str, str]]:
        """Return the labels of each image; ``assign`` without spellings and without the account."""
        return self.assign(images, {}).labels

    def assign(self, images: Sequence[Names], spellings: Spellings) -> Assigned:
        """Return the labels of each image, and the account of the table.

        A key column is usable if by it at least one row matches an image. A row counts under its most specific usable
        key that is not empty. So a table keyed by image labels exactly the images that it names, and a table whose UIDs
        were replaced still matches by patient.

        Args:
            images: names of each image.
            spellings: what an identifier of the table may stand for, from ``cohort_spellings``.

        Raises:
            CohortError: no row matches any image, or every line is refused.
        """
        cohort = Cohort(images, spellings, self.rows, self.key)
        if images and not cohort.usable:
            self._no_match(cohort)
        done = assigned(images, cohort, self.rows)
        refused = [*self.refused, *done.refused]
        by = {self.keys[kind]: count for kind, count in done.matched().items()}
        matched = sum(by.values())
        require_lines(self.path, refused, others=matched + len(done.unmatched))
        found = done.rows()
        unused = unused_kinds(cohort, self.rows)
        lines = LabelLines(
            lines=matched + len(done.unmatched) + len(refused) + len(self.blank),
            matched=matched,
            unmatched=len(done.unmatched),
            respelled=sum(map(cohort.is_respelled, done.unmatched)),
            blank=len(self.blank),
            refused=tally_refused(refused),
            missing=_missing(self.columns, found),
            unnamed_columns=self.unnamed_columns,
            identifying_columns=self.identifying_columns,
            set_aside=sum(map(cohort.is_set_aside, done.unmatched)),
            matched_by=by,
            fallback=fallback_in_words(by, [self.keys[kind] for kind in unused]),
            spread=done.spread(unused[0]) if unused else 0,
        )
        return Assigned([{} if row is None else dict(row.labels) for row in found], lines, tuple(sorted(refused)))

    def _no_match(self, cohort: Cohort) -> None:
        what, remedy = "no labels match", _AS_IN_THE_FILES
        if respelled := sum(map(cohort.is_respelled, self.rows)):
            what += f": {respelled} of {len(self.rows)} lines name an image or a patient in another spelling"
            remedy = RESPELLED
        if aside := sum(map(cohort.is_set_aside, self.rows)):
            what += f"; {aside} of {len(self.rows)} lines name what is in quarantine"
        if self.refused:
            what += f"; refused: {in_words(tally_refused(self.refused))}"
        raise CohortError(what, where=self.path, remedy=remedy)


def read_labels(path: Path, key: SiteKey) -> LabelTable:
    """Read a label table in UTF-8 or UTF-16; ``fedward.indexing.tables.reading`` has the forms of a CSV.

    Raises:
        CohortError: no such file, not a table, no key column, no label column, a column named twice, or every line is
            refused.
    """
    table = read_cells(path, is_key=lambda heading: kind_of(heading) is not None)
    columns = label_columns(table.headings, path)
    rows, without_id = rows_of(table, columns, key)
    refused = (*table.refused, *without_id)
    require_lines(path, refused, others=len(rows))
    return LabelTable(
        path,
        tuple(columns),
        key_columns(table.headings),
        tuple(rows),
        key,
        refused=refused,
        blank=table.blank,
        unnamed_columns=unnamed_columns(table),
        identifying_columns=identifying_columns(table.headings),
    )


def require_columns(table: LabelTable | None, columns: Collection[str], where: Path) -> None:
    """Refuse columns that the site requires and that the label table does not have.

    Args:
        table: the label table, None if the site names none.
        columns: label columns in ``require`` of ``site.toml``, without the word for a mask.
        where: the file that requires them.

    Raises:
        CohortError: one of them is no label column of the table.
    """
    known = () if table is None else table.columns
    absent = [column for column in columns if column not in known]
    if not absent:
        return
    shown = ", ".join(repr(visible(column)) for column in absent)
    if table is None:
        what, remedy = f"require names {shown}, and there is no label table", "name the table by labels, or correct it"
    else:
        what, remedy = f"require names no column of the label table: {shown}", f"it has: {_shown(known)}"
        if table.identifying_columns:
            remedy += f"; not kept, because they identify people: {', '.join(table.identifying_columns)}"
    raise CohortError(what, where=where, remedy=remedy)


def _shown(columns: Sequence[str]) -> str:
    more = ", …" if len(columns) > _SHOWN else ""
    return ", ".join(visible(column)[:_LONGEST_SHOWN] for column in columns[:_SHOWN]) + more


def _missing(columns: Collection[str], found: Sequence[LabelRow | None]) -> dict[str, dict[str, int]]:
    """Count the images that a word leaves without a label, by column and word."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for row in found:
        for column, word in (row.missing if row is not None else {}).items():
            counts[column][word] += 1
    return {column: dict(sorted(counts[column].items())) for column in columns if column in counts}
