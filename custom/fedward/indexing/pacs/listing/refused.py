"""List what did not become a file here, with the reason, in ``archive-refused.csv``; count what of it is lost."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from fedward.errors import CohortError, StudyError
from fedward.files import write_csv
from fedward.indexing.pacs.reasons import REASONS
from fedward.settings import CohortPolicy

REFUSED = "archive-refused.csv"
_COLUMNS = ("study", "series", "instance", "reason", "which means that it", "detail", "instances lost")


@dataclass(frozen=True, slots=True)
class _Line:
    study: str
    series: str
    instance: str
    why: StudyError
    lost: int

    def cells(self) -> tuple[object, ...]:
        reason = self.why.reason
        return self.study, self.series, self.instance, reason, REASONS[reason], self.why.detail, self.lost


class RefusedList:
    """Lines of ``archive-refused.csv``: pseudonyms of study, series and instance, reason, and instances lost.

    Attributes:
        lost: number of instances lost, over all lines.
    """

    def __init__(self) -> None:
        self._lines: list[_Line] = []
        self.lost = 0

    def add(self, study: str, series: str, instance: str, why: StudyError, *, lost: int) -> None:
        """Add a line that counts ``lost`` instances as lost; 0 for one that is only reported."""
        self.lost += lost
        self._lines.append(_Line(study, series, instance, why, lost))

    def counts(self) -> dict[str, int]:
        """Return reason -> instances lost, or lines without a loss; the most frequent first."""
        found: Counter[str] = Counter()
        for line in self._lines:
            found[line.why.reason] += line.lost or 1
        return dict(found.most_common())

    def write(self, index: Path) -> None:
        """Write the list into the index folder."""
        lines = sorted(self._lines, key=lambda one: (one.study, one.series, one.instance, one.why.reason))
        write_csv(index / REFUSED, _COLUMNS, (line.cells() for line in lines))

    def tolerate(self, cohort: CohortPolicy, archive: str, *, found: int, here: int) -> None:
        """Raise ``CohortError`` if the site does not tolerate so great a loss, or if nothing is left.

        Args:
            cohort: states the tolerance.
            archive: the archive's address, for messages.
            found: instances found.
            here: instances in the image folder.
        """
        tolerated = cohort.max_quarantined_fraction
        remedy = f"see {REFUSED} in the index folder"
        if self.lost > tolerated * found:
            what = (
                f"{self.lost} of {found} instances could not be fetched, more than the site tolerates "
                f"(max_quarantined_fraction = {tolerated:g})"
            )
            raise CohortError(what, where=archive, remedy=remedy)
        if not here:
            raise CohortError(f"none of {found} instances is here", where=archive, remedy=remedy)
