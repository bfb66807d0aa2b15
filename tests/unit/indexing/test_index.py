"""A folder of images -> a manifest: every file accounted for, patients on one side, nothing read twice."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedward.dataset.load import load_image, load_mask
from fedward.dataset.manifest import HEADER, QUARANTINE, ROWS, Manifest, read_manifest
from fedward.errors import CohortError, FedwardError, SettingsError
from fedward.indexing import quality
from fedward.indexing.index import index_cohort
from fedward.indexing.quarantine import QuarantineError, read_quarantine
from fedward.settings import SitePolicy
from tests.support.images.dicom_files import image, pattern, save, save_nifti, segmentation, series, site, uid

QUICK = settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def index(policy: SitePolicy, **options: Any) -> Manifest:
    return index_cohort(policy, "chest", **{"workers": 0, **options})


def radiographs(root: Path, patients: int = 6, each: int = 2) -> None:
    for patient in range(patients):
        for number in range(each):
            save(image(name=number, patient=f"P{patient}"), root / "images" / f"P{patient}" / f"{number}.dcm")


def table(root: Path, text: str) -> Path:
    (root / "labels.csv").write_text(text)
    return root / "labels.csv"


def aside(policy: SitePolicy) -> dict[str, str]:
    return {one.file: one.reason for one in read_quarantine(policy.cohorts["chest"].index)}


def test_images_become_rows_that_can_be_read_back(tmp_path: Path) -> None:
    radiographs(tmp_path)
    policy = site(tmp_path)
    made = index(policy)
    assert read_manifest(tmp_path / "index") == made
    assert (len(made.rows), made.patients(), made.quarantined) == (12, 6, 0)
    assert [row.image for row in made.rows] == sorted({row.image for row in made.rows})
    for row in made.rows:
        patient, number = row.paths[0].split("/")
        expected = pattern(int(number[0]))
        np.testing.assert_array_equal(load_image(row, made.images_root).pixels, expected)
        assert patient.startswith("P")
        data = (made.images_root / row.paths[0]).read_bytes()
        assert row.sha256 == hashlib.sha256(data).hexdigest()


def test_every_file_is_in_a_row_or_in_quarantine(tmp_path: Path) -> None:
    radiographs(tmp_path, patients=3)
    folder = tmp_path / "images"
    (folder / "notes.txt").write_text("hello")
    (folder / "empty").write_bytes(b"")
    save(image(name="x", patient=None), folder / "x.dcm")
    save(image(np.full((9, 9), 5), name="y"), folder / "y.dcm")
    whole = save(image(name="z"), folder / "z.dcm").read_bytes()
    (folder / "z.dcm").write_bytes(whole[:-100])
    shutil.copy(folder / "P0" / "0.dcm", folder / "P2" / "copy.dcm")
    policy = site(tmp_path)
    made = index(policy)
    rows = {path for row in made.rows for path in row.paths}
    everything = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert rows | set(aside(policy)) == everything
    assert not rows & set(aside(policy))
    assert made.quarantined == len(aside(policy))
    assert made.quarantined_patients == 2, "of y and z one, of the copy another, and of the others nobody knows"
    assert read_manifest(tmp_path / "index") == made
    assert aside(policy) == {
        "notes.txt": "unreadable",
        "empty": "unreadable",
        "x.dcm": "missing-patient-id",
        "y.dcm": "blank-image",
        "z.dcm": "truncated",
        "P2/copy.dcm": "duplicate-instance",
    }


def test_one_instance_under_two_contents_is_a_duplicate(tmp_path: Path) -> None:
    save(image(name=1), tmp_path / "images" / "a.dcm")
    save(image(name=1, InstitutionName="sent again"), tmp_path / "images" / "b.dcm")
    policy = site(tmp_path)
    assert [row.paths for row in index(policy).rows] == [("a.dcm",)]
    assert aside(policy) == {"b.dcm": "duplicate-instance"}


def test_no_identifier_reaches_the_index(tmp_path: Path) -> None:
    secret = "ZZ-SECRET-9"
    labels = table(tmp_path, f"PatientID,tb\n{secret},1\n")
    dataset = image(patient=secret, AccessionNumber="ACC-SECRET")
    save(dataset, tmp_path / "images" / "a.dcm")
    mask = segmentation([dataset], {"Lung": np.eye(16, 12, dtype=bool)})
    save(mask, tmp_path / "masks" / "m.dcm")
    save(image(np.full((9, 9), 1), name="y", patient=secret), tmp_path / "images" / "b.dcm")
    made = index(site(tmp_path, labels=labels, masks=tmp_path / "masks"))
    assert made.rows[0].labels == {"tb": "1"}
    assert made.rows[0].mask == "m.dcm"
    for path in (tmp_path / "index").iterdir():
        content = path.read_text()
        hidden = ("SECRET", "TEST^PERSON", dataset.SOPInstanceUID, dataset.StudyInstanceUID, mask.SOPInstanceUID)
        assert not any(one in content for one in hidden), path.name


# ------------------------------------------------------------ the split


@QUICK
@given(first=st.integers(2, 8), more=st.integers(1, 8), fraction=st.floats(0.1, 0.9))
def test_the_split_stays_when_patients_come(
    tmp_path_factory: pytest.TempPathFactory, first: int, more: int, fraction: float
) -> None:
    root = tmp_path_factory.mktemp("cohort")
    policy = site(root, validation_fraction=fraction)
    radiographs(root, first)
    before = {row.image: row for row in index(policy).rows}
    radiographs(root, first + more)
    after = {row.image: row for row in index(policy).rows}
    assert {name: after[name] for name in before} == before
    sides: dict[str, set[str]] = {}
    for row in after.values():
        sides.setdefault(row.patient, set()).add(row.split)
    assert len(sides) == first + more
    assert all(len(side) == 1 for side in sides.values())


def test_the_hash_does_not_depend_on_the_folder_and_does_on_the_pixels(tmp_path: Path) -> None:
    made = []
    for name in ("one", "two"):
        radiographs(tmp_path / name)
        shutil.copy2(tmp_path / "one" / "key", tmp_path / name / "key") if name == "two" else None
        made.append(index(site(tmp_path / name)))
    assert made[0].content_hash == made[1].content_hash
    save(image(pattern("other"), name=0, patient="P0"), tmp_path / "two" / "images" / "P0" / "0.dcm")
    assert index(site(tmp_path / "two")).content_hash != made[0].content_hash


def test_another_key_makes_other_pseudonyms_even_from_the_cache(tmp_path: Path) -> None:
    radiographs(tmp_path)
    before = {row.patient for row in index(site(tmp_path)).rows}
    (tmp_path / "key").unlink()
    (tmp_path / "key.split").unlink()
    assert not before & {row.patient for row in index(site(tmp_path)).rows}


# ------------------------------------------------------------ reading only what changed


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that were opened."""
    opened: list[str] = []
    original: Callable[[Path], bytes] = quality.read_bytes

    def count(path: Path) -> bytes:
        opened.append(path.name)
        return original(path)

    monkeypatch.setattr(quality, "read_bytes", count)
    return opened


