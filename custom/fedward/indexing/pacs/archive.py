"""Define the interface to an image archive: queries for studies, series and instances; retrieval; errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from pydicom import Dataset
from pydicom.datadict import dictionary_VR, tag_for_keyword

from fedward.errors import CohortError, SettingsError, StudyError
from fedward.settings import Pacs


@dataclass(frozen=True, slots=True)
class Study:
    """Study in the archive's answer.

    Attributes:
        uid: StudyInstanceUID.
        answered: keywords in the answer; the archive may omit some that were requested.
        series, instances: numbers of series and of instances, of all modalities, if the archive states them.
        unlike: keywords of the query's keys that the answer's values contradict.
        empty: keywords in the answer without a value.
    """

    uid: str = field(repr=False)
    answered: frozenset[str]
    series: int | None = None
    instances: int | None = None
    unlike: frozenset[str] = frozenset()
    empty: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Series:
    """Series: UIDs of study and series, Modality or "", and number of instances, if the archive states it."""

    study: str = field(repr=False)
    uid: str = field(repr=False)
    modality: str
    instances: int | None


@dataclass(frozen=True, slots=True)
class Instance:
    """Instance: its SOPInstanceUID, and its SOPClassUID or ""."""

    uid: str = field(repr=False)
    sop_class: str


Verdict = Literal["stored", "refused", "not-asked", "stopped"]
Receive = Callable[[Dataset], Verdict]
"""Callback for one data set with ``file_meta.TransferSyntaxUID``, from any thread; it returns the verdict."""


class Archive(Protocol):
    """Interface to an archive. Every method may raise ``SilentArchiveError`` or another ``CohortError``.

    An answer without a UID is returned with the UID "": it counts, though it cannot be requested.
    """

    def studies(self) -> list[Study]:
        """Return the studies that match the policy's keys. Raises ``CohortError`` if the list is cut short."""

    def series(self, study: str) -> list[Series]:
        """Return all series of a study. Raises ``CutShortError`` if there may be more."""

    def instances(self, series: Series) -> list[Instance]:
        """Return all instances of a series. Raises ``CutShortError`` if there may be more."""

    def retrieve(self, series: Series, wanted: Sequence[Instance], receive: Receive, *, alone: bool) -> int:
        """Have ``wanted`` sent to ``receive``; an instance that has not arrived on return was not sent.

        Return the number of instances that by the archive's own word it did not send, without those that ``receive``
        did not take: C-GET and C-MOVE count failed sub-operations, and a DICOMweb answer may be partial.

        Args:
            series: series of the instances.
            wanted: instances to retrieve.
            receive: called with each instance.
            alone: True to request each instance by itself instead of the whole series.

        Raises:
            StudyError: "archive-refused", with the archive's status; of several instances requested alone, after
                each was requested.
        """

    def close(self) -> None:
        """Close connections and ports."""


class SilentArchiveError(CohortError):
    """The archive cannot be reached or does not answer; another try may succeed."""


class CutShortError(StudyError):
    """A list of series or instances that the archive cut short.

    Args:
        reason, detail: as in ``StudyError``.
        answers: the answers that came.
        missing: number of answers that the archive says are missing; None if it does not say.
    """

    def __init__(
        self, reason: str = "cut-short", detail: str = "", answers: Sequence[Any] = (), missing: int | None = None
    ) -> None:
        super().__init__(reason, detail)
        self.answers, self.missing = tuple(answers), missing

    def __reduce__(self) -> tuple[type[CutShortError], tuple[Any, ...]]:
        return type(self), (self.reason, self.detail, self.answers, self.missing)


def studies_cut_short(pacs: Pacs, studies: int, *, value: str | None = None) -> CohortError:
    """Return the error for a list of studies that ended before its end, after this many."""
    what = f"archive cut its list of studies short after {studies}, and does not page further"
    remedy = "narrow query in site.toml, or have the archive's limit raised"
    return CohortError(what, where=place_of(pacs), value=value, remedy=remedy)


UNIVERSAL = ("", "*")
"""Values that match every study, including those that lack the attribute (PS3.4 C.2.2.2.3)."""
_NOT_KEYS = frozenset({"QueryRetrieveLevel", "SpecificCharacterSet", "SOPClassUID", "SOPInstanceUID", "Modality"})
_MAY_BE_SHOWN = frozenset({"StudyDate", "StudyTime", "ModalitiesInStudy", "StudyDescription", "InstitutionName"})


def find_keys(pacs: Pacs) -> dict[str, str]:
    """Return the policy's ``find`` keys; a lone ``*`` becomes "", which matches all in every archive.

    Raises:
        SettingsError: a key that is not an attribute for finding studies.
    """
    for keyword in pacs.query:
        tag = tag_for_keyword(keyword)
        if tag is None or keyword in _NOT_KEYS or dictionary_VR(tag) == "SQ":
            remedy = "name study-level attributes such as StudyDate, ModalitiesInStudy, StudyDescription"
            raise SettingsError("no key to find studies by", where="query", value=keyword, remedy=remedy)
    return {keyword: "" if value.strip() in UNIVERSAL else value for keyword, value in pacs.query.items()}


def shown(keys: Mapping[str, str]) -> str:
    """Return keys as text for messages; values of keys that name a patient are withheld."""
    return ", ".join(
        f"{keyword} = {value if keyword in _MAY_BE_SHOWN else '(not shown)'}" for keyword, value in keys.items()
    )


def place_of(pacs: Pacs) -> str:
    """Return the archive's address for messages."""
    return pacs.url or f"{pacs.ae_title}@{pacs.host}:{pacs.port}"
