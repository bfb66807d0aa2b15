"""The made-up hospitals: real DICOM, the same bytes again, different from one another, with a few files to catch."""

from __future__ import annotations

import csv
import hashlib
import warnings
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.uid import RLELossless
from scipy.stats import ks_2samp

from fedward.dataset.manifest import QUARANTINE
from fedward.dicom.synthetic.chest import KINDS, Kind, draw_anatomy, draw_chest, draw_pose
from fedward.dicom.synthetic.hospital import HOSPITALS, SyntheticHospital, write_cohort
from fedward.dicom.synthetic.scanner import expose
from fedward.errors import CohortError
from fedward.indexing.index import index_cohort
from fedward.settings import CohortPolicy, SitePolicy
from tests.conftest import OPEN_COHORT, OPEN_SITE

IMAGES = 14
SMALL = tuple(replace(hospital, images=IMAGES) for hospital in HOSPITALS)

EVERY_IMAGE = """
PatientID PatientName PatientBirthDate PatientSex StudyInstanceUID StudyDate StudyTime StudyID AccessionNumber
ReferringPhysicianName Modality SeriesInstanceUID SeriesNumber Manufacturer InstanceNumber SOPClassUID SOPInstanceUID
Rows Columns BitsAllocated BitsStored HighBit PixelRepresentation SamplesPerPixel PhotometricInterpretation
PatientOrientation
"""
REQUIRED = {  # type 1 and 2 attributes of PS3.3 A.2 and A.26 beyond those of every image
    "CR": "BodyPartExamined ViewPosition",
    "DX": """
        PresentationIntentType ImageType PixelIntensityRelationship PixelIntensityRelationshipSign RescaleIntercept
        RescaleSlope RescaleType PresentationLUTShape LossyImageCompression BurnedInAnnotation ImageLaterality
        AnatomicRegionSequence DetectorType ImagerPixelSpacing AcquisitionContextSequence
    """,
}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("cohort")
    write_cohort(out, label="finding", hospitals=SMALL)
    return out


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def usable(folder: Path) -> list[pydicom.Dataset]:
    """Images that have a segmentation and a label: those that are to serve."""
    by_uid = {path.stem: path for path in (folder / "dicom").rglob("*.dcm")}
    uids = {row["SOPInstanceUID"] for row in table(folder)} & {path.stem for path in (folder / "seg").iterdir()}
    return [pydicom.dcmread(by_uid[uid]) for uid in sorted(uids)]


def fingerprint(out: Path) -> dict[str, str]:
    return {
        str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*"))
        if path.is_file()
    }


def bright_is_dense(image: pydicom.Dataset) -> NDArray[np.float64]:
    """Stored values as a part of their range, bone bright."""
    part = image.pixel_array / (2.0**image.BitsStored - 1)
    return 1 - part if image.PhotometricInterpretation == "MONOCHROME1" else part


@pytest.mark.parametrize("hospital", SMALL, ids=lambda hospital: hospital.site)
def test_the_same_seed_writes_the_same_bytes_and_another_seed_other_patients(
    hospital: SyntheticHospital, tmp_path: Path
) -> None:
    few = [replace(hospital, images=4)]
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        write_cohort(tmp_path / name, label="finding", seed=seed, hospitals=few)
    first = fingerprint(tmp_path / "a")
    assert first == fingerprint(tmp_path / "b")
    other = fingerprint(tmp_path / "c")
    assert not set(first.values()) & set(other.values())
    assert not {name for name in first if name.endswith(".dcm")} & set(other)


def test_a_hospital_does_not_depend_on_the_others(cohort: Path, tmp_path: Path) -> None:
    write_cohort(tmp_path, label="finding", hospitals=SMALL[1:2])
    site = SMALL[1].site
    assert fingerprint(tmp_path / site) == fingerprint(cohort / site)


