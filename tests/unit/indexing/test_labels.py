"""Label tables: keyed by what they say, matched by the most specific key that matches, never guessed."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from fedward.errors import CohortError
from fedward.indexing.labels import LabelTable, read_labels, require_columns
from fedward.indexing.site_key import Kind, SiteKey
from fedward.indexing.tables.paths import file_names

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


def lines_of(found: LabelTable) -> dict[str, int]:
    """The account of the table's lines, without zeros."""
    account = found.assign(IMAGES, {}).lines
    names = ("lines", "matched", "unmatched", "respelled", "blank")
    counts = {name: getattr(account, name) for name in names} | {one.reason: one.count for one in account.refused}
    return {name: count for name, count in counts.items() if count}


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
    with pytest.raises(CohortError, match=r"every line .* is refused: 2 conflicting-lines \(lines 2, 3\)"):
        table(tmp_path, "SOPInstanceUID,tb\nI2,1\nI3,0\n").match([volume])


def test_nifti_by_file_name(tmp_path: Path) -> None:
    image = named(patient="case_7") | {"image": file_names("sub/case_7.nii.gz", KEY)}
    for name in (
        "case_7.nii.gz",
        "case_7.nii",
        "case_7",
        "sub/case_7",
        "D:\\x\\sub\\case_7.nii.gz",
        "./sub//case_7.nii",
    ):
        assert table(tmp_path, f"Image,tb\n{name},1\n").match([image]) == [{"tb": "1"}]
    assert table(tmp_path, "PatientID,tb\ncase_7,1\n").match([image]) == [{"tb": "1"}]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("line", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("first", ["", "sep=~", '"sep=~"'])
def test_spreadsheets_write_tables_in_many_ways(
    tmp_path: Path, encoding: str, separator: str, line: str, first: str
) -> None:
    rows = [*[first][: len(first)], "patientid~ tb ~größe", ' P1 ~1~"a, b; c"', "~~", "", "P2~0~"]
    found = table(tmp_path, line.join(rows).replace("~", separator), encoding)
    assert found.columns == ("tb", "größe")
    assert found.match(IMAGES)[2] == {"tb": "0"}
    assert found.match(IMAGES)[0] == {"tb": "1", "größe": "a, b; c"}
    assert lines_of(found) == {"lines": 4, "matched": 2, "blank": 2}


@pytest.mark.parametrize(
    "heading",
    [
        "PatientID",
        "Patient ID",
        "patient_id",
        "PATIENT-ID",
        "Patient.ID",
        '"Patient ID"',
        "\N{NO-BREAK SPACE}patient id ",
    ],
)
def test_headings_of_key_columns_in_many_spellings(tmp_path: Path, heading: str) -> None:
    assert table(tmp_path, f"{heading},tb\nP2,0\n").match(IMAGES)[2] == {"tb": "0"}


@pytest.mark.parametrize(
    "heading", ["StudyInstanceUID", "Study Instance UID", "study_instance_uid", "STUDY.INSTANCE.UID"]
)
def test_headings_of_studies_in_many_spellings(tmp_path: Path, heading: str) -> None:
    assert table(tmp_path, f"{heading};tb\nS2;0\n").match(IMAGES) == [{}, {"tb": "0"}, {}]


@pytest.mark.parametrize(
    ("content", "columns"),
    [
        ('PatientID;"a,b,c,d,e";tb\nP1;1;1\n', ("a,b,c,d,e", "tb")),
        ("note,a;PatientID;x,y;tb\n1;P1;1;1\n", ("note,a", "x,y", "tb")),
        ("a;b;c;d,PatientID,tb\n1,P1,1\n", ("a;b;c;d", "tb")),
        ("sep=;\nPatientID;a,b\nP1;1\n", ("a,b",)),
        ("SEP=,\r\nPatientID,a;b\r\nP1,1\r\n", ("a;b",)),
    ],
)
def test_the_separator_is_the_one_by_which_the_headings_have_a_key(
    tmp_path: Path, content: str, columns: tuple[str, ...]
) -> None:
    found = table(tmp_path, content)
    assert found.columns == columns
    assert set(found.match(IMAGES)[0].values()) == {"1"}


def test_the_same_row_twice_is_no_conflict(tmp_path: Path) -> None:
    assert table(tmp_path, "PatientID,tb\nP1,1\nP1,1\n").match(IMAGES)[0] == {"tb": "1"}


def test_two_rows_that_differ_are_a_conflict_that_names_lines_and_no_patient(tmp_path: Path) -> None:
    done = table(tmp_path, "PatientID,tb\nP1,1\nP2,1\nP1,0\n").assign(IMAGES, {})
    assert done.labels == [{}, {}, {"tb": "1"}]
    assert [(one.line, one.reason, one.detail) for one in done.refused] == [
        (2, "conflicting-lines", "lines 2, 4"),
        (4, "conflicting-lines", "lines 2, 4"),
    ]


def test_no_labels_match(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match=r"labels\.csv: no labels match; write .*; for NIfTI, head the column Image"):
        table(tmp_path, "PatientID,tb\nP9,1\n").match(IMAGES)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name,tb\nx,1\n", "no key column; name a column PatientID"),
        ("", "label table is empty"),
        ("\ufeff\n , ;\n\n", "label table is empty"),
        ("sep=;\n\n", "label table is empty"),
        ("PatientID,tb\n", "has no lines below its headings"),
        ("PatientID,tb\n\n,\n", "has no lines below its headings"),
        (
            "P1|1;2,3\nP2|1\n",
            r"line 1: 2 by comma, 2 by semicolon, 1 by tab, 2 by \|\): line 1 has no key column",
        ),
        (
            "\nExport\n\nPatientID;tb\nP1;1\n",
            "line 2 has no key column; .* or remove the lines above line 4, w",
        ),
        ("PatientID\nP1\n", "no label column"),
        ("PatientID,tb,TB\nP1,1,1\n", "a column twice"),
        ("PatientID,patientid,tb\nP1,P1,1\n", "a column twice"),
        ("PatientID,Patient ID,tb\nP1,P2,1\n", "an id twice; keep one column that identifies patients"),
        ("Image,SOPInstanceUID,tb\nI1,I2,1\n", "an id twice"),
        ("sep=;\nPatientID,tb\nP1,1\n", "no key column"),
        ("Image;x,PatientID\n1;2\n", "headings for several separators; write sep="),
        ('PatientID,"tb\nP1,1\n', "not CSV; close the quotes in the heading line"),
        ('PatientID,"a,tb\nP1,b",0\nP2,x,0\n', "a heading that takes in a line of values"),
        ('PatientID,"tb\nP1,1\nP2,0"\n', "a heading that takes in a line of values; close the quotes"),
    ],
)
def test_a_table_that_cannot_serve(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(CohortError, match=message):
        table(tmp_path, content)


TEXT = "PatientID,tb,größe\nP1,1,2\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (TEXT.encode("cp1252"), "not UTF-8; save the table as CSV UTF-8"),
        (TEXT.encode("latin-1"), "not UTF-8; save"),
        (TEXT.encode("utf-16-le"), "not UTF-8; save"),
        (TEXT.encode("utf-16-be"), "not UTF-8; save"),
        (TEXT.replace("ö", "o").encode("utf-16-le"), "not UTF-8; save"),
        (TEXT.encode("utf-16")[:-1], "not UTF-8; save"),
        (TEXT.encode("utf-32"), "not UTF-8|not text"),
        (b"\x1f\x8b\x08\0" + bytes(range(256)), "not UTF-8; save"),
        (b"PatientID,tb\nP1,1\0\n", "not text: it holds NUL bytes; save"),
        (b"PatientID,tb\nP1,1\n" + bytes(200), "not UTF-8|not text"),
        ("PatientID,tb\nP1,\0\n".encode("utf-16"), "not text"),
        (b"PK\x03\x04\x14\0\x06\0", "an Excel or other spreadsheet workbook; save the table as CSV UTF-8"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "workbook; save"),
        (b"\xef\xbb\xbf<html><table><tr><td>PatientID</td></tr></table></html>", "a web page or an XML workbook; save"),
        (b'<?xml version="1.0"?><Workbook>', "a web page or an XML workbook; save"),
    ],
)
def test_a_file_that_is_no_csv_in_utf8(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "labels.csv").write_bytes(content)
    with pytest.raises(CohortError, match=message):
        read_labels(tmp_path / "labels.csv", KEY)


