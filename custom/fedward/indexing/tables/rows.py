"""Turn the cells of a label table into rows: pseudonyms for identifiers, values by label column, words for no value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fedward.errors import CohortError
from fedward.indexing.site_key import Kind, SiteKey
from fedward.indexing.tables.identifying import identifies_people, plain
from fedward.indexing.tables.paths import endings, whole_name
from fedward.indexing.tables.reading import Cells, RefusedLine
from fedward.label_words import is_missing, missing_words
from fedward.visible import visible

_KEYS: dict[str, Kind] = {
    "SOPInstanceUID": "image",
    "Image": "image",
    "SeriesInstanceUID": "series",
    "StudyInstanceUID": "study",
    "PatientID": "patient",
}
"""Key column -> its kind, most specific first."""
KEY_COLUMNS: dict[str, Kind] = {plain(name): kind for name, kind in _KEYS.items()}
"""Heading of a key column as ``plain`` returns it -> its kind, most specific first."""
_LONGEST_SHOWN = 40


@dataclass(frozen=True, slots=True)
class LabelRow:
    """Row of the table.

    Attributes:
        line: number of its line in the file.
        keys: pseudonyms by kind; one at least.
        labels: labels by column.
        missing: words for no value by column.
        ids: identifiers by kind, as written; ``repr`` does not show them, and they are kept in memory alone.
        files: for a path under Image, the pseudonyms of its endings as whole paths of files, longest first.
    """

    line: int
    keys: dict[Kind, str]
    labels: dict[str, str]
    missing: dict[str, str]
    ids: dict[Kind, str] = field(repr=False)
    files: tuple[str, ...] = ()


def kind_of(heading: str) -> Kind | None:
    """Return the kind that a column identifies, None for a label column."""
    return KEY_COLUMNS.get(plain(heading))


def key_columns(headings: Sequence[str]) -> dict[Kind, str]:
    """Return the kinds that a table has columns for, most specific first -> usual name of the column."""
    given = set(map(plain, headings))
    return {kind: name for name, kind in _KEYS.items() if plain(name) in given}


def label_columns(headings: Sequence[str], path: Path) -> dict[str, int]:
    """Return label column -> its number, from 0; a column that identifies people is none.

    Raises:
        CohortError: two columns have one name or identify the same, or no column is a label.
    """
    named = [heading.lower() for heading in headings if heading]
    if len(set(named)) < len(named):
        raise CohortError("label table names a column twice", where=path, remedy="rename one of them")
    kinds = [kind for heading in headings if (kind := kind_of(heading))]
    if len(set(kinds)) < len(kinds):
        remedy = "keep one column that identifies patients, one for studies, one for series and one for images"
        raise CohortError("label table names an id twice", where=path, remedy=remedy)
    columns = {
        heading: number
        for number, heading in enumerate(headings)
        if heading and kind_of(heading) is None and not identifies_people(heading)
    }
    if not columns:
        what = "label table has no label column"
        if kept_out := identifying_columns(headings):
            what += f"; {len(kept_out)} not kept, because they identify people"
        raise CohortError(what, where=path, remedy="add a column with a name of its own")
    return columns


def identifying_columns(headings: Sequence[str]) -> tuple[str, ...]:
    """Return the headings of the columns that are not read because they identify people, printable and cut."""
    return tuple(
        visible(heading)[:_LONGEST_SHOWN]
        for heading in headings
        if heading and kind_of(heading) is None and identifies_people(heading)
    )


def rows_of(table: Cells, columns: dict[str, int], key: SiteKey) -> tuple[list[LabelRow], list[RefusedLine]]:
    """Return the rows, and the lines that have values and no identifier.

    A word for no value, such as NA, is neither a label nor an identifier.
    """
    absent = {
        column: missing_words(cells[number] for _, cells in table.rows if cells[number])
        for column, number in columns.items()
    }
    kinds = [kind_of(heading) for heading in table.headings]
    by_file = any(plain(heading) == "image" for heading in table.headings)
    rows, refused = [], []
    for line, cells in table.rows:
        given = {column: cells[number] for column, number in columns.items() if cells[number]}
        missing = {column: value for column, value in given.items() if value in absent[column]}
        labels = {column: value for column, value in given.items() if column not in missing}
        ids = {kind: cell for kind, cell in zip(kinds, cells, strict=True) if kind is not None and _is_id(kind, cell)}
        if ids:
            paths = endings(ids.get("image", "")) if by_file else ()
            exact = {**ids, "image": paths[0]} if paths else ids
            keys = {kind: key.pseudonym(kind, identifier) for kind, identifier in exact.items()}
            files = tuple(whole_name(path, key) for path in paths)
            rows.append(LabelRow(line, keys, labels, missing, ids, files))
        else:
            refused.append(RefusedLine(line, "no-id"))
    return rows, refused


def unnamed_columns(table: Cells) -> int:
    """Count the columns with values under an empty heading."""
    return sum(
        not heading and any(cells[number] for _, cells in table.rows) for number, heading in enumerate(table.headings)
    )


def _is_id(kind: Kind, cell: str) -> bool:
    return bool(cell) and not is_missing(cell) and (kind != "image" or bool(endings(cell)))
