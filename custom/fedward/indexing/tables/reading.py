"""Read the bytes of a table in CSV into cells; refuse a line whose cells are not clear.

1. Decode UTF-8, or UTF-16 with its mark (BOM); refuse workbooks, other encodings and binary files.
2. Skip empty lines above the headings. Take the separator that the first line names (``sep=;``, Excel), or the one of
   comma, semicolon, tab and | by which the heading line has a key column; of several, the one with most columns.
3. Read each line with ``csv`` in strict mode (RFC 4180). A line has exactly as many cells as there are headings.

Every line after the headings is in exactly one of ``Cells.rows``, ``Cells.refused`` and ``Cells.blank``; a row that
holds line breaks stands under its first line, a refused one under each of its lines. No refusal quotes a cell.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from fedward.errors import CohortError

SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "|"}
"""Separator -> its name in messages."""
_LONGEST_CELL = 2**31 - 1
_LINES_ABOVE = 20
"""Lines above the headings, such as a title, among which a message still finds the headings."""
_NAMED = re.compile(r'"?sep=([,;|\t])"?', re.IGNORECASE)
_END_OF_FILE = re.compile(r"\x1a\s*\Z")
"""Ctrl-Z, with which programs for DOS end a file."""
_WORKBOOKS = (b"PK\x03\x04", b"PK\x05\x06", b"\xd0\xcf\x11\xe0")
"""First bytes of .xlsx and .ods (a zip) and of .xls (a compound file)."""
_PAGES = ("<html", "<!doctype", "<table", "<?xml", "<workbook")
"""First words of a web page or of XML, which some programs write under the name .xls."""
_NOTHING = " \t\r\n,;|\N{BYTE ORDER MARK}"
_SAVE = "save the table as CSV UTF-8"
_TRAILING = "remove the separators at the end of lines"
_ONE_MORE = (
    "each line has one cell more than there are headings: put decimal commas in quotes; for a column of row names, "
    "write a heading (in R, row.names = FALSE)"
)
_Record = tuple[int, int, list[str] | None]


@dataclass(frozen=True, slots=True, order=True)
class RefusedLine:
    """Line of the file, from 1, that gives no label.

    Attributes:
        line: number of the line.
        reason: a key of ``fedward.indexing.tables.account.REASONS``.
        detail: one line for the hospital; it holds no cell.
    """

    line: int
    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Cells:
    """Table as cells without surrounding blanks.

    Attributes:
        headings: cells of the heading line.
        rows: number of the line, and as many cells as there are headings; one at least is not empty.
        refused: refused lines.
        blank: numbers of the lines whose cells are all empty.
    """

    headings: tuple[str, ...]
    rows: tuple[tuple[int, tuple[str, ...]], ...]
    refused: tuple[RefusedLine, ...]
    blank: tuple[int, ...]


def read_cells(path: Path, *, is_key: Callable[[str], bool]) -> Cells:
    """Read a table.

    Args:
        path: the file.
        is_key: tells if a heading is that of a key column.

    Raises:
        CohortError: the file cannot be read, is not text, or has no line of headings with a key column.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        remedy = "correct labels in site.toml"
        raise CohortError("label table cannot be read", where=path, value=error.strerror, remedy=remedy) from None
    lines = list(io.StringIO(_text(content, path), newline=""))
    skipped = _empty(lines, 0)
    named = _NAMED.fullmatch(lines[skipped].strip("\r\n")) if skipped < len(lines) else None
    skipped = _empty(lines, skipped + 1) if named else skipped
    if skipped == len(lines):
        raise CohortError("label table is empty", where=path, remedy="write headings and lines, or correct site.toml")
    separator = _separator(lines, skipped, (named[1],) if named else tuple(SEPARATORS), is_key, path)
    records = _records(lines[skipped:], separator)
    headings = tuple(" ".join(cell.split()) for cell in next(records)[2] or ())
    rows, refused, blank = [], [], []
    for first, end, cells in records:
        numbers = range(skipped + first, skipped + end + 1)
        stripped = () if cells is None else tuple(cell.strip() for cell in cells)
        if cells is None or _swallowed(lines[numbers[0] : numbers[-1]], separator, len(headings)):
            upto = f"lines {numbers[0]} to {numbers[-1]}" if len(numbers) > 1 else ""
            refused += [RefusedLine(number, "quote-not-closed", upto) for number in numbers]
        elif not any(stripped):
            blank.append(numbers[0])
        elif len(stripped) != len(headings):
            refused += [RefusedLine(number, "cell-count", _counts(stripped, headings)) for number in numbers]
        else:
            rows.append((numbers[0], stripped))
    if not rows and all(one.detail == _one_more(headings) for one in refused):
        refused = [replace(one, detail=f"{one.detail}; {_ONE_MORE}") for one in refused]
    if not rows and not refused:
        raise CohortError("label table has no lines below its headings", where=path, remedy="write them")
    return Cells(headings, tuple(rows), tuple(refused), tuple(blank))


