"""What an image archive is to the rest of this package: three questions, one errand, and how each may fail."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from pydicom import Dataset
from pydicom.datadict import dictionary_VR, tag_for_keyword

from fedward.errors import CohortError, SettingsError
from fedward.settings import Pacs


@dataclass(frozen=True, slots=True)
class Study:
    """One study of the archive's answer.

    Attributes:
        uid: StudyInstanceUID.
        answered: keywords that the answer carries; it need not carry all that were asked for.
    """

    uid: str = field(repr=False)
    answered: frozenset[str]


@dataclass(frozen=True, slots=True)
class Series:
    """One series: UIDs of study and series, Modality or "", and how many instances it has where the archive says so."""

    study: str = field(repr=False)
    uid: str = field(repr=False)
    modality: str
    instances: int | None


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance: its SOPInstanceUID, and its SOPClassUID or ""."""

    uid: str = field(repr=False)
    sop_class: str


Verdict = Literal["stored", "refused", "not-asked", "stopped"]
Receive = Callable[[Dataset], Verdict]
"""Takes one data set with ``file_meta.TransferSyntaxUID``, from any thread, and says what became of it."""


class Archive(Protocol):
    """An archive that can be asked. Every method may raise ``SilentArchiveError`` or another ``CohortError``."""

    def studies(self) -> list[Study]:
        """Studies that match the policy's keys."""

    def series(self, study: str) -> list[Series]:
        """All series of a study."""

    def instances(self, series: Series) -> list[Instance]:
        """All instances of a series."""

    def retrieve(self, series: Series, wanted: Sequence[Instance], receive: Receive, *, alone: bool) -> None:
        """Have ``wanted`` sent to ``receive``; what did not come has not been sent.

        Args:
            series: their series.
            wanted: instances.
            receive: called with each.
            alone: ask for each by itself rather than for the series.

        Raises:
            StudyError: "archive-refused", with the archive's status.
        """

    def close(self) -> None:
        """Let go of connections and ports."""


class SilentArchiveError(CohortError):
    """The archive could not be reached or fell silent; it may be worth another try."""


UNIVERSAL = ("", "*")
"""Values that match every study, those too that lack the attribute (PS3.4 C.2.2.2.3)."""
_NOT_KEYS = frozenset({"QueryRetrieveLevel", "SpecificCharacterSet", "SOPClassUID", "SOPInstanceUID", "Modality"})
_MAY_BE_SHOWN = frozenset({"StudyDate", "StudyTime", "ModalitiesInStudy", "StudyDescription", "InstitutionName"})


def find_keys(pacs: Pacs) -> dict[str, str]:
    """The policy's ``find`` keys; a lone ``*`` becomes "", which every archive takes for all.

    Raises:
        SettingsError: a key that is no attribute by which studies can be asked for.
    """
    for keyword in pacs.query:
        tag = tag_for_keyword(keyword)
        if tag is None or keyword in _NOT_KEYS or dictionary_VR(tag) == "SQ":
            remedy = "name study-level attributes such as StudyDate, ModalitiesInStudy, StudyDescription"
            raise SettingsError("no key to find studies by", where="query", value=keyword, remedy=remedy)
    return {keyword: "" if value.strip() in UNIVERSAL else value for keyword, value in pacs.query.items()}


def shown(keys: Mapping[str, str]) -> str:
    """Keys in words; the values of those that name a patient stay out."""
    return ", ".join(
        f"{keyword} = {value if keyword in _MAY_BE_SHOWN else '(not shown)'}" for keyword, value in keys.items()
    )


def place_of(pacs: Pacs) -> str:
    """The archive as messages name it."""
    return pacs.url or f"{pacs.ae_title}@{pacs.host}:{pacs.port}"