def test_an_index_reads_each_file_once_and_then_only_what_changed(tmp_path: Path, read: list[str]) -> None:
    radiographs(tmp_path, patients=4, each=1)
    (tmp_path / "images" / "bad.dcm").write_bytes(b"\0" * 128 + b"DICM")
    policy = site(tmp_path)
    first = index(policy)
    assert len(read) == 5
    again = ["bad.dcm"] if aside(policy)["bad.dcm"] == "unreadable" else []
    read.clear()
    assert index(policy) == first
    assert read == again
    read.clear()
    save(image(pattern("new"), name=0, patient="P3"), tmp_path / "images" / "P3" / "0.dcm")
    save(image(name=7, patient="P9"), tmp_path / "images" / "9.dcm")
    (tmp_path / "images" / "P0" / "0.dcm").unlink()
    changed = index(policy)
    assert sorted(read) == sorted(["0.dcm", "9.dcm", *again])
    shutil.rmtree(tmp_path / "index")
    assert index(policy) == changed


def test_changed_rules_read_all_again_and_changed_labels_nothing(tmp_path: Path, read: list[str]) -> None:
    radiographs(tmp_path, patients=3, each=1)
    index(site(tmp_path))
    read.clear()
    labelled = index(site(tmp_path, labels=table(tmp_path, "PatientID,tb\nP1,1\n")))
    assert read == []
    assert sum("tb" in row.labels for row in labelled.rows) == 1
    with pytest.raises(QuarantineError):
        index(site(tmp_path, modalities=("MG",)))
    assert len(read) == 3


