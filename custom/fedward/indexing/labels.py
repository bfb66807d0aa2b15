"""Read the hospital's label table, a CSV, and match its rows to images by its key columns.

Key columns, most specific first: SOPInstanceUID, SeriesInstanceUID, StudyInstanceUID, PatientID; for NIfTI: Image, the
file name with or without folder and suffix. Every other column is a label; an empty value means no label.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fedward.dicom.nifti import stem
from fedward.errors import CohortError
from fedward.indexing.site_key import Kind, SiteKey

KEY_COLUMNS: dict[str, Kind] = {
    "sopinstanceuid": "image",
    "image": "image",
    "seriesinstanceuid": "series",
    "studyinstanceuid": "study",
    "patientid": "patient",
}
"""Column name in lower case -> kind that it identifies, most specific first."""
_KEYS = "PatientID, StudyInstanceUID, SeriesInstanceUID, SOPInstanceUID or Image"


@dataclass(frozen=True, slots=True)
class LabelRow:
    """Row of the table: pseudonyms by kind, and labels by column."""

    line: int
    keys: dict[Kind, str]
    labels: dict[str, str]


@dataclass(frozen=True, slots=True)
class LabelTable:
    """Label table with pseudonyms for its keys.

    Attributes:
        path: path of the file.
        columns: label columns, in order.
        rows: rows of the table.
    """

    path: Path
    columns: tuple[str, ...]
    rows: tuple[LabelRow, ...]

    def match(self, images: Sequence[dict[Kind, frozenset[str]]]) -> list[dict[str, str]]:
        """Return the labels of each image.

        A key column is usable if by it at least one row matches an image. A row counts under its most specific usable
        key that is not empty. So a table keyed by image labels exactly the images that it names, and a table whose UIDs
        were replaced still matches by patient.

        Args:
            images: for each image the pseudonyms by which a row may name it; several for the slices of a volume.

        Raises:
            CohortError: no row matches any image, or two rows label one image differently.
        """
        there: dict[Kind, set[str]] = {kind: set() for kind in KEY_COLUMNS.values()}
        for image in images:
            for kind, names in image.items():
                there[kind] |= names
        usable = [kind for kind in there if any(row.keys.get(kind) in there[kind] for row in self.rows)]
        if images and not usable:
            raise CohortError(
                "no labels match", where=self.path, remedy="write the identifiers as they stand in the image headers"
            )
        stated: dict[Kind, dict[str, LabelRow]] = {kind: {} for kind in usable}
        for row in self.rows:
            for kind in [kind for kind in usable if kind in row.keys][:1]:
                before = stated[kind].setdefault(row.keys[kind], row)
                if before.labels != row.labels:
                    self._conflict(before, row)
        return [self._labels(image, stated) for image in images]

    def _labels(self, image: dict[Kind, frozenset[str]], stated: dict[Kind, dict[str, LabelRow]]) -> dict[str, str]:
        for kind, rows in stated.items():
            found = [rows[name] for name in sorted(image.get(kind, ())) if name in rows]
            for other in found[1:]:
                if other.labels != found[0].labels:
                    self._conflict(found[0], other)
            if found:
                return dict(found[0].labels)
        return {}

    def _conflict(self, one: LabelRow, other: LabelRow) -> None:
        raise CohortError(
            "two rows label the same image differently",
            where=self.path,
            value=f"lines {one.line} and {other.line}",
            remedy="keep one of them",
        )


def read_labels(path: Path, key: SiteKey) -> LabelTable:
    """Read a label table in UTF-8, separated by commas, semicolons or tabs.

    Raises:
        CohortError: no such file, not a table, no key column, no label column, or a column named twice.
    """
    try:
        content = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise CohortError(
            "label table cannot be read", where=path, value=reason, remedy="correct labels in site.toml"
        ) from None
    first = content.split("\n", 1)[0]
    separator = max(",;\t", key=first.count)
    try:
        lines = list(csv.reader(io.StringIO(content, newline=""), delimiter=separator))
    except csv.Error:
        raise CohortError("label table is not CSV", where=path, remedy="save it as CSV in UTF-8") from None
    heads = [head.strip() for head in lines[0]] if lines else []
    keyed = [KEY_COLUMNS.get(head.lower()) for head in heads]
    columns = tuple(head for head, kind in zip(heads, keyed, strict=True) if head and kind is None)
    if not any(keyed):
        raise CohortError("label table has no key column", where=path, remedy=f"name a column {_KEYS}")
    if not columns:
        raise CohortError("label table has no label column", where=path, remedy="add a column with a name of its own")
    if len({head.lower() for head in heads if head}) < sum(1 for head in heads if head):
        raise CohortError("label table names a column twice", where=path, remedy="rename one of them")
    rows = tuple(_row(number, heads, keyed, cells, key) for number, cells in enumerate(lines[1:], 2) if any(cells))
    return LabelTable(path, columns, rows)


def _row(line: int, heads: Iterable[str], keyed: Iterable[Kind | None], cells: Sequence[str], key: SiteKey) -> LabelRow:
    keys: dict[Kind, str] = {}
    labels = {}
    for head, kind, cell in zip(heads, keyed, cells, strict=False):
        value = cell.strip()
        if not value:
            continue
        if kind is not None:
            keys[kind] = key.pseudonym(kind, stem(value) if head.lower() == "image" else value)
        elif head:
            labels[head] = value
    return LabelRow(line, keys, labels)
