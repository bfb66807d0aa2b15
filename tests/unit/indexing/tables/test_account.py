"""``fedward site index`` with a label table: what the index holds, and its account of every line."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedward.dataset.manifest import Manifest, read_manifest
from fedward.dataset.selection import select
from fedward.errors import CohortError
from fedward.indexing.index import index_cohort
from fedward.indexing.quarantine import QuarantineError, read_quarantine
from fedward.indexing.summary import summarise
from fedward.indexing.tables.account import ACCOUNT, REASONS, REFUSED, LabelLines, read_account
from fedward.settings import JobSpec
from tests.support.images.dicom_files import image, save, save_nifti, site


def cohort(root: Path, *patients: str) -> None:
    for patient in patients:
        save(image(name=patient, patient=patient), root / "images" / f"{patient}.dcm")


def index(root: Path, table: str | None, **options: Any) -> Manifest:
    if table is not None:
        (root / "labels.csv").write_text(table)
        options["labels"] = root / "labels.csv"
    return index_cohort(site(root, **options), "chest", workers=0)


def labels(made: Manifest) -> dict[str, dict[str, str]]:
    return {row.paths[0].split(".")[0]: row.labels for row in made.rows}


def account_of(root: Path) -> LabelLines:
    account = read_account(root / "index")
    assert account is not None
    return account


def test_a_decimal_comma_shifts_no_value_into_another_column(tmp_path: Path) -> None:
    cohort(tmp_path, "00012", "00345", "01000", "00777")
    made = index(tmp_path, "PatientID,dose_mSv,tb\n00012,1,1\n00345,0,1,0\n01000,2,0\n00777,3\n")
    assert labels(made) == {
        "00012": {"dose_mSv": "1", "tb": "1"},
        "00345": {},
        "01000": {"dose_mSv": "2", "tb": "0"},
        "00777": {},
    }
    with (tmp_path / "index" / REFUSED).open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["line", "reason", "detail"],
            ["3", "cell-count", "4 cells, 3 headings"],
            ["5", "cell-count", "2 cells, 3 headings"],
        ]
    summary = summarise(made, site(tmp_path))
    assert summary.label_lines == account_of(tmp_path)
    (refusal,) = account_of(tmp_path).refused
    assert (refusal.count, refusal.first_lines, refusal.meaning) == (2, (3, 5), REASONS["cell-count"])


def test_leading_zeros_lost_to_a_spreadsheet_label_nobody_else(tmp_path: Path) -> None:
    cohort(tmp_path, "0012", "12", "0345", "01000", "77")
    made = index(tmp_path, "PatientID,tb\n12,1\n345,0\n1000,1\n")
    assert set(map(str, labels(made).values())) == {"{}"}
    account = account_of(tmp_path)
    assert (account.lines, account.matched, account.unmatched, account.respelled) == (3, 0, 2, 2)
    assert [(one.reason, one.count, one.first_lines) for one in account.refused] == [("ambiguous-id", 1, (2,))]
    for path in (tmp_path / "index").iterdir():
        assert not any(f'"{one}"' in path.read_text() for one in ("12", "0012", "345", "1000")), path.name


def test_a_patient_in_quarantine_may_be_who_is_meant(tmp_path: Path) -> None:
    cohort(tmp_path, "12", "77")
    save(image(np.full((9, 9), 5), name="blank", patient="0012"), tmp_path / "images" / "blank.dcm")
    assert labels(index(tmp_path, "PatientID,tb\n12,1\n77,0\n")) == {"12": {}, "77": {"tb": "0"}}
    assert [one.reason for one in account_of(tmp_path).refused] == ["ambiguous-id"]


def test_names_of_nifti_files_in_another_spelling(tmp_path: Path) -> None:
    for number, name in enumerate(("007", "7", "12", "Case_A")):
        values = np.random.default_rng(number).integers(0, 900, (6, 7, 8)).astype(np.int16)
        save_nifti(values, tmp_path / "images" / f"{name}.nii.gz")
    table = "Image,side\n7.nii.gz,left\n12,right\ncase_a.nii,left\nx\\Case_A.nii.gz,left\n"
    made = index(tmp_path, table)
    assert {name: one for name, one in labels(made).items() if one} == {
        "12": {"side": "right"},
        "Case_A": {"side": "left"},
    }
    account = account_of(tmp_path)
    assert (account.matched, account.unmatched, account.respelled) == (2, 1, 1)
    assert [(one.reason, one.first_lines) for one in account.refused] == [("ambiguous-id", (2,))]


def test_a_missing_value_as_r_writes_it(tmp_path: Path, tiny_job: JobSpec) -> None:
    patients = [f"P{number}" for number in range(12)]
    cohort(tmp_path, *patients)
    rows = [f'"{one}",{"NA" if one == "P3" else number % 2},"x"' for number, one in enumerate(patients)]
    table = "\n".join(['"PatientID","tb","note"', *rows, ""])
    made = index(tmp_path, table, require=("tb",), validation_fraction=0.5)
    assert [(one.file, one.reason) for one in read_quarantine(tmp_path / "index")] == [("P3.dcm", "missing-label")]
    assert account_of(tmp_path).missing == {"tb": {"NA": 1}}
    data = tiny_job.data.model_copy(update={"labels": ("tb",)})
    job = tiny_job.model_copy(update={"data": data})
    chosen = select(job, [made], site="north-clinic")
    assert len(chosen.train) + len(chosen.validation) == 11


def test_the_account_is_of_the_last_run(tmp_path: Path) -> None:
    cohort(tmp_path, "P1", "P2")
    index(tmp_path, "PatientID,tb\nP1,1\nP2\n")
    assert account_of(tmp_path).refused
    for bad in ("PatientID,tb\nP1\n", "PatientID\nP1\n", "PatientID,tb\nP3,1\n"):
        with pytest.raises(CohortError):
            index(tmp_path, bad)
        assert read_account(tmp_path / "index") is None and not (tmp_path / "index" / REFUSED).exists()
    made = index(tmp_path, "PatientID,tb\nP1,1\nP2,0\n")
    assert (tmp_path / "index" / REFUSED).read_text() == "line,reason,detail\n"
    assert summarise(made, site(tmp_path)).label_lines is not None
    made = index(tmp_path, None)
    assert summarise(made, site(tmp_path)).label_lines is None


def test_a_refused_cohort_still_has_the_account(tmp_path: Path) -> None:
    cohort(tmp_path, "P1", "P2")
    with pytest.raises(QuarantineError):
        index(tmp_path, "PatientID,tb\nP1,1\nP2,0,1\n", require=("tb",), max_quarantined_fraction=0.1)
    assert account_of(tmp_path).refused[0].first_lines == (3,)
    with pytest.raises(CohortError, match="no index here"):
        read_manifest(tmp_path / "index")


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"refused": [1]}', json.dumps({"refused": [], "lines": 1})])
def test_an_account_that_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / ACCOUNT).write_text(content)
    with pytest.raises(CohortError, match="account of the labels cannot be read; run `fedward site index SITE_TOML`"):
        read_account(tmp_path)
