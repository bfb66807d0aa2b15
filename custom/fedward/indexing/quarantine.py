"""Write and read ``quarantine.csv``, count its reasons, and define the error for a cohort past its tolerance."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from fedward.dataset.manifest import QUARANTINE
from fedward.errors import CohortError
from fedward.files import write_csv
from fedward.indexing.reasons import REASONS
from fedward.visible import readable

Table = list[tuple[str, int, str]]


@dataclass(frozen=True, slots=True, order=True)
class Quarantined:
    """File in quarantine.

    Attributes:
        file: path below the image folder; for a mask, the mask folder's name comes first.
        reason: a key of ``REASONS``.
        detail: one line for the hospital only.
    """

    file: str
    reason: str
    detail: str = ""


class QuarantineError(CohortError):
    """More image files are unusable than the site tolerates.

    Attributes:
        table: reason, number of files and explanation of the reason, masks among them; most frequent first.
    """

    def __init__(self, *, where: Path, unusable: int, files: int, tolerated: float, table: Table, index: Path) -> None:
        self.table = table
        most = f"more than the site tolerates (max_quarantined_fraction = {tolerated:g})"
        raised = "" if unusable == files else ", or raise max_quarantined_fraction"
        super().__init__(
            f"{unusable} of {files} image files cannot be used, {'which is all' if unusable == files else most}",
            where=where,
            remedy=f"correct or move the files that {index / QUARANTINE} lists{raised}",
        )


def tally(entries: Iterable[Quarantined]) -> Table:
    """Return reason, count and explanation, most frequent first."""
    counts = Counter(entry.reason for entry in sorted(entries))
    return [(reason, count, REASONS[reason]) for reason, count in counts.most_common()]


def write_quarantine(entries: Iterable[Quarantined], folder: Path) -> None:
    """Write ``quarantine.csv``: file, reason, detail, sorted by file; bytes that are no UTF-8 as ``\\xff``."""
    rows = ([readable(entry.file), entry.reason, readable(entry.detail)] for entry in sorted(entries))
    write_csv(folder / QUARANTINE, ["file", "reason", "detail"], rows)


def read_quarantine(folder: Path) -> list[Quarantined]:
    """Read the file that ``write_quarantine`` wrote.

    Raises:
        CohortError: the file is missing or not a quarantine list.
    """
    try:
        with (folder / QUARANTINE).open(newline="", encoding="utf-8") as file:
            return [Quarantined(line["file"], line["reason"], line["detail"]) for line in csv.DictReader(file)]
    except (OSError, KeyError, ValueError):
        raise CohortError(
            "no quarantine list here", where=folder, remedy="run `fedward site index SITE_TOML`"
        ) from None
