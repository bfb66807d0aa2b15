"""Values of DICOM JSON: null, empty and absent are the same, and a whole number is one in any notation."""

from __future__ import annotations

from typing import Any

import pytest

from fedward.indexing.pacs.listing.dicom_json import count, first, keywords, values

ABSENT: list[dict[str, Any] | None] = [
    None,
    {"vr": "CS"},
    {"vr": "CS", "Value": None},
    {"vr": "CS", "Value": []},
    {"vr": "CS", "Value": [None]},
    {"vr": "CS", "Value": [None, None]},
    {"vr": "CS", "Value": [""]},
    {"vr": "CS", "Value": [" \0"]},
    {"vr": "PN", "Value": [{}]},
    {"vr": "PN", "Value": [{"Alphabetic": None}]},
]


@pytest.mark.parametrize("attribute", ABSENT)
@pytest.mark.parametrize("keyword", ["Modality", "StudyInstanceUID", "NumberOfSeriesRelatedInstances"])
def test_what_is_null_or_empty_is_absent(attribute: object, keyword: str) -> None:
    tag = {"Modality": "00080060", "StudyInstanceUID": "0020000D", "NumberOfSeriesRelatedInstances": "00201209"}
    answer = {tag[keyword]: attribute}
    assert (values(answer, keyword), first(answer, keyword), count(answer, keyword)) == ((), "", None)
    assert keywords(answer) == {keyword} and first({}, keyword) == ""


def test_the_first_value_is_the_first_one_that_is_there() -> None:
    answer = {"00080061": {"vr": "CS", "Value": [None, "CT ", "MR\0"]}, "00080020": {"vr": "DA", "Value": ["20200101"]}}
    assert values(answer, "ModalitiesInStudy") == ("CT", "MR") and first(answer, "ModalitiesInStudy") == "CT"
    assert keywords(answer) == {"ModalitiesInStudy", "StudyDate"}
    name = {"00100010": {"vr": "PN", "Value": [{"Alphabetic": "Doe^J", "Phonetic": "d"}]}}
    assert first(name, "PatientName") == "Doe^J==d"


@pytest.mark.parametrize(
    ("written", "number"),
    [
        *[(3, 3), (3.0, 3), ("3", 3), ("3.0", 3), (" 3 ", 3), ("+3", 3), ("03", 3), (0, 0), (3.000, 3)],
        *[(-1, None), (3.5, None), ("3.5", None), ("x", None), ("٣", None), (True, None), (1e400, None), ("", None)],
    ],
)
def test_a_whole_number_is_one_in_any_notation(written: object, number: int | None) -> None:
    assert count({"00201209": {"vr": "IS", "Value": [written]}}, "NumberOfSeriesRelatedInstances") == number