def test_a_table_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="No such file"):
        read_labels(tmp_path / "absent.csv", KEY)
    with pytest.raises(CohortError, match="Is a directory"):
        read_labels(tmp_path, KEY)


@pytest.mark.parametrize("before", ["", "\n", "\r\n\r\n", " \n", ",\n", "\ufeff", "\ufeff\ufeff", "\n\nsep=,\n\n"])
@pytest.mark.parametrize("after", ["", "\x1a", "\x1a\r\n", "\n\n"])
def test_what_stands_before_the_headings_and_after_the_last_line(tmp_path: Path, before: str, after: str) -> None:
    found = table(tmp_path, f"{before}PatientID,tb\nP1,1\nP2,0\n{after}", "utf-8-sig")
    first = before.count("\n") + 2
    assert [row.line for row in found.rows] == [first, first + 1] and found.refused == ()
    assert found.match(IMAGES) == [{"tb": "1"}] * 2 + [{"tb": "0"}]


@pytest.mark.parametrize("line", ["\n", "\r\n", "\r"])
def test_headings_with_line_breaks(tmp_path: Path, line: str) -> None:
    found = table(tmp_path, '"Patient~ID","tb~(0/1)","more~of it"~P1,1,~P2,0,x~'.replace("~", line))
    assert found.columns == ("tb (0/1)", "more of it")
    assert found.match(IMAGES)[2] == {"tb (0/1)": "0", "more of it": "x"}
    assert [row.line for row in found.rows] == [5, 6]