def test_progress_counts_what_is_read(tmp_path: Path) -> None:
    radiographs(tmp_path, patients=3, each=1)
    heard: list[tuple[int, int]] = []
    index(site(tmp_path), progress=lambda done, total: heard.append((done, total)))
    assert heard == [(0, 3), (1, 3), (2, 3), (3, 3)]
    heard.clear()
    index(site(tmp_path), progress=lambda done, total: heard.append((done, total)))
    assert heard == [(0, 0)]


def test_what_was_read_before_a_stop_is_kept(tmp_path: Path, read: list[str]) -> None:
    radiographs(tmp_path, patients=5, each=1)

    def stop(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        index(site(tmp_path), progress=stop)
    assert not (tmp_path / "index" / ROWS).exists()
    read.clear()
    assert len(index(site(tmp_path)).rows) == 5
    assert len(read) == 2


def test_workers_make_the_same_manifest(tmp_path: Path) -> None:
    radiographs(tmp_path)
    alone = index(site(tmp_path))
    shutil.rmtree(tmp_path / "index")
    assert index(site(tmp_path), workers=2) == alone


# ------------------------------------------------------------ labels, masks, volumes


def test_labels_and_what_is_required(tmp_path: Path) -> None:
    radiographs(tmp_path, patients=3, each=1)
    labels = table(tmp_path, "PatientID,tb,age\nP0,1,40\nP1,,50\n")
    assert Counter(str(row.labels) for row in index(site(tmp_path, labels=labels)).rows) == Counter(
        ["{'tb': '1', 'age': '40'}", "{'age': '50'}", "{}"]
    )
    policy = site(tmp_path, labels=labels, require=("tb",))
    assert [row.labels["tb"] for row in index(policy).rows] == ["1"]
    assert aside(policy) == {"P1/0.dcm": "missing-label", "P2/0.dcm": "missing-label"}


def test_a_mask_is_found_by_what_it_refers_to(tmp_path: Path) -> None:
    sources = [image(name=n, patient=f"P{n}") for n in range(4)]
    lungs = [np.random.default_rng(n).random((16, 12)) < 0.5 for n in range(4)]
    for n, source in enumerate(sources):
        save(source, tmp_path / "images" / f"{n}.dcm")
    for n in (0, 1):
        save(segmentation([sources[n]], {"Lung": lungs[n]}), tmp_path / "masks" / f"any-{n}.dcm")
    save(segmentation([image(name="absent")], {"Lung": lungs[2]}), tmp_path / "masks" / "orphan.dcm")
    misfit = segmentation([sources[3]], {"Lung": lungs[3]})
    misfit.Rows, misfit.Columns = 12, 16
    save(misfit, tmp_path / "masks" / "misfit.dcm")
    policy = site(tmp_path, masks=tmp_path / "masks")
    made = index(policy)
    assert len(made.rows) == 4
    assert aside(policy) == {
        "masks/orphan.dcm": "orphan-mask",
        "masks/misfit.dcm": "mask-misfit",
    }
    for row in made.rows:
        number = int(row.paths[0][0])
        if number > 1:
            assert row.mask is None
        else:
            np.testing.assert_array_equal(load_mask(row, tmp_path / "masks", ["lung"]), lungs[number])
    policy = site(tmp_path, masks=tmp_path / "masks", require=("mask",))
    assert len(index(policy).rows) == 2
    assert aside(policy)["2.dcm"] == aside(policy)["3.dcm"] == "missing-mask"


def test_images_and_masks_in_one_folder(tmp_path: Path) -> None:
    source = image()
    save(source, tmp_path / "images" / "a.dcm")
    save(segmentation([source], {"Lung": np.eye(16, 12, dtype=bool)}), tmp_path / "images" / "b.dcm")
    policy = site(tmp_path, masks=tmp_path / "images")
    (row,) = index(policy).rows
    assert (row.paths, row.mask) == (("a.dcm",), "b.dcm")
    assert index(policy).rows == (row,)
    assert aside(policy) == {}


def test_a_series_mask_serves_its_slices_one_by_one_and_as_a_volume(tmp_path: Path) -> None:
    sources = series(5)
    mask = np.random.default_rng(1).random((5, 8, 6)) < 0.5
    mask[3] = False
    for n, source in enumerate(sources):
        save(source, tmp_path / "images" / f"{(n * 3) % 5}.dcm")
    save(segmentation(sources, {"Liver": mask}), tmp_path / "masks" / "m.dcm")
    flat = index(site(tmp_path, masks=tmp_path / "masks"))
    assert sum(row.mask is not None for row in flat.rows) == 4
    for row in flat.rows:
        number = next(n for n in range(5) if f"{(n * 3) % 5}.dcm" == row.paths[0])
        if row.mask is not None:
            np.testing.assert_array_equal(load_mask(row, tmp_path / "masks", ["liver"]), mask[number])
    (volume,) = index(site(tmp_path, masks=tmp_path / "masks", volumes=True)).rows
    assert (volume.format, volume.shape, volume.spacing_mm) == ("dicom-series", (5, 8, 6), (2.5, 0.7, 0.8))
    assert volume.paths == ("0.dcm", "3.dcm", "1.dcm", "4.dcm", "2.dcm")
    np.testing.assert_array_equal(load_mask(volume, tmp_path / "masks", ["liver"]), mask)
    pixels = load_image(volume, tmp_path / "images").pixels
    assert pixels.shape == volume.shape
    assert (np.diff(pixels.mean(axis=(1, 2))) > 50).all()


@pytest.mark.parametrize(
    ("reason", "harm"),
    [
        ("incomplete-series", lambda folder: (folder / "2.dcm").unlink()),
        ("incomplete-series", lambda folder: (folder / "2.dcm").write_bytes((folder / "2.dcm").read_bytes()[:-20])),
        ("incomplete-series", lambda folder: (folder / "4.dcm").write_bytes((folder / "4.dcm").read_bytes()[:-20])),
        ("incomplete-series", lambda folder: [(folder / f"{n}.dcm").unlink() for n in range(4)]),
        ("uneven-spacing", lambda folder: save(series(5, gap_mm=2.9)[4], folder / "4.dcm")),
        ("mixed-series", lambda folder: save(series(5, shape=(6, 8))[4], folder / "4.dcm")),
        ("mixed-series", lambda folder: save(series(5, orientation=(1, 0, 0, 0, 0, 1))[4], folder / "4.dcm")),
    ],
)
def test_a_series_that_is_no_volume_goes_whole(tmp_path: Path, reason: str, harm: Callable[[Path], object]) -> None:
    for n, one in enumerate(series(5)):
        save(one, tmp_path / "images" / f"{n}.dcm")
    for n, one in enumerate(series(3, patient="P2")):
        save(one, tmp_path / "images" / f"other-{n}.dcm")
    harm(tmp_path / "images")
    policy = site(tmp_path, volumes=True)
    assert [len(row.paths) for row in index(policy).rows] == [3]
    left = {path.name for path in (tmp_path / "images").iterdir() if "other" not in path.name}
    assert set(aside(policy)) == left
    assert set(aside(policy).values()) <= {reason, "truncated"}
    assert reason in aside(policy).values()


def test_a_blank_slice_belongs_to_its_volume_and_a_blank_volume_goes(tmp_path: Path) -> None:
    for patient in ("P1", "P2"):
        for n, one in enumerate(series(4, patient=patient)):
            if n == 0 or patient == "P2":
                one.PixelData = bytes(len(one.PixelData))
            save(one, tmp_path / "images" / patient / f"{n}.dcm")
    policy = site(tmp_path, volumes=True)
    assert [row.shape for row in index(policy).rows] == [(4, 8, 6)]
    assert aside(policy) == {f"P2/{n}.dcm": "blank-image" for n in range(4)}


def test_nifti_images_masks_and_labels(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for n in range(4):
        save_nifti(rng.integers(0, 900, (6, 7, 8)).astype(np.int16), tmp_path / "images" / f"case_{n}.nii.gz")
    good = rng.integers(0, 3, (6, 7, 8)).astype(np.uint8)
    save_nifti(good, tmp_path / "masks" / "case_0.nii.gz")
    save_nifti(good, tmp_path / "masks" / "case_1.nii.gz", np.diag([0.5, 0.6, 2.1, 1]))
    save_nifti(good[:-1], tmp_path / "masks" / "case_2.nii.gz")
    save_nifti(good, tmp_path / "masks" / "case_9.nii.gz")
    labels = table(tmp_path, "Image,side\ncase_0.nii.gz,left\ncase_3,right\n")
    policy = site(tmp_path, masks=tmp_path / "masks", labels=labels)
    made = {row.paths[0]: row for row in index(policy).rows}
    assert aside(policy) == {
        "masks/case_1.nii.gz": "mask-misfit",
        "masks/case_2.nii.gz": "mask-misfit",
        "masks/case_9.nii.gz": "orphan-mask",
    }
    row = made["case_0.nii.gz"]
    assert (row.shape, row.mask, row.labels) == ((8, 7, 6), "case_0.nii.gz", {"side": "left"})
    np.testing.assert_array_equal(load_mask(row, tmp_path / "masks", ["1", "2"]), good.T)
    assert made["case_3.nii.gz"].labels == {"side": "right"}
    assert len({one.patient for one in made.values()}) == 4


# ------------------------------------------------------------ refusals


def test_past_the_tolerance_the_cohort_is_refused_with_a_table(tmp_path: Path) -> None:
    radiographs(tmp_path, patients=3, each=1)
    accepted = index(site(tmp_path, max_quarantined_fraction=0.0))
    for n in range(2):
        (tmp_path / "images" / f"bad-{n}").write_bytes(b"x")
    save(image(np.full((4, 4), 1), name="b"), tmp_path / "images" / "blank.dcm")
    assert len(index(site(tmp_path, max_quarantined_fraction=0.5)).rows) == 3
    with pytest.raises(QuarantineError) as refusal:
        index(site(tmp_path, max_quarantined_fraction=0.49))
    message = str(refusal.value)
    assert "3 of 6 image files cannot be used" in message
    assert "max_quarantined_fraction = 0.49" in message
    assert "\n" not in message
    assert [(reason, count) for reason, count, _ in refusal.value.table] == [("unreadable", 2), ("blank-image", 1)]
    with (tmp_path / "index" / QUARANTINE).open(newline="") as file:
        assert [line["reason"] for line in csv.DictReader(file)] == ["unreadable", "unreadable", "blank-image"]
    with pytest.raises(CohortError, match="no index here"):
        read_manifest(tmp_path / "index")
    assert len(accepted.rows) == 3


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "labels.csv").write_text("PatientID,tb\nnobody,1\n"),
        lambda root: (root / "labels.csv").unlink(),
        lambda root: (root / "images").rename(root / "elsewhere"),
    ],
)
def test_a_cohort_that_is_refused_for_any_reason_keeps_no_manifest(
    tmp_path: Path, change: Callable[[Path], object]
) -> None:
    radiographs(tmp_path, patients=3, each=1)
    (tmp_path / "labels.csv").write_text("PatientID,tb\nP0,1\nP1,0\nP2,1\n")
    policy = site(tmp_path, labels=tmp_path / "labels.csv")
    assert len(index(policy).rows) == 3
    change(tmp_path)
    with pytest.raises(CohortError):
        index(policy)
    with pytest.raises(CohortError, match="no index here"):
        read_manifest(tmp_path / "index")


