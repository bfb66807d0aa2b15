"""Hold an archive's lists against the numbers that it states itself; what a list lacks is lost, and counted.

A number that the archive states and that is smaller than its list is out of date: it is passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from fedward.errors import StudyError
from fedward.indexing.pacs.archive import CutShortError, Series, Study


class _HasUid(Protocol):
    @property
    def uid(self) -> str: ...


One = TypeVar("One", bound=_HasUid)


@dataclass(frozen=True, slots=True)
class Listing(Generic[One]):
    """A list as the archive sent it.

    Attributes:
        named: answers with a UID, each once.
        nameless: answers without one; they cannot be requested.
        cut: the archive's word that it cut the list short, or None.
    """

    named: list[One]
    nameless: list[One]
    cut: CutShortError | None = None

    def __len__(self) -> int:
        return len(self.named) + len(self.nameless)

    def lacking(self, stated: int | None) -> int:
        """Return the number of answers that the list lacks.

        Args:
            stated: number that the archive states elsewhere. If the list has exactly this number, it is whole, even if
                the archive says that it cut it: some say so with every answer.
        """
        by_number = max(0, (stated or 0) - len(self))
        if self.cut is None or (stated and len(self) == stated):
            return by_number
        return max(by_number, self.cut.missing or 1)

    def loss(self, detail: str) -> StudyError:
        """Return the reason for what the list lacks."""
        if self.cut is not None:
            return StudyError("cut-short", f"{detail}; {self.cut.detail}")
        return StudyError("not-listed", detail)


def listing(ask: Callable[[], Sequence[One]]) -> Listing[One]:
    """Ask for a list, whole or cut short. Raises ``StudyError`` if the archive refuses it."""
    cut: CutShortError | None = None
    try:
        answers = ask()
    except CutShortError as short:
        answers, cut = short.answers, short
    named = {one.uid: one for one in answers if one.uid}
    return Listing(list(named.values()), [one for one in answers if not one.uid], cut)


@dataclass(frozen=True, slots=True)
class ListedStudy:
    """Study with its list of series.

    Attributes:
        study: the study, with the numbers that the archive states.
        series: its list of series.
        taken: series of the cohort's modalities.
        instances: number of instances of each listed series; None if unknown.
    """

    study: Study
    series: Listing[Series]
    taken: list[Series]
    instances: dict[str, int | None] = field(default_factory=dict)

    def lacking(self) -> int:
        """Return the number of instances that are in none of the listed series.

        NumberOfStudyRelatedInstances counts all series, of whatever modality. If it is absent, or if a listed series
        has an unknown number, each missing series (NumberOfStudyRelatedSeries) counts as one instance.
        """
        numbers = list(self.instances.values())
        missing_series = self.series.lacking(self.study.series)
        if not self.study.instances or None in numbers:
            return missing_series
        listed = sum(number or 0 for number in numbers)
        if listed == self.study.instances and not self.study.series:
            return 0
        return max(missing_series, self.study.instances - listed)

    def loss(self) -> StudyError:
        """Return the reason for what the study lacks. Its modality is unknown: it may be one of the cohort's."""
        detail = (
            f"{len(self.series)} of {self.study.series or '?'} series, {self.study.instances or '?'} instances stated"
        )
        return self.series.loss(f"{detail}; modality of the rest unknown")
