"""Lines and images: a line labels an image only if all that it says is of that image, and no other line disagrees."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations, product
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedward.indexing.labels import Assigned, read_labels
from fedward.indexing.quality import FileFacts
from fedward.indexing.site_key import Kind, SiteKey
from fedward.indexing.tables.paths import file_names
from fedward.indexing.tables.spellings import cohort_spellings

KEY = SiteKey(bytes(32))


def done(folder: Path, content: str, *images: dict[Kind, str]) -> Assigned:
    (folder / "labels.csv").write_text(content)
    names = [{kind: frozenset({KEY.pseudonym(kind, name)}) for kind, name in one.items()} for one in images]
    return read_labels(folder / "labels.csv", KEY).assign(names, {})


def reasons(found: Assigned) -> dict[int, str]:
    return {one.line: one.reason for one in found.refused}


# ------------------------------------------------------------ an id that is not the image's

PATIENTS: list[dict[Kind, str]] = [
    {"patient": f"P{n}", "study": f"S{n}", "series": f"R{n}", "image": f"I{n}"} for n in range(4)
]
COLUMNS: dict[Kind, str] = {
    "patient": "PatientID",
    "study": "StudyInstanceUID",
    "series": "SeriesInstanceUID",
    "image": "SOPInstanceUID",
}


@pytest.mark.parametrize(("coarse", "fine"), [(a, b) for n, a in enumerate(COLUMNS) for b in list(COLUMNS)[n + 1 :]])
@pytest.mark.parametrize("absent", [True, False])
def test_an_id_that_is_nobodys_beside_one_of_an_image(tmp_path: Path, coarse: Kind, fine: Kind, absent: bool) -> None:
    lines = [f"{'gone' if n == 1 else one[coarse]},{one[fine]},{n}" for n, one in enumerate(PATIENTS)]
    if not absent:
        lines = [line.replace(PATIENTS[n][coarse], f"new-{n}") for n, line in enumerate(lines)]
    found = done(tmp_path, "\n".join([f"{COLUMNS[coarse]},{COLUMNS[fine]},tb", *lines, ""]), *PATIENTS)
    kept = [{"tb": str(n)} for n in range(4)]
    if absent:
        assert (found.labels, reasons(found)) == ([kept[0], {}, *kept[2:]], {3: "contradicting-ids"})
    else:
        assert (found.labels, reasons(found)) == (kept, {}), "ids that match nothing at all were replaced"


def test_a_column_that_was_shifted_by_one_line_labels_nobody(tmp_path: Path) -> None:
    everyone = [f"P{n}" for n in range(60)]
    lines = [f"{one},S{(n + 1) % 60},{n % 2}" for n, one in enumerate(everyone)]
    here: list[dict[Kind, str]] = [{"patient": f"P{n}", "study": f"S{n}"} for n in range(5, 60, 20)]
    found = done(tmp_path, "\n".join(["PatientID,StudyInstanceUID,tb", *lines, ""]), *here)
    assert found.labels == [{}] * 3
    assert set(reasons(found).values()) == {"contradicting-ids"}


# ------------------------------------------------------------ lines that disagree


@pytest.mark.parametrize("lines", list(permutations(["P9,1", "P9,0", "P1,1", "P2,0"])))
def test_lines_of_somebody_who_is_not_here_may_disagree(tmp_path: Path, lines: tuple[str, ...]) -> None:
    found = done(tmp_path, "\n".join(["PatientID,tb", *lines, ""]), {"patient": "P1"}, {"patient": "P2"})
    assert found.labels == [{"tb": "1"}, {"tb": "0"}]
    assert (found.lines.matched, found.lines.unmatched, found.refused) == (2, 2, ())


@pytest.mark.parametrize("other", ["0", "NA", "", "2", "yes"])
def test_lines_that_disagree_label_nobody_and_the_others_count(tmp_path: Path, other: str) -> None:
    content = f"PatientID,tb\nP0,1\nP1,1\nP0,{other}\nP0,1\n"
    found = done(tmp_path, content, {"patient": "P0"}, {"patient": "P0"}, {"patient": "P1"})
    assert found.labels == [{}, {}, {"tb": "1"}]
    assert [(one.line, one.reason, one.detail) for one in found.refused] == [
        (line, "conflicting-lines", "lines 2, 4, 5") for line in (2, 4, 5)
    ]
    assert (found.lines.matched, found.lines.lines) == (1, 4)
    (refusal,) = found.lines.refused
    assert "key the table by StudyInstanceUID or SOPInstanceUID (NIfTI: Image)" in refusal.meaning


def test_where_the_lines_of_an_image_disagree_the_patients_line_does_not_count(tmp_path: Path) -> None:
    content = "SOPInstanceUID,PatientID,tb\nI0,P0,1\nI0,P0,0\n,P0,2\n"
    images: list[dict[Kind, str]] = [{"patient": "P0", "image": "I0"}, {"patient": "P0", "image": "I1"}]
    found = done(tmp_path, content, *images)
    assert found.labels == [{}, {"tb": "2"}]
    assert reasons(found) == {2: "conflicting-lines", 3: "conflicting-lines"}


# ------------------------------------------------------------ paths


def by_path(folder: Path, *cells: str, here: tuple[str, ...], aside: tuple[str, ...] = ()) -> Assigned:
    (folder / "labels.csv").write_text("\n".join(["Image,n", *(f'"{cell}",{n}' for n, cell in enumerate(cells)), ""]))
    seen = FileFacts(path="", size=1, mtime_ns=1, role="image", format="nifti")
    facts = [replace(seen, path=path) for path in (*here, *aside)]
    names: list[dict[Kind, frozenset[str]]] = [{"image": file_names(path, KEY)} for path in here]
    return read_labels(folder / "labels.csv", KEY).assign(names, cohort_spellings(facts, KEY))


TWO = ("case_1/imaging.nii.gz", "case_2/imaging.nii.gz")


@pytest.mark.parametrize(
    ("cells", "labelled", "refused"),
    [
        (["case_1/imaging.nii.gz"], {0: "0"}, {}),
        (["case_1/imaging.nii.gz", "case_2/imaging.nii.gz"], {0: "0", 1: "1"}, {}),
        (["case_2/imaging", "x", "/data/x/case_1/imaging.nii"], {0: "2", 1: "0"}, {}),
        (["C:\\data\\case_1\\imaging.nii.gz", "case_2\\IMAGING.nii.gz"], {0: "0"}, {}),
        (["imaging.nii.gz", "case_1/imaging.nii.gz"], {0: "1"}, {2: "ambiguous-id"}),
        (["/other/imaging.nii.gz", "case_3/imaging", "case_1/imaging"], {0: "2"}, {}),
        (["scase_1/imaging", "case_1/imaging"], {0: "1"}, {}),
        (["case_1/imaging", "x/case_1/imaging"], {}, {2: "conflicting-lines", 3: "conflicting-lines"}),
    ],
)
def test_a_path_names_the_file_whose_path_ends_in_it_or_is_its_end(
    tmp_path: Path, cells: list[str], labelled: dict[int, str], refused: dict[int, str]
) -> None:
    if "conflicting-lines" in refused.values():
        cells = [*cells, "case_2/imaging"]
        labelled = {1: "2"}
    found = by_path(tmp_path, *cells, here=TWO)
    assert found.labels == [{"n": labelled[n]} if n in labelled else {} for n in range(2)]
    assert reasons(found) == refused


def test_a_file_in_quarantine_may_be_the_one_that_is_meant(tmp_path: Path) -> None:
    found = by_path(tmp_path, "imaging", "b", here=("case_1/imaging.nii", "b.nii"), aside=("case_2/imaging.nii",))
    assert (found.labels, reasons(found)) == ([{}, {"n": "1"}], {2: "ambiguous-id"})


def test_the_longest_path_is_meant(tmp_path: Path) -> None:
    found = by_path(tmp_path, "case_1/imaging", "/d/case_1/imaging2", here=("imaging.nii", "case_1/imaging.nii"))
    assert found.labels == [{}, {"n": "0"}]


PATHS = st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map("/".join)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(PATHS, min_size=1, max_size=5, unique=True), PATHS)
def test_a_cell_labels_one_file_or_none(tmp_path: Path, here: list[str], cell: str) -> None:
    found = by_path(tmp_path, cell, "known", here=(*(f"{one}.nii.gz" for one in here), "known.nii"))
    ends = [path for path in here if f"/{path}".endswith(f"/{cell}")]
    starts = [path for path in here if f"/{cell}".endswith(f"/{path}")]
    meant = {*ends, *sorted(starts, key=len)[-1:]}
    assert found.labels[:-1] == [{"n": "0"} if meant == {path} else {} for path in here]
    assert reasons(found) == ({2: "ambiguous-id"} if len(meant) > 1 else {})


@pytest.mark.parametrize(("cell", "file"), list(product(["s1", "S1.nii.gz", "S1.NII.GZ"], ["s1.nii.gz", "x/s1.NII"])))
def test_capitals_are_those_of_the_file_but_for_the_suffix(tmp_path: Path, cell: str, file: str) -> None:
    found = by_path(tmp_path, cell, "known", here=(file, "known.nii"))
    assert found.labels[0] == ({"n": "0"} if cell == "s1" else {})
    assert found.lines.respelled == (cell != "s1")


# ------------------------------------------------------------ ids that name nothing here


@pytest.mark.parametrize(("coarse", "fine"), [(a, b) for n, a in enumerate(COLUMNS) for b in list(COLUMNS)[n + 1 :]])
def test_a_column_that_names_nothing_here_is_said(tmp_path: Path, coarse: Kind, fine: Kind) -> None:
    lines = [f"{one[coarse]},gone-{n},{n}" for n, one in enumerate(PATIENTS)]
    found = done(tmp_path, "\n".join([f"{COLUMNS[coarse]},{COLUMNS[fine]},tb", *lines, ""]), *PATIENTS)
    assert found.labels == [{"tb": str(n)} for n in range(4)]
    assert found.lines.matched_by == {COLUMNS[coarse]: 4}
    assert found.lines.fallback == f"matched by {COLUMNS[coarse]}: no line's {COLUMNS[fine]} names an image here"
    assert found.lines.spread == 0, "each patient has one line and one image"


@pytest.mark.parametrize(
    ("table", "spread"),
    [
        ("StudyInstanceUID,PatientID,tb\n9.1,P0,1\n9.2,P1,0\n", 1),
        ("StudyInstanceUID,PatientID,tb\n9.1,P0,1\n9.2,P1,0\n9.3,P1,0\n9.4,P0,1\n", 2),
        ("SOPInstanceUID,PatientID,tb\n9.1,P0,1\n9.2,P1,0\n", 1),
        ("SOPInstanceUID,StudyInstanceUID,tb\n9.1,S0,1\n9.2,S1,0\n9.3,S2,0\n", 0),
        ("PatientID,tb\nP0,1\nP1,0\n", 0),
        ("PatientID,StudyInstanceUID,tb\nP0,,1\nP1,S1,0\nP1,S2,1\n", 0),
    ],
)
def test_labels_that_spread_over_images_that_the_line_does_not_name(tmp_path: Path, table: str, spread: int) -> None:
    images: list[dict[Kind, str]] = [
        {"patient": "P0", "study": "S0", "image": "I0"},
        {"patient": "P1", "study": "S1", "image": "I1"},
        {"patient": "P1", "study": "S2", "image": "I2"},
    ]
    found = done(tmp_path, table, *images)
    assert found.lines.spread == spread
    assert bool(found.lines.fallback) == ("\n9." in table)


def test_a_name_that_very_many_files_have(tmp_path: Path) -> None:
    here = (*(f"case_{n}/imaging.nii.gz" for n in range(3_000)), "known.nii")
    found = by_path(tmp_path, *["imaging", "IMAGING.nii"] * 1_500, "case_7/imaging.nii", "known", here=here)
    assert found.labels[7] == {"n": "3000"} and sum(map(bool, found.labels)) == 2
    assert set(reasons(found).values()) == {"ambiguous-id"}
    assert (found.lines.unmatched, found.lines.respelled) == (1_500, 1_500)
