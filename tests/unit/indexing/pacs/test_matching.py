"""Answers that contradict the query: an archive that does not search by a key gives studies that nobody asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset
from pynetdicom import evt

from fedward.errors import CohortError
from fedward.indexing.pacs import fetch, web
from fedward.indexing.pacs.dimse import Dimse
from fedward.indexing.pacs.fetch import fetch_cohort
from fedward.indexing.pacs.listing.matching import unlike
from tests.support.images.dicomweb import URL, DicomWeb
from tests.unit.indexing.pacs.test_cut_short import studies
from tests.unit.indexing.pacs.test_dimse import archive, pacs
from tests.unit.indexing.pacs.test_fetch import policy

LIKE = [
    ("StudyDate", "20200101", ["20200101", "2020.01.01", "", "unknown"]),
    ("StudyDate", "20200101-20201231", ["20200101", "20201231", "20200606"]),
    ("StudyDate", "-20201231", ["19990101", "20201231"]),
    ("StudyDate", "20200101-", ["20200101", "20991231"]),
    ("StudyDate", "2020-", ["19990101"]),
    ("StudyDate", "-", ["19990101"]),
    ("StudyTime", "1000-1200", ["100000", "120000.5", "110000", "10"]),
    ("StudyTime", "10", ["101500"]),
    ("StudyInstanceUID", "1.2.3", ["1.2.3"]),
    ("StudyInstanceUID", "1.2.3\\1.2.4", ["1.2.3", "1.2.4"]),
    ("ModalitiesInStudy", "CT", ["CT", "ct"]),
    ("ModalitiesInStudy", "CT\\MR", ["MR"]),
    ("StudyDescription", "CHEST*", ["chest pa", "Chest", "CHEST"]),
    ("StudyDescription", "*ABDOM?N*", ["ct  abdomen", "Abdömen"]),
    ("StudyDescription", "A.C", ["a.c"]),
    ("AccessionNumber", "A17", ["A17 ", "a17"]),
    ("PatientName", "Doe", ["DOE^JOHN", "doe"]),
    ("PatientName", "Doe^J*", ["DOE^JOHN^^Dr"]),
    ("PatientName", "Müller*", ["MUELLER^X=Muller^X", "müller^a"]),
    ("PatientName", "^John", ["DOE^JOHN"]),
    ("StudyID", "*", ["anything"]),
    ("NumberOfStudyRelatedSeries", "3", ["3", "3.0", "x"]),
    ("StudyComments", "x", ["free text is not compared"]),
]
UNLIKE = [
    ("StudyDate", "20200101", ["19990101", "20200102", "2019.12.31"]),
    ("StudyDate", "20200101-20201231", ["20191231", "20210101"]),
    ("StudyDate", "-20201231", ["20210101"]),
    ("StudyDate", "20200101-", ["20191231"]),
    ("StudyTime", "1000-1200", ["095959", "120100", "23"]),
    ("StudyInstanceUID", "1.2.3", ["1.2.30", "1.2"]),
    ("StudyInstanceUID", "1.2.3\\1.2.4", ["1.2.5"]),
    ("ModalitiesInStudy", "CT", ["MR", "CTX"]),
    ("StudyDescription", "CHEST*", ["ABDOMEN", "A CHEST"]),
    ("StudyDescription", "A.C", ["abc"]),
    ("AccessionNumber", "A17", ["A170"]),
    ("PatientName", "Doe", ["ROE^JOHN"]),
    ("PatientName", "Doe^J*", ["DOE^PETER", "DOE"]),
    ("NumberOfStudyRelatedSeries", "3", ["4"]),
]


@pytest.mark.parametrize(("keyword", "key", "values"), LIKE)
def test_what_matches_or_cannot_be_compared_passes(keyword: str, key: str, values: list[str]) -> None:
    for value in values:
        assert unlike({keyword: key}, lambda _, value=value: [value] if value else []) == frozenset(), value  # type: ignore[misc]


@pytest.mark.parametrize(("keyword", "key", "values"), UNLIKE)
def test_what_contradicts_its_key_is_named(keyword: str, key: str, values: list[str]) -> None:
    for value in values:
        assert unlike({keyword: key, "StudyID": ""}, lambda _, value=value: [value]) == {keyword}, value  # type: ignore[misc]


def test_one_of_several_values_is_enough() -> None:
    assert unlike({"ModalitiesInStudy": "CT"}, lambda _: ["SR", "CT"]) == frozenset()
    assert unlike({"ModalitiesInStudy": "CT"}, lambda _: ["SR", "MR"]) == {"ModalitiesInStudy"}


def test_a_time_beside_a_range_of_dates_is_not_compared() -> None:
    keys = {"StudyDate": "20200101-20200103", "StudyTime": "1000-1200"}
    found = {"StudyDate": ["20200102"], "StudyTime": ["230000"]}
    assert unlike(keys, lambda keyword: found[keyword]) == frozenset(), "the archive may match both as one"


@given(st.dates(), st.dates(), st.dates())
def test_dates_are_within_a_range_as_dates_are(first: Any, last: Any, day: Any) -> None:
    first, last, text = min(first, last), max(first, last), f"{day:%Y%m%d}".zfill(8)
    key = f"{first:%Y%m%d}".zfill(8) + "-" + f"{last:%Y%m%d}".zfill(8)
    assert (not unlike({"StudyDate": key}, lambda _: [text])) == (first <= day <= last)


@pytest.mark.parametrize("states", ["20200101", "19990101", None])
def test_an_archive_that_ignores_a_key_over_dicomweb(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, states: str | None
) -> None:
    shelf = DicomWeb(studies(3))
    shelf.value = lambda vr, value: {"vr": vr, "Value": [states if vr == "DA" else value]}
    monkeypatch.setattr(web, "session", shelf.session)
    asked = {"protocol": "dicomweb", "url": URL, "query": {"StudyDate": "20200101"}}
    given = policy(tmp_path, pacs=asked)
    if states == "20200101":
        assert fetch_cohort(given, "chest").fetched == 3
        return
    words = "3 of 3 studies that do not match this key" if states else "does not search by this key"
    with pytest.raises(CohortError, match=f"{words}: 'StudyDate'; take it out") as error:
        fetch_cohort(given, "chest")
    assert "19990101" not in str(error.value) and not list(tmp_path.rglob("*.dcm"))


def test_an_archive_that_ignores_a_key_over_c_find(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def find(event: Any) -> Iterator[tuple[int, Dataset]]:
        for number, date in enumerate(("20200101", "19990101")):
            answer = Dataset()
            answer.StudyInstanceUID, answer.StudyDate, answer.ModalitiesInStudy = f"1.2.{number}", date, ["CR", "SR"]
            answer.PatientName = "Doe^Jane"
            yield 0xFF00, answer

    keys = {"StudyDate": "20200101", "ModalitiesInStudy": "CR", "PatientName": "doe"}
    with archive((evt.EVT_C_FIND, find)) as port:
        asked = pacs(port, query=keys)
        with closing(Dimse(asked)) as asking:
            assert [one.unlike for one in asking.studies()] == [frozenset(), {"StudyDate"}]
        with pytest.raises(CohortError, match="1 of 2 studies that do not match this key: 'StudyDate'"):
            fetch.fetch_cohort(policy(tmp_path, pacs=asked.model_dump()), "chest")
