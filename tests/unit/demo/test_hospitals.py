"""Check folders -> hospitals: what is found, how one is divided into several, what a site receives."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from fedward.demo.hospitals import Source, apply_splits, find_sources, site_id, split_source, write_site
from fedward.demo.prepare import gather
from fedward.errors import CohortError, JobError
from fedward.settings import JobSpec, read_site
from tests.support.images.dicom_files import image, save


def dicom_hospital(folder: Path, patients: int) -> None:
    (folder / "dicom").mkdir(parents=True)
    with (folder / "labels.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["PatientID", "lesion"])
        for number in range(patients):
            (folder / "dicom" / f"P{number}").mkdir()
            (folder / "dicom" / f"P{number}" / "a.dcm").write_bytes(b"")
            table.writerow([f"P{number}", number % 2])


def test_one_folder_a_hospital(tmp_path: Path) -> None:
    dicom_hospital(tmp_path / "north_us", 2)
    dicom_hospital(tmp_path / "South", 2)
    (tmp_path / "notes").mkdir()
    found = find_sources(tmp_path)
    assert {source.site for source in found} == {"north-us", "south"}
    assert all(source.labels is not None and source.masks is None for source in found)


@pytest.mark.parametrize("make", [False, True], ids=["no such folder", "nothing in it"])
def test_a_folder_without_hospitals_is_one_line(tmp_path: Path, make: bool) -> None:
    folder = tmp_path / "data"
    if make:
        folder.mkdir()
    with pytest.raises(CohortError, match=r"no such folder|no hospital"):
        find_sources(folder)


@pytest.mark.parametrize("parts", [2, 3, 5])
def test_parts_share_no_patient_and_lose_none(tmp_path: Path, parts: int) -> None:
    dicom_hospital(tmp_path / "data" / "north", 40)
    source = find_sources(tmp_path / "data")[0]
    dealt = split_source(source, parts, tmp_path / "split", seed=1)
    patients = [{entry.name for entry in part.images.iterdir()} for part in dealt]
    assert len(set().union(*patients)) == sum(map(len, patients)) == 40
    for part, names in zip(dealt, patients, strict=True):
        assert part.labels is not None
        with part.labels.open() as file:
            assert {row["PatientID"] for row in csv.DictReader(file)} == names


def test_nifti_files_are_dealt_with_their_masks(tmp_path: Path) -> None:
    for folder in ("images", "labels"):
        (tmp_path / "brain" / folder).mkdir(parents=True)
        for number in range(20):
            (tmp_path / "brain" / folder / f"h{number}.nii.gz").write_bytes(b"")
    dealt = apply_splits(find_sources(tmp_path / "brain"), every=3, named={}, out=tmp_path / "split", seed=0)
    assert [part.site for part in dealt] == ["brain-1", "brain-2", "brain-3"]
    for part in dealt:
        assert part.masks is not None
        assert {entry.name for entry in part.images.iterdir()} == {entry.name for entry in part.masks.iterdir()}


def test_a_wrong_split_is_one_line(tmp_path: Path) -> None:
    sources = [Source(site=site, images=tmp_path, masks=None, labels=None) for site in ("north", "south")]
    with pytest.raises(JobError, match="one hospital"):
        apply_splits(sources, every=3, named={}, out=tmp_path, seed=0)
    with pytest.raises(JobError, match="north, south"):
        apply_splits(sources, every=None, named={"west": 2}, out=tmp_path, seed=0)
    with pytest.raises(CohortError, match="two or more"):
        apply_splits(sources[:1], every=1, named={}, out=tmp_path, seed=0)


@pytest.mark.parametrize(("name", "expected"), [("montgomery_us", "montgomery-us"), ("A  B", "a-b"), ("x__", "x")])
def test_site_ids(name: str, expected: str) -> None:
    assert site_id(name) == expected


def test_a_name_that_cannot_be_an_id(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="letter"):
        site_id("42")


def test_a_site_file_says_where_everything_is(tmp_path: Path, tiny_job: JobSpec) -> None:
    dicom_hospital(tmp_path / 'odd "name"' / "north", 1)
    source = find_sources(tmp_path / 'odd "name"')[0]
    policy = read_site(write_site(source, tmp_path / "site", tiny_job, seed=0))
    cohort = policy.cohorts[tiny_job.data.cohort]
    assert (policy.site, cohort.images, cohort.labels) == (source.site, source.images, source.labels)
    assert policy.key.stat().st_mode & 0o077 == 0


def test_what_a_hospital_lacks_is_said_in_full_where_its_images_are(tmp_path: Path, tiny_job: JobSpec) -> None:
    """The server is told less; the person at the demo has the images, and needs the reason and the remedy."""
    for folder, words in {"North_1": ("0", "1"), "south": ("0", "0")}.items():
        lines = ["PatientID,lesion"]
        for number in range(8):
            save(image(name=number, patient=f"P{number}"), tmp_path / "data" / folder / "dicom" / f"{number}.dcm")
            lines.append(f"P{number},{words[number % 2]}")
        (tmp_path / "data" / folder / "labels.csv").write_text("\n".join(lines) + "\n")
    said: list[tuple[str, str]] = []
    gather(tiny_job, tmp_path / "data", tmp_path / "sites", named={}, workers=0, log=lambda *one: said.append(one))
    assert ("north-1", "8 images of 8 patients indexed from folder North_1, 0 in quarantine") in said
    (why,) = [what for site, what in said if "will take no part" in what and site == "south"]
    assert "label 'lesion' is no for all 8 images: one class only; index images of the other class" in why


def test_the_demo_says_from_which_folder_a_site_is_and_which_images_were_in_colour(
    tmp_path: Path, tiny_job: JobSpec
) -> None:
    folder = tmp_path / "data" / "South_US"
    lines = ["PatientID,lesion"]
    for number in range(4):
        colour = np.random.default_rng(number).integers(0, 256, (16, 12, 3))
        made = image(colour, bits=8, photometric="RGB", name=number, patient=f"P{number}")
        save(made if number < 3 else image(name=number, patient=f"P{number}"), folder / "dicom" / f"{number}.dcm")
        lines.append(f"P{number},{number % 2}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    said: list[tuple[str, str]] = []
    gather(tiny_job, tmp_path / "data", tmp_path / "out", named={}, workers=0, log=lambda *one: said.append(one))
    site, what = said[0]
    assert site == "south-us"
    assert what == (
        "4 images of 4 patients indexed from folder South_US, 0 in quarantine; 3 in colour, of which only the "
        "luminance is used"
    )