@pytest.mark.parametrize("quote", ["", '"'])
def test_a_cell_of_any_length(tmp_path: Path, quote: str) -> None:
    before, report = csv.field_size_limit(), "y" * 140_000
    found = table(tmp_path, f"PatientID,tb,report\nP1,1,x\nP2,0,{quote}{report}{quote}\nP3,1,z\n")
    assert found.refused == () and found.match(IMAGES)[2] == {"tb": "0", "report": report}
    assert csv.field_size_limit() == before


# ------------------------------------------------------------ lines that are refused


@pytest.mark.parametrize(
    ("content", "detail", "remedy"),
    [
        ("PatientID,tb\nP1,1,\nP2,0,\n", "; 1 empty cell too many at its end: remove", "1 empty cell too many at its"),
        ("PatientID,tb\nP1,1,,\nP2,0,,\n", "; 2 empty cells too many at its end: remove the sep", "2 empty cells too"),
        ("PatientID,tb\nP1,1,,\nP2,0,\n", "; 2 empty cells too many", "in quotes; write a separator for each empty"),
        ("PatientID,dose,tb,note\nP1,1,5,1,\n", "; 1 empty cell too many at its end", "1 empty cell too many"),
        ('"PatientID","tb"\n"1","P1",1\n"2","P2",0\n', "; each line has one cell more", "row.names = FALSE"),
        ("PatientID,dose,tb\nP1,1,5,1\nP2,0,5,0\n", "; each line has one cell more", "put decimal commas in quotes"),
        ("PatientID,tb,a,b\nP1,1\nP2,0\n", "2 cells, 4 headings", "write a separator for each empty cell at the end"),
    ],
)
def test_the_remedy_fits_the_number_of_cells(tmp_path: Path, content: str, detail: str, remedy: str) -> None:
    with pytest.raises(CohortError, match=r"every line .* is refused: .* cell-count") as refusal:
        table(tmp_path, content)
    assert remedy in str(refusal.value)
    headings, *lines = content.splitlines()
    one = table(tmp_path, "\n".join([headings, *lines, "P3" + "," * headings.count(","), ""])).refused[0]
    assert (one.line, one.reason) == (2, "cell-count")
    assert detail in one.detail or "each line" in detail


