"""Account for every line of a label table, for the hospital: counts on the screen, refused lines in a file.

Two files of the index folder: ``labels.json``, the account, and ``labels-refused.csv``: line, reason, detail. Neither
holds an identifier or a cell, except words for no value such as "NA".
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fedward.errors import CohortError
from fedward.files import write_atomic, write_csv
from fedward.indexing.tables.reading import RefusedLine

ACCOUNT, REFUSED = "labels.json", "labels-refused.csv"
REASONS: dict[str, str] = {
    "cell-count": "has more or fewer cells than there are headings: put a value that holds the separator, such as a "
    "decimal comma, in quotes; write a separator for each empty cell at the end, and no more",
    "quote-not-closed": "has a quote that is not closed, or that closes inside a cell, or is part of a cell with line "
    "breaks that may be several lines: close the quotes, and take line breaks out of cells",
    "no-id": "has values and no identifier, or a word such as NA in its place: write it, or remove the line",
    "contradicting-ids": "has identifiers of different images or patients: one of them is not that of the image which "
    "the others name: correct the line, or remove a key column",
    "ambiguous-id": "has an identifier that several patients or images may have: 12 for 12 and 0012 (write the ids as "
    "text, with their leading zeros, give both a line, or key the table by StudyInstanceUID), or a file name in "
    "several folders (write it with its folder)",
    "conflicting-lines": "gives other labels than another line for the same patient, study or image: keep one of them; "
    "several lines for one patient: key the table by StudyInstanceUID or SOPInstanceUID (NIfTI: Image)",
}
"""Reason for which a line of the label table gives no label -> explanation and remedy."""
RESPELLED = "write the ids as text, with their leading zeros, and file names and capitals as in the files"
"""Remedy for identifiers that name something in another spelling."""
_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Refused lines of one reason.

    Attributes:
        reason: a key of ``REASONS``.
        count: number of lines.
        first_lines: the first of them, five at most, as numbered in the file from 1.
        meaning: explanation and remedy.
    """

    reason: str
    count: int
    first_lines: tuple[int, ...]
    meaning: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelLines:
    """Account of the lines below the headings: ``lines`` is the sum of matched, unmatched, blank and refused ones.

    A row with line breaks in a cell counts once, under its first line; if its cells are not clear, each of its
    lines counts.

    Attributes:
        lines: number of lines.
        matched: lines that name an image of the cohort.
        unmatched: lines that name none.
        respelled: those of ``unmatched`` whose identifier is one of the cohort's in another spelling: without leading
            zeros, as a decimal number, in another case.
        set_aside: those of ``unmatched`` that name a patient, a study or a NIfTI file of which all is in quarantine.
        matched_by: key column -> those of ``matched`` that count under it.
        fallback: which columns count because no line names an image by a more specific one; "" if it is not so.
        spread: patients, studies or series that, with a fallback, several lines label alike, or of which one line
            labels several images, series or studies.
        blank: lines whose cells are all empty.
        refused: refused lines, most frequent reason first.
        missing: label column -> word for no value, such as "NA" -> images that it leaves without that label.
        unnamed_columns: columns that hold values under an empty heading; they are ignored.
        identifying_columns: headings of the columns that are not kept, because they identify people; printable and cut.
    """

    lines: int
    matched: int
    unmatched: int
    respelled: int
    blank: int
    refused: tuple[Refusal, ...]
    missing: dict[str, dict[str, int]]
    unnamed_columns: int
    identifying_columns: tuple[str, ...] = ()
    set_aside: int = 0
    matched_by: dict[str, int] = field(default_factory=dict)
    fallback: str = ""
    spread: int = 0


def fallback_in_words(counted: Iterable[str], unused: Sequence[str]) -> str:
    """Return one phrase on the key columns that count in place of more specific ones; "" if all of those count."""
    if not unused:
        return ""
    names = " and no line's ".join(unused)
    return f"matched by {' and '.join(counted)}: no line's {names} names an image here"


def tally_refused(refused: Iterable[RefusedLine]) -> tuple[Refusal, ...]:
    """Count the refused lines by reason."""
    ordered = sorted(refused)
    counts = Counter(one.reason for one in ordered).most_common()
    return tuple(
        Refusal(
            reason=reason,
            count=count,
            first_lines=tuple(one.line for one in ordered if one.reason == reason)[:_SHOWN],
            meaning=REASONS[reason],
        )
        for reason, count in counts
    )


def in_words(refused: Iterable[Refusal]) -> str:
    """Return counts, reasons and first lines in one phrase."""
    return ", ".join(f"{one.count} {one.reason} ({shown_lines(one)})" for one in refused)


def shown_lines(refusal: Refusal) -> str:
    """Return "line 3", or "lines 3, 7" with "…" if there are more."""
    more = ", …" if refusal.count > len(refusal.first_lines) else ""
    return f"line{'' if refusal.count == 1 else 's'} {', '.join(map(str, refusal.first_lines))}{more}"


def require_lines(path: Path, refused: Sequence[RefusedLine], *, others: int) -> None:
    """Refuse a table of which every line is refused.

    Args:
        path: the table.
        refused: its refused lines.
        others: number of its lines that are neither refused nor blank.

    Raises:
        CohortError: it is so.
    """
    if refused and not others:
        found = tally_refused(refused)
        what = f"every line of the label table is refused: {in_words(found)}"
        hints = {one.detail.partition("; ")[2] for one in refused if one.reason == found[0].reason}
        hint = hints.pop() if len(hints) == 1 else ""
        raise CohortError(what, where=path, remedy=hint or f"each line {found[0].meaning}")


def write_account(account: LabelLines, refused: Iterable[RefusedLine], folder: Path) -> None:
    """Write both files.

    Raises:
        OSError: they cannot be written.
    """
    rows = ([one.line, one.reason, one.detail] for one in sorted(refused))
    write_csv(folder / REFUSED, ["line", "reason", "detail"], rows)
    write_atomic(folder / ACCOUNT, json.dumps(asdict(account), indent=2) + "\n")


def remove_account(folder: Path) -> None:
    """Remove both files of an earlier run."""
    for name in (ACCOUNT, REFUSED):
        (folder / name).unlink(missing_ok=True)


def read_account(folder: Path) -> LabelLines | None:
    """Read the account, None if the index has none.

    Raises:
        CohortError: the file is not an account.
    """
    try:
        content: dict[str, Any] = json.loads((folder / ACCOUNT).read_text(encoding="utf-8"))
        refused = tuple(Refusal(**{**one, "first_lines": tuple(one["first_lines"])}) for one in content.pop("refused"))
        identifying = tuple(content.pop("identifying_columns", ()))
        return LabelLines(refused=refused, identifying_columns=identifying, **content)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, LookupError, AttributeError):
        remedy = "run `fedward site index SITE_TOML`"
        raise CohortError("account of the labels cannot be read", where=folder, remedy=remedy) from None
