"""Sequences of a study: the hospital's rules name them, and only images on one grid become channels of one image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedward.dataset.load import load_example, load_mask
from fedward.dataset.manifest import Manifest, read_manifest
from fedward.dataset.selection import Selection, select
from fedward.errors import CohortError, StudyError
from fedward.indexing.grouping.sequences import sequence_of, without_sequence
from fedward.indexing.index import index_cohort
from fedward.settings import JobSpec, parse
from tests.conftest import tiny_job_content
from tests.support.images.dicom_files import image, pattern, save, save_nifti, segmentation, series, site

RULES = {"t1": "*T1*", "flair": "*flair*"}


def job(*sequences: str, size: tuple[int, ...] = (8, 8), **data: Any) -> JobSpec:
    content = tiny_job_content()
    content["data"] |= {"size": list(size), "sequences": list(sequences), **data}
    if "structures" in data:
        content["job"]["task"] = "segmentation"
        content["data"]["labels"] = []
        content["training"]["loss"] = {"name": "DiceCELoss"}
        content["model"] = {"network": "UNet", "args": {}}
    return parse(JobSpec, content, where="sequences")


def chosen(spec: JobSpec, manifest: Manifest) -> Selection:
    return select(spec, [manifest], site="north")


@pytest.mark.parametrize(
    ("name", "found"),
    [("AX T1 SE", "t1"), ("ax t1", "t1"), ("Ax FLAIR fs", "flair"), ("DWI", ""), ("", ""), ("T1\nafter", "t1")],
)
def test_a_rule_is_the_whole_name_in_any_case(name: str, found: str) -> None:
    assert sequence_of(name, RULES) == found


def test_a_name_that_fits_two_rules_is_refused() -> None:
    with pytest.raises(StudyError, match="flair, t1"):
        sequence_of("T1 FLAIR", RULES)


@pytest.mark.parametrize(
    ("path", "rules", "rest"),
    [
        ("p1_t1.nii.gz", {"t1": "*_t1"}, "p1.nii.gz"),
        ("p1/scan_flair.nii", {"flair": "*_flair"}, "p1/scan.nii"),
        ("T1/p1.nii.gz", {"t1": "T1/*"}, "p1.nii.gz"),
        ("case_0000.nii.gz", {"t1": "*_0000", "t2": "*_0001"}, "case.nii.gz"),
        ("other.nii.gz", {"t1": "*_t1"}, "other.nii.gz"),
        ("t1.nii.gz", {"t1": "t1"}, "t1.nii.gz"),
        ("a.b+c.nii", {"t1": "a.b+*"}, "c.nii"),
    ],
)
def test_what_a_rule_fixes_is_no_part_of_a_patients_name(path: str, rules: dict[str, str], rest: str) -> None:
    assert without_sequence(path, rules) == rest


def study(root: Path, patient: str, *, shifted: str = "", without: str = "", twice: str = "") -> None:
    """Two sequences of four slices, each a series; slice 0 to 3 at one place."""
    for name in ("T1", "FLAIR"):
        if name == without:
            continue
        for copy in range(2 if name == twice else 1):
            slices = series(4, patient=patient, name=(name, copy), SeriesDescription=f"ax {name}")
            for index, one in enumerate(slices):
                one.Modality = "MR"
                if name == shifted:
                    one.ImagePositionPatient = [0.4, *one.ImagePositionPatient[1:]]
                save(one, root / "images" / patient / f"{name}-{copy}-{index}.dcm")


def labels(root: Path, *patients: str) -> Path:
    path = root / "labels.csv"
    path.write_text("PatientID,lesion\n" + "".join(f"{p},{n % 2}\n" for n, p in enumerate(patients)))
    return path


@pytest.mark.parametrize("volumes", [False, True])
def test_dicom_sequences_on_one_grid_are_channels_in_the_jobs_order(tmp_path: Path, volumes: bool) -> None:
    (tmp_path / "images").mkdir()
    patients = [f"P{n}" for n in range(8)]
    for patient in patients:
        study(tmp_path, patient)
    policy = site(tmp_path, sequences=RULES, volumes=volumes, labels=labels(tmp_path, *patients))
    manifest = index_cohort(policy, "chest", workers=0)
    found = chosen(job("flair", "t1", size=(4, 8, 8) if volumes else (8, 8)), read_manifest(tmp_path / "index"))
    examples = [*found.train, *found.validation]
    assert len(examples) == 8 * (1 if volumes else 4)
    assert found.support.left_out == 0
    for one in examples:
        assert [row.sequence for row in one.channels] == ["flair", "t1"]
        assert len({row.grid for row in one.channels}) == len({row.patient for row in one.channels}) == 1
        pixels = load_example(one, colour=False).pixels
        assert pixels.shape == (2, 4, 8, 6) if volumes else (2, 8, 6)
        assert not np.array_equal(pixels[0], pixels[1])
    assert all(row.sequence and row.grid for row in manifest.rows)


@pytest.mark.parametrize("fault", [{"shifted": "T1"}, {"without": "FLAIR"}, {"twice": "T1"}])
def test_a_study_without_one_pair_on_one_grid_is_left_out_and_counted(tmp_path: Path, fault: dict[str, str]) -> None:
    patients = [f"P{n}" for n in range(8)]
    for patient in patients:
        study(tmp_path, patient, **(fault if patient == "P3" else {}))
    policy = site(tmp_path, sequences=RULES, volumes=True, labels=labels(tmp_path, *patients))
    index_cohort(policy, "chest", workers=0)
    found = chosen(job("t1", "flair", size=(4, 8, 8)), read_manifest(tmp_path / "index"))
    assert len(found.train) + len(found.validation) == 7
    assert found.support.left_out == 1


def test_a_cohort_without_the_sequences_says_what_it_has(tmp_path: Path) -> None:
    for patient in ("P1", "P2"):
        study(tmp_path, patient, without="FLAIR")
    index_cohort(site(tmp_path, sequences=RULES, volumes=True, labels=labels(tmp_path, "P1", "P2")), "chest", workers=0)
    with pytest.raises(CohortError, match="no study has t1, flair on one grid; the index has 2 of t1") as caught:
        chosen(job("t1", "flair", size=(4, 8, 8)), read_manifest(tmp_path / "index"))
    assert "sequences of the cohort in site.toml" in str(caught.value)


def test_a_series_that_fits_two_rules_goes_to_quarantine(tmp_path: Path) -> None:
    for index in range(3):
        save(image(name=index, patient=f"P{index}"), tmp_path / "images" / f"{index}.dcm")
    save(image(name=9, patient="P9", SeriesDescription="T1 FLAIR"), tmp_path / "images" / "both.dcm")
    manifest = index_cohort(site(tmp_path, sequences=RULES), "chest", workers=0)
    assert (len(manifest.rows), manifest.quarantined) == (3, 1)
    assert "two-sequences" in (tmp_path / "index" / "quarantine.csv").read_text()


def test_nifti_sequences_of_one_patient_are_on_one_side_and_share_its_mask(tmp_path: Path) -> None:
    """Flat folders, as nnU-Net has them: without the rules each file would be a patient of its own."""
    drawn = np.random.default_rng(0)
    for n in range(10):
        for channel in ("t1", "flair"):
            values = drawn.normal(100.0, 20.0, (6, 7, 5)).astype("f4")
            save_nifti(values, tmp_path / "images" / f"case{n}_{channel}.nii.gz")
        mask = np.zeros((6, 7, 5), np.uint8)
        mask[2:4, 2:4, 2] = 1
        save_nifti(mask, tmp_path / "masks" / f"case{n}.nii.gz")
    rules = {"t1": "*_t1", "flair": "*_flair"}
    policy = site(tmp_path, sequences=rules, masks=tmp_path / "masks", labels=None)
    manifest = index_cohort(policy, "chest", workers=0)
    assert manifest.patients() == 10
    assert manifest.quarantined == 0
    found = chosen(job("t1", "flair", size=(8, 8, 8), structures=["1"]), read_manifest(tmp_path / "index"))
    examples = [*found.train, *found.validation]
    assert len(examples) == 10
    for one in examples:
        assert load_example(one, colour=False).pixels.shape == (2, 5, 7, 6)
        assert load_mask(one.row, tmp_path / "masks", ["1"]).sum() == 4


def test_a_seg_of_one_sequence_is_the_mask_of_the_whole_study(tmp_path: Path) -> None:
    for n in range(6):
        study(tmp_path, f"P{n}")
        slices = series(4, patient=f"P{n}", name=("FLAIR", 0), SeriesDescription="ax FLAIR")
        for one in slices:
            one.Modality = "MR"
        mask = np.zeros((4, 8, 6), dtype=bool)
        mask[1, 2:5, 2:4] = True
        save(segmentation(slices, {"Tumour": mask}), tmp_path / "seg" / f"{n}.dcm")
    policy = site(tmp_path, sequences=RULES, volumes=True, masks=tmp_path / "seg")
    index_cohort(policy, "chest", workers=0)
    found = chosen(job("t1", "flair", size=(8, 8, 8), structures=["Tumour"]), read_manifest(tmp_path / "index"))
    for one in (*found.train, *found.validation):
        assert load_mask(one.row, tmp_path / "seg", ["Tumour"]).sum() == 6


def test_an_index_without_sequences_reads_as_before(tmp_path: Path) -> None:
    for n in range(4):
        save(image(pattern(n), name=n, patient=f"P{n}"), tmp_path / "images" / f"{n}.dcm")
    manifest = index_cohort(site(tmp_path), "chest", workers=0)
    assert '"sequence"' not in (tmp_path / "index" / "manifest.jsonl").read_text()
    assert read_manifest(tmp_path / "index").rows == manifest.rows