@pytest.mark.parametrize("line", ["P2,0,1,0", "P2,0", "P2", "P2,1,0,", "P2,,,,1", "Total: 3", "P2 1 0"])
def test_a_line_with_another_number_of_cells_is_refused_and_the_others_count(tmp_path: Path, line: str) -> None:
    found = table(tmp_path, f"PatientID,dose,tb\nP1,1,1\n{line}\n\nP3,2,0\n")
    done = found.assign([*IMAGES, named(patient="P3")], {})
    assert done.labels == [{"dose": "1", "tb": "1"}] * 2 + [{}, {"dose": "2", "tb": "0"}]
    (refusal,) = done.lines.refused
    assert (refusal.reason, refusal.count, refusal.first_lines) == ("cell-count", 1, (3,))
    assert "3 headings" in done.refused[0].detail and "P2" not in done.refused[0].detail
    assert lines_of(found) == {"lines": 4, "matched": 1, "unmatched": 1, "blank": 1, "cell-count": 1}


@pytest.mark.parametrize(
    ("content", "labelled", "refused"),
    [
        ('P1,a,1\nP2,"b,0\nP3,c,1\nP4,d,0\n', "P1", (3, 4, 5)),
        ('P1,a,1\nP2,"b,0\nP3,"c",1\nP4,d,0\n', "P1 P4", (3, 4)),
        ('P1,a,1\nP2,b,"0\nP3,c,1"\nP4,d,0\n', "P1 P4", (3, 4)),
        ('P1,a,1\nP2,"b\nP3,c,1\n",0\nP4,d,0\n', "P1 P4", (3, 4, 5)),
        ('P1,a,1\nP2,"b" c,0\nP3,c,1\n', "P1 P3", (3,)),
        ('P1,a,1\nP2,"b\\"c",0\nP3,c,1\n', "P1 P3", (3,)),
        ('P1,a,1\nP2,5" cut,0\nP3,"two\nlines and more",1\n', "P1 P2 P3", ()),
        ('P1,"two\nlines, and more, here",1\nP2,c,0\n', "P2", (2, 3)),
        (f'P1,a,1\nP2,"b,0\n{"x" * 70_000}\n{"x" * 70_000}\nP3,c,1\n', "P1", (3, 4, 5, 6)),
        ('P1,a,1\nP2,b,0\n"', "P1 P2", (4,)),
    ],
)
def test_a_quote_that_is_not_closed_gives_no_label(
    tmp_path: Path, content: str, labelled: str, refused: tuple[int, ...]
) -> None:
    found = table(tmp_path, f"PatientID,note,tb\n{content}")
    patients = [f"P{number}" for number in range(1, 5)]
    done = found.assign([named(patient=patient) for patient in patients], {})
    labels = dict(zip(patients, done.labels, strict=True))
    assert {patient: one["tb"] for patient, one in labels.items() if one} == {
        patient: str(int(patient[1:]) % 2) for patient in labelled.split()
    }
    assert [(one.line, one.reason) for one in done.refused] == [(number, "quote-not-closed") for number in refused]


def test_line_numbers_are_those_of_the_file(tmp_path: Path) -> None:
    content = 'sep=,\r\nPatientID,note,tb\r\n\r\nP1,"two\r\nlines",1\r\nP2,1\r\n,,\r\nP3,,0,\r\n'
    found = table(tmp_path, content)
    assert [row.line for row in found.rows] == [4]
    assert [one.line for one in found.refused] == [6, 8]
    assert found.blank == (3, 7)