@pytest.mark.parametrize("hospital", SMALL, ids=lambda hospital: hospital.site)
def test_files_have_what_the_standard_asks_of_their_class(cohort: Path, hospital: SyntheticHospital) -> None:
    images = usable(cohort / hospital.site)
    assert len(images) == IMAGES
    for image in images:
        asked = f"{EVERY_IMAGE} {REQUIRED[hospital.scanner.modality]}".split()
        missing = [name for name in asked if name not in image]
        assert missing == []
        assert image.Modality == hospital.scanner.modality
        assert image.file_meta.MediaStorageSOPClassUID == image.SOPClassUID
        assert image.file_meta.MediaStorageSOPInstanceUID == image.SOPInstanceUID
        assert (image.BitsStored, image.HighBit) == (hospital.scanner.bits, hospital.scanner.bits - 1)
        assert image.pixel_array.shape == (hospital.scanner.rows, hospital.scanner.columns)
        assert image.pixel_array.max() < 2**hospital.scanner.bits
        assert image.PhotometricInterpretation == hospital.scanner.photometric
        assert (image.file_meta.TransferSyntaxUID == RLELossless) == hospital.scanner.compressed


def test_every_name_is_made_up(cohort: Path) -> None:
    for hospital in SMALL:
        for image in usable(cohort / hospital.site):
            assert str(image.PatientName).startswith("TEST^")
            assert image.PatientID.startswith("T")
            assert image.Manufacturer.startswith("TEST")
            assert image.PatientBirthDate == image.ReferringPhysicianName == ""
            assert image.StudyDate == "20200101"


@pytest.mark.parametrize("hospital", SMALL, ids=lambda hospital: hospital.site)
def test_size_prevalence_and_pairs_are_as_declared(cohort: Path, hospital: SyntheticHospital) -> None:
    images = usable(cohort / hospital.site)
    labels = {row["SOPInstanceUID"]: row["finding"] for row in table(cohort / hospital.site)}
    per_patient = Counter(image.PatientID for image in images)
    ill = {image.PatientID for image in images if labels[image.SOPInstanceUID] == "1"}
    assert set(labels.values()) == {"0", "1"}
    assert len(ill) == round(hospital.prevalence * len(per_patient))
    assert sum(count == 2 for count in per_patient.values()) == IMAGES - len(per_patient) > 0
    assert max(per_patient.values()) == 2
    for patient in per_patient:
        assert len({labels[i.SOPInstanceUID] for i in images if i.PatientID == patient}) == 1
    assert len({image.StudyInstanceUID for image in images}) == IMAGES


def test_the_whole_cohort_is_of_the_promised_size_with_few_faulty_files() -> None:
    assert 1400 <= sum(hospital.images for hospital in HOSPITALS) <= 1700
    assert all(0 < len(h.faults) < 0.05 * (h.images + len(h.faults)) for h in HOSPITALS)
    assert (
        len({h.scanner.bits for h in HOSPITALS}) == len({(h.scanner.rows, h.scanner.columns) for h in HOSPITALS}) == 3
    )
    assert {h.scanner.photometric for h in HOSPITALS} == {"MONOCHROME1", "MONOCHROME2"}
    assert any(h.scanner.compressed for h in HOSPITALS) and any(h.scanner.windowed for h in HOSPITALS)
    assert all(sum(h.kinds) == pytest.approx(1) for h in HOSPITALS)


