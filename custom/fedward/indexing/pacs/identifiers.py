"""Collect the patient's identifiers from a received header, and search for them in the data that is kept."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydicom import DataElement, Dataset
from pydicom.datadict import dictionary_has_tag, dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.multival import MultiValue

_NUMBERS = frozenset(
    tag_for_keyword(keyword) for keyword in ("PatientID", "OtherPatientIDs", "AccessionNumber", "AdmissionID")
)
_ROOTS = frozenset(tag_for_keyword(keyword) for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"))
_SHORTEST_WORD, _SHORTEST_NUMBER, _SURE = 3, 4, 6
"""Shortest name, shortest number, shortest in arbitrary bytes: anything shorter occurs in texts or bytes by chance."""


@dataclass(frozen=True, slots=True)
class Identifiers:
    """Identifiers of one instance; ``repr`` shows none of them.

    Attributes:
        words: parts of people's names, in lower case.
        numbers: numbers of patient, study and admission, in lower case.
        uids: UIDs of study, series and instance.
        spelt: names and numbers in their original spelling.
    """

    words: frozenset[str]
    numbers: frozenset[str]
    uids: frozenset[str]
    spelt: frozenset[str]

    def __repr__(self) -> str:
        return "Identifiers(...)"

    def named_in(self, value: str) -> bool:
        """True if a text holds a part of a name, or one of the numbers."""
        lower = value.casefold()
        return bool(self.words & set(_split(lower))) or any(number in lower for number in self.numbers)

    def numbered(self, number: str) -> bool:
        """True if a number is one of the patient's longer ones; a short one may equal a window's centre by chance."""
        return len(number) >= _SURE and number in self.numbers

    def found_in(self, data: bytes) -> bool:
        """True if arbitrary bytes hold one of the longer identifiers in its original spelling."""
        return any(one.encode() in data for one in self.uids | {one for one in self.spelt if len(one) >= _SURE})

    def uid_in(self, data: bytes) -> bool:
        """True if bytes hold one of the UIDs."""
        return any(uid.encode() in data for uid in self.uids)


def identifiers(header: Dataset) -> Identifiers:
    """Collect every person's name, patient's number and UID of study, series and instance, at any depth."""
    words: set[str] = set()
    numbers: set[str] = set()
    uids: set[str] = set()
    for element in _telling(header):
        values = [str(one).strip(" \0") for one in _several(element.value)]
        if element.VR == "PN":
            words.update(word for value in values for word in _split(value) if len(word) >= _SHORTEST_WORD)
        elif element.tag in _ROOTS:
            uids.update(value for value in values if value)
        else:
            numbers.update(value for value in values if len(value) >= _SHORTEST_NUMBER)
    return Identifiers(
        words=frozenset(word.casefold() for word in words),
        numbers=frozenset(number.casefold() for number in numbers),
        uids=frozenset(uids),
        spelt=frozenset(words | numbers),
    )


def _telling(dataset: Dataset) -> Iterator[DataElement]:
    """Yield names, numbers and UIDs. Other elements are not converted, so that their faults do not matter."""
    for tag in dataset.keys():  # noqa: SIM118 - iterating a data set would convert every element
        raw: Any = dataset.get_item(tag)
        vr = raw.VR
        if vr in (None, "UN") and isinstance(raw, RawDataElement) and dictionary_has_tag(tag):
            vr = dictionary_VR(tag)
        if vr == "SQ":
            for item in dataset[tag].value or []:
                yield from _telling(item)
        elif vr == "PN" or tag in _NUMBERS or tag in _ROOTS:
            yield dataset[tag]


def _several(value: object) -> list[object]:
    if value is None:
        return []
    return list(value) if isinstance(value, MultiValue) else [value]


def _split(value: str) -> list[str]:
    return [word for word in re.split(r"[\W_]+", value) if word]
