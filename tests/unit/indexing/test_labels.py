"""Label tables: keyed by what they say, matched by the most specific key that matches, never guessed."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedward.errors import CohortError
from fedward.indexing.labels import LabelTable, read_labels
from fedward.indexing.site_key import Kind, SiteKey

KEY = SiteKey(bytes(32))


def table(tmp_path: Path, content: str, encoding: str = "utf-8") -> LabelTable:
    path = tmp_path / "labels.csv"
    path.write_bytes(content.encode(encoding))
    return read_labels(path, KEY)


def named(**names: str | list[str]) -> dict[Kind, frozenset[str]]:
    kinds: dict[str, Kind] = {"image": "image", "series": "series", "study": "study", "patient": "patient"}
    return {
        kinds[kind]: frozenset(
            KEY.pseudonym(kinds[kind], one) for one in ([names[kind]] if isinstance(names[kind], str) else names[kind])
        )
        for kind in names
    }


IMAGES = [
    named(patient="P1", study="S1", image="I1"),
    named(patient="P1", study="S2", image="I2"),
    named(patient="P2", study="S3", image="I3"),
]


def test_by_patient(tmp_path: Path) -> None:
    found = table(tmp_path, "PatientID,tb,note\nP1,1,\nP2,0,old\n").match(IMAGES)
    assert found == [{"tb": "1"}, {"tb": "1"}, {"tb": "0", "note": "old"}]


def test_by_study_and_by_image(tmp_path: Path) -> None:
    assert table(tmp_path, "StudyInstanceUID,tb\nS2,yes\n").match(IMAGES) == [{}, {"tb": "yes"}, {}]
    assert table(tmp_path, "SOPInstanceUID,tb\nI3,yes\n").match(IMAGES) == [{}, {}, {"tb": "yes"}]
    assert table(tmp_path, "SeriesInstanceUID,tb\nR,1\n").match([named(series="R")]) == [{"tb": "1"}]


def test_a_table_by_image_does_not_reach_the_patients_other_images(tmp_path: Path) -> None:
    found = table(tmp_path, "PatientID,StudyInstanceUID,SOPInstanceUID,tb\nP1,S1,I1,1\n").match(IMAGES)
    assert found == [{"tb": "1"}, {}, {}]


def test_where_the_image_key_matches_nothing_the_next_one_counts(tmp_path: Path) -> None:
    content = "PatientID,SOPInstanceUID,tb\nP1,renamed-1,1\nP2,renamed-2,0\n"
    assert table(tmp_path, content).match(IMAGES) == [{"tb": "1"}, {"tb": "1"}, {"tb": "0"}]


def test_a_row_without_an_image_key_counts_by_its_next(tmp_path: Path) -> None:
    content = "PatientID,SOPInstanceUID,tb\nP1,I1,1\nP2,,0\n"
    assert table(tmp_path, content).match(IMAGES) == [{"tb": "1"}, {}, {"tb": "0"}]


def test_the_slices_of_a_volume_share_their_label(tmp_path: Path) -> None:
    volume = named(image=["I1", "I2", "I3"], patient="P1")
    assert table(tmp_path, "SOPInstanceUID,tb\nI2,1\nI3,1\n").match([volume]) == [{"tb": "1"}]
    with pytest.raises(CohortError, match="differently: 'lines 2 and 3'"):
        table(tmp_path, "SOPInstanceUID,tb\nI2,1\nI3,0\n").match([volume])


def test_nifti_by_file_name(tmp_path: Path) -> None:
    image = named(image=["sub/case_7.nii.gz", "case_7"], patient="case_7")
    for name in ("case_7.nii.gz", "case_7.nii", "case_7", "x/case_7.nii.gz"):
        assert table(tmp_path, f"Image,tb\n{name},1\n").match([image]) == [{"tb": "1"}]
    assert table(tmp_path, "PatientID,tb\ncase_7,1\n").match([image]) == [{"tb": "1"}]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("line", ["\n", "\r\n"])
def test_spreadsheets_write_tables_in_many_ways(tmp_path: Path, encoding: str, separator: str, line: str) -> None:
    rows = ["patientid| tb |größe", ' P1 |1|"a, b; c"', "||", "", "P2|0"]
    found = table(tmp_path, line.join(rows).replace("|", separator), encoding)
    assert found.columns == ("tb", "größe")
    assert found.match(IMAGES)[2] == {"tb": "0"}
    assert found.match(IMAGES)[0]["tb"] == "1"


def test_the_same_row_twice_is_no_conflict(tmp_path: Path) -> None:
    assert table(tmp_path, "PatientID,tb\nP1,1\nP1,1\n").match(IMAGES)[0] == {"tb": "1"}


def test_two_rows_that_differ_are_a_conflict_that_names_lines_and_no_patient(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="lines 2 and 4") as refusal:
        table(tmp_path, "PatientID,tb\nP1,1\nP2,1\nP1,0\n").match(IMAGES)
    assert "P1" not in str(refusal.value).replace(str(tmp_path), "")


@pytest.mark.parametrize("content", ["PatientID,tb\nP9,1\n", "PatientID,tb\n"])
def test_no_labels_match(tmp_path: Path, content: str) -> None:
    with pytest.raises(CohortError, match=r"labels\.csv: no labels match; write"):
        table(tmp_path, content).match(IMAGES)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name,tb\nx,1\n", "no key column; name a column PatientID"),
        ("", "no key column"),
        ("PatientID\nP1\n", "no label column"),
        ("PatientID,tb,TB\nP1,1,1\n", "a column twice"),
        ("PatientID,patientid,tb\nP1,P1,1\n", "a column twice"),
    ],
)
def test_a_table_that_cannot_serve(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(CohortError, match=message):
        table(tmp_path, content)


def test_a_table_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="not UTF-8"):
        table(tmp_path, "PatientID,tb\nä,1\n", "utf-16")
    with pytest.raises(CohortError, match="No such file"):
        read_labels(tmp_path / "absent.csv", KEY)