def test_a_cohort_without_one_usable_image_is_refused_whatever_the_tolerance(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a").write_bytes(b"x")
    with pytest.raises(QuarantineError, match="1 of 1 image files cannot be used, which is all; correct or move"):
        index(site(tmp_path, max_quarantined_fraction=1.0))


def test_masks_that_do_not_serve_do_not_count_unless_required(tmp_path: Path) -> None:
    radiographs(tmp_path, patients=2, each=1)
    (tmp_path / "masks").mkdir()
    for n in range(5):
        (tmp_path / "masks" / f"{n}").write_bytes(b"x")
    made = index(site(tmp_path, masks=tmp_path / "masks", max_quarantined_fraction=0.0))
    assert (len(made.rows), made.quarantined, made.quarantined_patients) == (2, 5, 0), "masks are of no patient here"
    with pytest.raises(QuarantineError, match="2 of 2"):
        index(site(tmp_path, masks=tmp_path / "masks", max_quarantined_fraction=0.0, require=("mask",)))


def test_one_line_for_each_thing_that_can_be_wrong(tmp_path: Path) -> None:
    radiographs(tmp_path, patients=2, each=1)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / "badkey").write_text("short")
    (tmp_path / "badkey").chmod(0o600)
    no_match = table(tmp_path, "PatientID,tb\nQ,1\n")
    good = site(tmp_path)
    cases: list[tuple[SitePolicy, type[FedwardError], str]] = [
        (site(tmp_path, images=tmp_path / "absent"), CohortError, "no such folder"),
        (site(tmp_path, images=tmp_path / "file"), CohortError, "not a folder"),
        (site(tmp_path, images=tmp_path / "empty"), CohortError, "no files in here"),
        (site(tmp_path, masks=tmp_path / "absent"), CohortError, "correct the cohort's masks"),
        (site(tmp_path, labels=tmp_path / "absent.csv"), CohortError, "label table cannot be read"),
        (site(tmp_path, labels=no_match), CohortError, "no labels match"),
        (site(tmp_path, index=tmp_path / "file" / "index"), CohortError, "index cannot be written"),
        (good.model_copy(update={"key": tmp_path / "badkey"}), SettingsError, "site key"),
    ]
    for policy, kind, message in cases:
        with pytest.raises(kind, match=message) as refusal:
            index(policy)
        assert "\n" not in str(refusal.value)
        assert not (tmp_path / "index" / ROWS).exists()
    with pytest.raises(SettingsError, match="north: no such cohort: 'heads'; name one of chest"):
        index_cohort(good, "heads")