def _text(content: bytes, path: Path) -> str:
    if content.startswith(_WORKBOOKS):
        raise CohortError("label table is an Excel or other spreadsheet workbook", where=path, remedy=_SAVE)
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = content.decode("utf-16" if wide else "utf-8").lstrip("\N{BYTE ORDER MARK}")
    except UnicodeDecodeError:
        raise CohortError("label table is not UTF-8", where=path, remedy=_SAVE) from None
    if "\0" in text:
        sides = (content[:400:2], content[1:400:2])  # ASCII in UTF-16: one byte of each two is 0
        unmarked = not wide and any(2 * side.count(0) > len(side) for side in sides)
        what = "not UTF-8" if unmarked else "not text: it holds NUL bytes"
        raise CohortError(f"label table is {what}", where=path, remedy=_SAVE)
    if text.lstrip().lower().startswith(_PAGES):
        raise CohortError("label table is a web page or an XML workbook", where=path, remedy=_SAVE)
    return _END_OF_FILE.sub("", text)


def _separator(
    lines: Sequence[str], start: int, separators: Sequence[str], is_key: Callable[[str], bool], path: Path
) -> str:
    records = {one: next(_records(lines[start:], one), (1, 1, [])) for one in separators}
    firsts = {one: (cells, last) for one, (_, last, cells) in records.items() if cells is not None}
    found = {one: (cells, last) for one, (cells, last) in firsts.items() if any(map(is_key, cells))}
    if not found and len(firsts) < len(records):
        remedy = "close the quotes in the heading line"
        raise CohortError("label table is not CSV", where=path, remedy=remedy)
    if not found:
        _no_key_column(lines, start, {one: len(cells) for one, (cells, _) in firsts.items()}, is_key, path)
    most = max(len(cells) for cells, _ in found.values())
    chosen = [one for one, (cells, _) in found.items() if len(cells) == most]
    if len(chosen) > 1 and most > 1:
        remedy = "write sep=, or sep=; as its first line"
        raise CohortError("label table has headings for several separators", where=path, remedy=remedy)
    cells, last = found[chosen[0]]
    in_breaks = any(chosen[0] in cell for cell in cells if "\n" in cell or "\r" in cell)
    if in_breaks and _swallowed(lines[start + 1 : start + last], chosen[0], most):
        remedy = "close the quotes in the heading line"
        raise CohortError("label table has a heading that takes in a line of values", where=path, remedy=remedy)
    return chosen[0]


def _no_key_column(
    lines: Sequence[str], start: int, counts: dict[str, int], is_key: Callable[[str], bool], path: Path
) -> NoReturn:
    """Refuse a table whose first line, which may be one of values, is not one of headings; quote none of its cells."""
    tried = ", ".join(f"{count} by {SEPARATORS[one]}" for one, count in counts.items())
    what = f"label table (cells of line {start + 1}: {tried}): line {start + 1} has no key column"
    remedy = "name a column PatientID, StudyInstanceUID, SeriesInstanceUID, SOPInstanceUID or Image"
    for number in range(start + 1, min(start + _LINES_ABOVE, len(lines))):
        if any(is_key(cell) for one in counts for cell in _cells(lines[number], one)):
            remedy += f", or remove the lines above line {number + 1}, which has one"
            break
    raise CohortError(what, where=path, remedy=remedy)


def _counts(cells: Sequence[str], headings: Sequence[str]) -> str:
    counts = f"{_counted(len(cells), 'cell')}, {_counted(len(headings), 'heading')}"
    more = len(cells) - len(headings)
    if more > 0 and not any(cells[len(headings) :]):
        return (
            f"{counts}; {_counted(more, 'empty cell')} too many at its end: remove the separators at the end of lines"
        )
    return counts


def _one_more(headings: Sequence[str]) -> str:
    return f"{_counted(len(headings) + 1, 'cell')}, {_counted(len(headings), 'heading')}"


def _empty(lines: Sequence[str], start: int) -> int:
    """Return the number of the first line from ``start`` that holds more than blanks and separators."""
    held = (number for number in range(start, len(lines)) if lines[number].strip(_NOTHING))
    return next(held, len(lines))


def _records(lines: Sequence[str], separator: str) -> Iterator[_Record]:
    """Yield first line, last line and cells of each record; None for cells that a quote makes unclear.

    A record whose quote is never closed goes to the end of the file: what is inside it is not read again as lines.
    """
    reader = csv.reader(lines, delimiter=separator, strict=True)
    while True:
        first = reader.line_num + 1
        cells: list[str] | None = None
        try:
            cells = _next(reader)
        except StopIteration:
            return
        except csv.Error:
            pass
        yield first, reader.line_num, cells


def _swallowed(continued: Sequence[str], separator: str, headings: int) -> bool:
    """True if one of the further lines of a record looks like a line of its own: it has as many cells as headings."""
    return any(len(_cells(line, separator)) >= headings for line in continued)


def _cells(line: str, separator: str) -> list[str]:
    try:
        return _next(csv.reader([line], delimiter=separator))
    except StopIteration:
        return []


def _next(reader: Iterator[list[str]]) -> list[str]:
    """Return the next record, however long a cell is; csv's limit, which is the whole process's, stays as it was."""
    limit = csv.field_size_limit(_LONGEST_CELL)
    try:
        return next(reader)
    finally:
        csv.field_size_limit(limit)


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
