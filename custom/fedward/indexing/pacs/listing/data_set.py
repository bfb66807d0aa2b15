"""Read the answers of C-FIND (PS3.4 C.4.1.1.4)."""

from __future__ import annotations

from collections.abc import Mapping

from pydicom import Dataset
from pydicom.multival import MultiValue

from fedward.dicom.header import is_stated, text, value, whole
from fedward.indexing.pacs.archive import Instance, Study
from fedward.indexing.pacs.listing.matching import unlike


def study(answer: Dataset, keys: Mapping[str, str]) -> Study:
    """Return a study; ``keys`` are the query's."""
    answered = frozenset(element.keyword for element in answer)
    return Study(
        text(answer, "StudyInstanceUID"),
        answered,
        series=number(answer, "NumberOfStudyRelatedSeries"),
        instances=number(answer, "NumberOfStudyRelatedInstances"),
        unlike=unlike(keys, lambda keyword: values(answer, keyword)),
        empty=frozenset(keyword for keyword in answered if keyword and not is_stated(answer, keyword)),
    )


def instance(answer: Dataset) -> Instance:
    """Return an instance."""
    return Instance(text(answer, "SOPInstanceUID"), text(answer, "SOPClassUID"))


def number(answer: Dataset, keyword: str) -> int | None:
    """Return a whole number of at least 0, or None."""
    found = whole(answer, keyword)
    return None if found is None or found < 0 else found


def values(answer: Dataset, keyword: str) -> list[str]:
    """Return an attribute's values as texts, without empty ones; [] if it cannot be read."""
    found = value(answer, keyword)
    several = found if isinstance(found, MultiValue) else [found]
    return [one for one in ("" if each is None else str(each).strip(" \0") for each in several) if one]