def test_values_without_an_identifier(tmp_path: Path) -> None:
    found = table(tmp_path, "PatientID,SOPInstanceUID,tb\nP1,I1,1\n,,1\nNA,-,0\nP2,NA,0\n").assign(IMAGES, {})
    assert found.labels == [{"tb": "1"}, {}, {"tb": "0"}]
    assert [(one.line, one.reason) for one in found.refused] == [(3, "no-id"), (4, "no-id")]
    assert (found.lines.matched, found.lines.unmatched) == (2, 0), "NA for the image: the patient counts"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("PatientID,tb\nP1,0,1\nP2\n\n", r"is refused: 2 cell-count \(lines 2, 3\); each line has more or fewer cells"),
        ('PatientID,tb\n"P1,0\n', r"is refused: 1 quote-not-closed \(line 2\); each line has a quote"),
        ("PatientID,tb\n,1\n", r"is refused: 1 no-id \(line 2\)"),
        ("PatientID,StudyInstanceUID,tb\nP1,S3,1\n", r"is refused: 1 contradicting-ids \(line 2\)"),
        ("PatientID,tb\n" + "P1\n" * 7, r"7 cell-count \(lines 2, 3, 4, 5, 6, …\)"),
    ],
)
def test_a_table_of_refused_lines_alone(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(CohortError, match=message) as refusal:
        table(tmp_path, content).assign(IMAGES, {})
    assert "P1" not in str(refusal.value).replace(str(tmp_path), "")


# ------------------------------------------------------------ identifiers that may be another's


@pytest.mark.parametrize(
    ("row", "refused"),
    [
        ("P1,S3,,1", True),
        ("P1,,I3,1", True),
        ("P2,S1,,1", True),
        (",S1,I2,1", True),
        ("P1,S1,I2,1", True),
        ("P1,S1,I1,1", False),
        ("P9,S1,I1,1", True),
        ("P1,S9,,1", False),
        ("P1,,I9,1", False),
        ("P9,S9,I9,1", False),
    ],
)
def test_identifiers_of_different_images_in_one_line(tmp_path: Path, row: str, refused: bool) -> None:
    found = table(tmp_path, f"PatientID,StudyInstanceUID,SOPInstanceUID,tb\n{row}\nP2,S3,I3,0\n").assign(IMAGES, {})
    assert found.labels[2] == {"tb": "0"}
    assert [one.reason for one in found.refused] == ["contradicting-ids"] * refused
    assert not refused or found.labels[:2] == [{}, {}]


def cohort(*patients: str) -> tuple[list[dict[Kind, frozenset[str]]], dict[str, frozenset[str]]]:
    known: dict[str, set[str]] = {}
    for patient in patients:
        for spelling in (KEY.alike("patient", patient), KEY.pseudonym("patient", patient)):
            known.setdefault(spelling, set()).add(KEY.pseudonym("patient", patient))
    return [named(patient=one) for one in patients], {spelling: frozenset(names) for spelling, names in known.items()}


def test_leading_zeros_that_a_spreadsheet_took(tmp_path: Path) -> None:
    images, spellings = cohort("0012", "12", "0345", "01000", "77")
    done = table(tmp_path, "PatientID,tb\n12,1\n345,0\n1000,1\n").assign(images, spellings)
    assert done.labels == [{}] * 5
    assert [(one.line, one.reason) for one in done.refused] == [(2, "ambiguous-id")]
    assert (done.lines.lines, done.lines.matched, done.lines.unmatched, done.lines.respelled) == (3, 0, 2, 2)


SPELLINGS = [
    "12",
    "0012",
    "00012",
    "12.0",
    "12,00",
    "1.2E+01",
    "1.2e1",
    "'0012",
    '="0012"',
    "+12",
    "１２",
    "12\N{ZERO WIDTH SPACE}",
]


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("true", ["0012", "000012", "12"])
def test_another_spelling_matches_nothing_and_is_counted(tmp_path: Path, spelling: str, true: str) -> None:
    if spelling == true:
        return
    images, spellings = cohort(true, "77")
    quoted = spelling.replace('"', '""')
    done = table(tmp_path, f'PatientID,tb\n"{quoted}",1\n77,0\n99,0\n').assign(images, spellings)
    assert done.labels == [{}, {"tb": "0"}]
    assert (done.lines.matched, done.lines.unmatched, done.lines.respelled) == (1, 2, 1)
    with pytest.raises(
        CohortError, match=r"no labels match: 1 of 1 lines name .* in another spelling; write the ids as te"
    ):
        table(tmp_path, f'PatientID,tb\n"{quoted}",1\n').assign(images, spellings)


@pytest.mark.parametrize(
    ("one", "other"), [("12", "0012"), ("a-1", "A-1"), ("7", "7.0"), ("p 1", "p1"), ("12E3", "12000")]
)
def test_one_of_two_alike_is_ambiguous_unless_the_table_has_both(tmp_path: Path, one: str, other: str) -> None:
    images, spellings = cohort(one, other, "77")
    alone = table(tmp_path, f"PatientID,tb\n{one},1\n77,0\n").assign(images, spellings)
    assert alone.labels == [{}, {}, {"tb": "0"}]
    assert [refusal.reason for refusal in alone.lines.refused] == ["ambiguous-id"]
    both = table(tmp_path, f"PatientID,tb\n{one},1\n{other},0\n").assign(images, spellings)
    assert both.labels == [{"tb": "1"}, {"tb": "0"}, {}]


def test_a_third_that_the_table_does_not_hold_makes_both_ambiguous(tmp_path: Path) -> None:
    images, spellings = cohort("12", "012", "0012", "77")
    done = table(tmp_path, "PatientID,tb\n12,1\n012,0\n77,0\n").assign(images, spellings)
    assert done.labels == [{}, {}, {}, {"tb": "0"}]


def test_by_study_a_patient_is_not_ambiguous(tmp_path: Path) -> None:
    images, spellings = cohort("12", "0012")
    images[0] |= named(study="S1")
    done = table(tmp_path, "PatientID,StudyInstanceUID,tb\n12,S1,1\n").assign(images, spellings)
    assert done.labels == [{"tb": "1"}, {}]


def test_a_patient_in_quarantine_makes_an_identifier_ambiguous(tmp_path: Path) -> None:
    images, spellings = cohort("12", "0012", "77")
    done = table(tmp_path, "PatientID,tb\n12,1\n77,0\n0012,1\n").assign([images[0], images[2]], spellings)
    assert done.labels == [{"tb": "1"}, {"tb": "0"}]
    assert (done.lines.unmatched, done.lines.respelled) == (1, 0), "0012 is spelled as its file spells it"
    assert done.lines.set_aside == 1
    done = table(tmp_path, "PatientID,tb\n12,1\n77,0\n").assign([images[0], images[2]], spellings)
    assert done.labels == [{}, {"tb": "0"}]


# ------------------------------------------------------------ words for no value


def test_a_word_for_no_value_is_no_label_and_is_counted(tmp_path: Path) -> None:
    content = "PatientID,tb,grade,side\nP1,NA,none,none\nP2,1,2,left\nP3, n/a ,3,NULL\n"
    done = table(tmp_path, content).assign([*IMAGES, named(patient="P3")], {})
    assert done.labels == [{"side": "none"}] * 2 + [{"tb": "1", "grade": "2", "side": "left"}, {"grade": "3"}]
    assert done.lines.missing == {"tb": {"NA": 2, "n/a": 1}, "grade": {"none": 2}, "side": {"NULL": 1}}


def test_a_column_without_a_heading_is_counted_and_ignored(tmp_path: Path) -> None:
    found = table(tmp_path, '"","PatientID","tb",\n"1","P1",0,\n"2","P2",1,\n')
    assert found.columns == ("tb",)
    assert found.assign(IMAGES, {}).lines.unnamed_columns == 1


# ------------------------------------------------------------ columns that the site requires


def test_required_columns_are_columns_of_the_table(tmp_path: Path) -> None:
    found = table(tmp_path, "PatientID,pneumonia,PatientName,tb\nP1,1,SECRETUM,0\n")
    where = tmp_path / "site.toml"
    require_columns(found, ["tb", "pneumonia"], where)
    require_columns(found, [], where)
    require_columns(None, [], where)
    message = r"site.toml: require names no column of the label table: 'pneumonai'; it has: pneumonia, tb; not kept, "
    with pytest.raises(CohortError, match=message) as refusal:
        require_columns(found, ["tb", "pneumonai"], where)
    assert "SECRETUM" not in str(refusal.value) and "P1" not in str(refusal.value).replace(str(tmp_path), "")
    with pytest.raises(CohortError, match="'PatientName'"):
        require_columns(found, ["PatientName"], where)
    with pytest.raises(CohortError, match="require names 'tb', and there is no label table"):
        require_columns(None, ["tb"], where)