@pytest.mark.parametrize("hospital", SMALL, ids=lambda hospital: hospital.site)
def test_segmentations_belong_to_their_images_and_lie_on_the_lungs(cohort: Path, hospital: SyntheticHospital) -> None:
    for image in usable(cohort / hospital.site):
        seg = pydicom.dcmread(cohort / hospital.site / "seg" / f"{image.SOPInstanceUID}.dcm")
        assert [segment.SegmentLabel for segment in seg.SegmentSequence] == ["Lung"]
        named = {element.value for element in seg.iterall() if element.keyword == "ReferencedSOPInstanceUID"}
        assert named == {image.SOPInstanceUID}
        for name in ("PatientID", "PatientName", "PatientAge", "StudyInstanceUID", "FrameOfReferenceUID"):
            assert name not in seg or seg[name].value == image[name].value
        assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == image.SeriesInstanceUID
        assert seg.SOPInstanceUID == seg.file_meta.MediaStorageSOPInstanceUID != image.SOPInstanceUID
        mask = seg.pixel_array > 0
        assert 0.1 < mask.mean() < 0.4
        dense = bright_is_dense(image)
        # the lungs are darker than the strip of chest between them at the same height
        rows = np.flatnonzero(mask.sum(axis=1) > 10)
        between = np.zeros_like(mask)
        for row in rows:
            columns = np.flatnonzero(mask[row])
            between[row, columns[0] : columns[-1]] = True
        assert dense[mask].mean() < dense[between & ~mask].mean() - 0.04


def test_hospitals_differ_in_their_grey_values(cohort: Path) -> None:
    values = {
        h.site: np.concatenate([bright_is_dense(image)[::8, ::8].ravel() for image in usable(cohort / h.site)])
        for h in SMALL
    }
    sites = sorted(values)
    for i, one in enumerate(sites):
        for other in sites[i + 1 :]:
            assert ks_2samp(values[one], values[other]).statistic > 0.1
    halves = np.array_split(np.random.default_rng(0).permutation(values[sites[0]]), 2)
    assert ks_2samp(*halves).statistic < 0.05  # the measure itself is quiet within one hospital


def why(path: Path) -> str:
    """Return the fault that pydicom finds in a file."""
    with warnings.catch_warnings(action="ignore"):  # its own, about the file that was cut short
        image = pydicom.dcmread(path, force=True)
        if image.get("Modality") == "OT":
            return "modality"
        try:
            pixels = image.pixel_array
        except (AttributeError, ValueError, RuntimeError):
            return "truncated"
    return "blank" if pixels.min() == pixels.max() else "nothing"


@pytest.mark.parametrize("hospital", SMALL, ids=lambda hospital: hospital.site)
def test_every_declared_fault_is_there(cohort: Path, hospital: SyntheticHospital) -> None:
    folder = cohort / hospital.site
    labelled = {row["SOPInstanceUID"] for row in table(folder)}
    served = {path.stem for path in (folder / "seg").iterdir()}
    found: Counter[str] = Counter()
    for path in sorted((folder / "dicom").rglob("*.dcm")):
        if path.stem.endswith("-copy"):
            original = path.with_name(path.stem.removesuffix("-copy") + ".dcm")
            assert path.read_bytes() == original.read_bytes()
            found["duplicate"] += 1
        elif path.stem not in labelled:
            found["unlabelled"] += 1
        elif path.stem not in served:
            found[why(path)] += 1
    assert found == Counter(hospital.faults)


def test_the_quality_gate_catches_every_fault_and_nothing_else(cohort: Path, tmp_path: Path) -> None:
    hospital = SMALL[0]
    folder = cohort / hospital.site
    policy = SitePolicy(
        site=hospital.site,
        key=tmp_path / "key",
        **OPEN_SITE,
        cohorts={
            "chest": CohortPolicy(
                images=folder / "dicom",
                masks=folder / "seg",
                labels=folder / "labels.csv",
                index=tmp_path / "index",
                modalities=("CR", "DX"),
                body_parts=("CHEST",),
                require=("finding", "mask"),
                max_quarantined_fraction=0.5,
                validation_fraction=0.3,
                privacy=OPEN_COHORT,
            )
        },
    )
    manifest = index_cohort(policy, "chest", workers=0)
    assert len(manifest.rows) == IMAGES
    with (tmp_path / "index" / QUARANTINE).open(newline="", encoding="utf-8") as file:
        caught = Counter(row["reason"] for row in csv.DictReader(file))
    named = {
        "truncated": "truncated",
        "modality": "wrong-modality",
        "blank": "blank-image",
        "duplicate": "duplicate-instance",
        "unlabelled": "missing-label",
    }
    del caught["orphan-mask"]  # whether an unlabelled image's mask is named too is the gate's own affair
    assert caught == Counter(named[fault] for fault in hospital.faults)