def test_a_disk_without_room_leaves_the_last_manifest_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    radiographs(tmp_path, patients=2, each=1)
    before = index(site(tmp_path))
    radiographs(tmp_path, patients=3, each=1)

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CohortError, match="No space left on device'; make room"):
        index(site(tmp_path))
    assert read_manifest(tmp_path / "index") == before
    assert not list((tmp_path / "index").glob("*draft*"))


def test_the_header_counts(tmp_path: Path) -> None:
    radiographs(tmp_path, patients=3)
    (tmp_path / "images" / "bad").write_bytes(b"x")
    made = index(site(tmp_path))
    header = json.loads((tmp_path / "index" / HEADER).read_text())
    assert (header["images"], header["patients"], header["quarantined"]) == (6, 3, 1)
    assert header["validation_patients"] == made.patients("validation")
    assert header["content_hash"] == made.content_hash


def test_a_study_without_uids_is_still_told_apart(tmp_path: Path) -> None:
    for n in range(2):
        made = image(name=n, SOPInstanceUID=None, StudyInstanceUID=None, SeriesInstanceUID=None)
        made.file_meta.MediaStorageSOPInstanceUID = uid("x")
        save(made, tmp_path / "images" / f"{n}.dcm")
    assert len({row.image for row in index(site(tmp_path)).rows}) == 2


def test_a_required_column_that_the_table_lacks_is_named_before_images_are_read(
    tmp_path: Path, read: list[str]
) -> None:
    radiographs(tmp_path, patients=3, each=1)
    labels = table(tmp_path, "PatientID,pneumonia\nP0,1\n")
    with pytest.raises(CohortError, match="require names no column of the label table: 'pneumonai'; it has: "):
        index(site(tmp_path, labels=labels, require=("mask", "pneumonai")))
    with pytest.raises(CohortError, match="require names 'pneumonia', and there is no label table"):
        index(site(tmp_path, require=("pneumonia",)))
    assert read == []
