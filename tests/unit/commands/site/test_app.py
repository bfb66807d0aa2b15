"""``fedward site index``, as hospital IT types it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fedward.indexing.split.book import book_of
from fedward.settings import read_site
from tests.conftest import OPEN_COHORT_TOML, OPEN_SITE_TOML
from tests.support.command_line import typed
from tests.support.images.dicom_files import image, save, segmentation


@pytest.fixture
def site_toml(tmp_path: Path) -> Path:
    """A hospital with two cohorts: three radiographs, one blank among them, and a folder of rubbish."""
    sources = [image(name=n, patient=f"P{n}") for n in range(3)]
    sources[2].PixelData = bytes(len(sources[2].PixelData))
    for n, source in enumerate(sources):
        save(source, tmp_path / "chest" / f"{n}.dcm")
    save(segmentation(sources[:1], {"Lung": np.eye(16, 12, dtype=bool)}), tmp_path / "masks" / "m.dcm")
    (tmp_path / "chest.csv").write_text("PatientID,tb\nP0,yes\n")
    (tmp_path / "rubbish").mkdir()
    (tmp_path / "rubbish" / "a").write_text("x")
    path = tmp_path / "site.toml"
    path.write_text(
        f"""
        site = "north-clinic"
        key = "secret/site.key"
        {OPEN_SITE_TOML}
        [cohorts.chest]
        images = "chest"
        masks = "masks"
        labels = "chest.csv"
        index = "index/chest"
        max_quarantined_fraction = 0.5
        validation_fraction = 0.3
        {OPEN_COHORT_TOML}
        [cohorts.rubbish]
        images = "rubbish"
        index = "index/rubbish"
        max_quarantined_fraction = 0.5
        validation_fraction = 0.3
        {OPEN_COHORT_TOML}
        """
    )
    return path


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    return typed(monkeypatch, "site", "index", *arguments)


def test_a_summary_for_people(
    site_toml: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, str(site_toml), "--cohort", "chest") == 0
    out, err = capsys.readouterr()
    lines = {line.split("│")[1].strip(): line.split("│")[2].strip() for line in out.splitlines() if "│" in line}
    assert lines["images"] == "2"
    assert lines["patients"].startswith("2 (")
    assert lines["masks"] == "1 of 2 images"
    assert lines["label tb"] == "1 of 2 images (yes: 1)"
    assert "blank-image" in out
    assert err == ""
    assert (site_toml.parent / "secret" / "site.key").stat().st_mode & 0o777 == 0o600


def test_the_same_for_scripts(
    site_toml: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, str(site_toml), "--cohort", "chest", "--format", "json") == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["images"], found["masks"], found["labels"]) == (2, 1, {"tb": {"yes": 1}})
    assert found["train_patients"] + found["validation_patients"] == found["patients"] == 2
    assert found["quarantined"][0][:2] == ["blank-image", 1]


TABLE = "PatientID,tb,\nP0,NA,x\nP1,yes,\nP1,yes\n P 1 ,no,\nP9,no,\n,,\n"


def test_each_line_of_the_label_table_is_said(
    site_toml: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    (site_toml.parent / "chest.csv").write_text(TABLE)
    assert run(monkeypatch, str(site_toml), "--cohort", "chest") == 0
    out, err = capsys.readouterr()
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines() if "│" in line]
    assert ["label tb", "1 of 2 images (yes: 1); 1 NA counts as no value"] in rows
    assert ["lines of the label table", "6, of which 2 name an image"] in rows
    assert ["2", "unmatched", "names no image of the index (an image in quarantine is not in it)"] in rows
    assert any(
        row[:2] == ["1", "respelled"] and "write the ids as text, with their leading zeros" in row[2] for row in rows
    )
    assert any(row[:2] == ["1", "refused: cell-count, line 4"] and "in quotes" in row[2] for row in rows)
    assert ["1", "blank", "is empty"] in rows
    assert any("ignored columns: 1" in row[1] for row in rows)
    assert "labels-refused.csv in the index folder lists every refused line" in out
    assert err == ""


def test_columns_that_identify_people_and_ids_of_other_images_are_said(
    site_toml: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    table = "PatientID,SOPInstanceUID,PatientName,DOB,tb\nP1,9.1,SECRETUM,1950,yes\nP1,9.2,SECRETUM,1950,yes\n"
    (site_toml.parent / "chest.csv").write_text(table)
    assert run(monkeypatch, str(site_toml), "--cohort", "chest") == 0
    out, err = capsys.readouterr()
    assert "columns not kept, because they identify people: 2" in out and "PatientName, DOB" in out
    assert "matched by PatientID: no line's SOPInstanceUID names an image here" in out
    assert "warning: labels spread: 1" in out
    assert "SECRETUM" not in out + err and "1950" not in out + err


def test_each_line_of_the_label_table_for_scripts(
    site_toml: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (site_toml.parent / "chest.csv").write_text(TABLE)
    assert run(monkeypatch, str(site_toml), "--cohort", "chest", "--format", "json") == 0
    (found,) = json.loads(capsys.readouterr().out)
    (refusal,) = found["label_lines"].pop("refused")
    assert found["label_lines"] == {
        "lines": 6,
        "matched": 2,
        "unmatched": 2,
        "respelled": 1,
        "blank": 1,
        "missing": {"tb": {"NA": 1}},
        "unnamed_columns": 1,
        "identifying_columns": [],
        "set_aside": 0,
        "matched_by": {"PatientID": 2},
        "fallback": "",
        "spread": 0,
    }
    assert (refusal["reason"], refusal["count"], refusal["first_lines"]) == ("cell-count", 1, [4])


def test_a_cohort_refused_for_want_of_labels_shows_the_refused_lines(
    site_toml: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (site_toml.parent / "chest.csv").write_text("PatientID,tb\nP0,NA\nP1,1,1\n")
    site_toml.write_text(
        site_toml.read_text().replace('labels = "chest.csv"', 'labels = "chest.csv"\nrequire = ["tb"]')
    )
    assert run(monkeypatch, str(site_toml), "--cohort", "chest") == 1
    err = capsys.readouterr().err
    assert "missing-label" in err and "cell-count" in err and "1 NA counts as no value" in err


def test_past_the_tolerance_a_table_and_one_line(
    site_toml: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, str(site_toml), "--cohort", "rubbish") == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "unreadable" in err
    (line,) = [line for line in err.splitlines() if line.startswith("fedward: ")]
    assert "1 of 1 image files cannot be used" in line
    assert "Traceback" not in err


def test_a_refused_cohort_does_not_keep_the_others_from_being_indexed(
    site_toml: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = site_toml.read_text().replace("[cohorts.rubbish]", "[cohorts.aaa]").split("[cohorts.aaa]")[1]
    site_toml.write_text(site_toml.read_text() + "\n[cohorts.aaa]" + other.replace("rubbish", "absent"))
    assert run(monkeypatch, str(site_toml), "--format", "json") == 1
    out, err = capsys.readouterr()
    assert [found["cohort"] for found in json.loads(out)] == ["chest"]
    lines = [line for line in err.splitlines() if line.startswith("fedward: ")]
    assert ["no such folder" in lines[0], "1 of 1 image files" in lines[1]] == [True, True] and len(lines) == 2


def test_masks_that_were_not_found_or_not_used_and_an_empty_side_are_said(
    site_toml: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = site_toml.parent
    (folder / "masks" / "m.dcm").rename(folder / "chest" / "9.dcm")
    shown = []
    for _ in range(2):
        run(monkeypatch, str(site_toml), "--cohort", "chest")
        shown.append(" ".join(capsys.readouterr().out.replace("│", " ").split()))
        save(segmentation([image(name="elsewhere")], {"Lung": np.eye(16, 12, dtype=bool)}), folder / "masks" / "x.dcm")
        book = book_of(read_site(site_toml))
        content = json.loads(book.read_text())
        everyone = [*content["train"], *content["validation"]]
        book.write_text(json.dumps(content | {"train": everyone, "validation": []}))
    assert "0 of 2 images; no mask file was found" in shown[0]
    assert "0 of 2 images; 1 mask file set aside" in shown[1]
    assert "2 (2 train, 0 validation); no job can run: one side is empty" in shown[1]


@pytest.mark.parametrize(
    ("text", "arguments", "said"),
    [
        (None, ["--cohort", "heads"], "no such cohort: 'heads'; name one of chest, rubbish"),
        (
            f'site = "a"\nkey = "k"\ncohorts = {{}}\n{OPEN_SITE_TOML}',
            [],
            "names no cohort; add a [cohorts.<name>] table",
        ),
        ("site = 3", [], "correct the file"),
    ],
)
def test_one_line_for_a_mistake(
    site_toml: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    text: str | None,
    arguments: list[str],
    said: str,
) -> None:
    if text is not None:
        site_toml.write_text(text)
    assert run(monkeypatch, str(site_toml), *arguments) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert len(err.splitlines()) == 1