def test_the_label_column_has_the_name_the_job_asks_for_and_masks_can_be_left_out(tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    few = replace(SMALL[2], images=3, faults=())
    write_cohort(tmp_path, label="tb", hospitals=[few], masks=False, progress=lambda *step: seen.append(step))
    assert list(table(tmp_path / few.site)[0]) == ["PatientID", "StudyInstanceUID", "SOPInstanceUID", "tb"]
    assert not (tmp_path / few.site / "seg").exists()
    assert seen == [(few.site, 1, 3), (few.site, 2, 3), (few.site, 3, 3)]


def test_a_folder_that_is_there_or_cannot_be_is_one_line(tmp_path: Path) -> None:
    (tmp_path / SMALL[0].site).mkdir()
    with pytest.raises(CohortError, match="already there"):
        write_cohort(tmp_path, label="tb", hospitals=SMALL[:1])
    (tmp_path / "file").write_text("")
    with pytest.raises(CohortError, match="cannot write") as caught:
        write_cohort(tmp_path / "file", label="tb", hospitals=SMALL[:1])
    assert "\n" not in str(caught.value)


# ---------------------------------------------------------------- the drawing itself


@pytest.mark.parametrize("kind", KINDS)
def test_a_lesion_changes_the_lungs_and_nothing_else(kind: Kind) -> None:
    rng = np.random.default_rng(11)
    ill = draw_anatomy(rng, lesions=(kind,), conspicuity=1.0)
    well, pose = replace(ill, lesions=()), draw_pose(rng)
    with_it, without = (draw_chest(one, pose, rows=128, columns=128) for one in (ill, well))
    change = with_it.density - without.density
    assert np.array_equal(with_it.lungs, without.lungs)
    assert change.max() > 0.1
    assert np.abs(change[~without.lungs]).sum() < 0.2 * np.abs(change).sum()
    where = np.argwhere(np.abs(change) > 0.5 * change.max()).mean(axis=0)
    x, y = (where[1] + 0.5 - 64) / 64, (where[0] + 0.5) / 64 - 1
    place = ill.lesions[0].place
    assert np.hypot(x - place[0] * ill.width, y - place[1] * ill.height) < 0.2


def test_a_patient_s_second_image_is_the_same_chest_in_another_pose() -> None:
    rng = np.random.default_rng(3)
    anatomy = draw_anatomy(rng, lesions=(), conspicuity=1.0)
    one, other = (draw_chest(anatomy, draw_pose(rng), rows=96, columns=96) for _ in range(2))
    overlap = 2 * (one.lungs & other.lungs).sum() / (one.lungs.sum() + other.lungs.sum())
    assert 0.75 < overlap < 1


def test_marker_and_device_stand_outside_chance(cohort: Path) -> None:
    hospital = SMALL[0]
    rng = np.random.default_rng(0)
    anatomy = draw_anatomy(rng, lesions=(), conspicuity=1.0)
    chest = draw_chest(anatomy, draw_pose(rng), rows=hospital.scanner.rows, columns=hospital.scanner.columns)
    plain, marked, device = (
        expose(chest, hospital.scanner, np.random.default_rng(1), marked=m, device=d)
        for m, d in ((False, False), (True, False), (False, True))
    )
    rows, columns = np.nonzero(marked != plain)
    assert rows.max() < 0.3 * hospital.scanner.rows and columns.max() < 0.5 * hospital.scanner.columns
    assert 20 < (marked != plain).sum() < 800 and (device != plain).any()
