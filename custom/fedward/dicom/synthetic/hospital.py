"""Write synthetic hospitals as real DICOM files: chest radiographs with lesions to find and lung fields to segment.

Every header value is invented (``TEST^…``), no value comes from a person, and the same seed writes the same bytes.
The hospitals differ as real ones do: in scanner, size, prevalence, kind of lesion, and in objects that occur beside a
lesion in the picture (a bedside marker, a pacemaker). A model trained at one hospital therefore does not fit the next.
``fedward site index`` reads this layout::

    OUT/<site>/dicom/<PatientID>/<SOPInstanceUID>.dcm
    OUT/<site>/labels.csv                 PatientID, StudyInstanceUID, SOPInstanceUID and one label column, 1 or 0
    OUT/<site>/seg/<SOPInstanceUID>.dcm   DICOM SEG, one segment "Lung"
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydicom.dataset import Dataset

from fedward.dicom.synthetic.chest import KINDS, Anatomy, Chest, Kind, draw_anatomy, draw_chest, draw_pose
from fedward.dicom.synthetic.files import Fault, LungSegmentations, image_dataset, random_of, write_image
from fedward.dicom.synthetic.scanner import Scanner, expose
from fedward.errors import CohortError

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticHospital:
    """One synthetic hospital.

    Attributes:
        site: id of the hospital.
        images: usable images; faulty files are added to them.
        paired: fraction of patients with two images.
        prevalence: fraction of patients with a lesion.
        kinds: probability that a lesion is a nodule, an infiltrate, a cavity.
        conspicuity: factor on a lesion's density; 1 is clearly visible at full size. The hospitals here have more, so
            that their patients together teach a small network under the noise of ε = 8, and those of one do not.
        marked: fraction of images with the bedside marker, for patients without and with a lesion.
        device: fraction of images with a pacemaker, likewise.
        scanner: its X-ray room.
        faults: one faulty file each, which the quality gate must catch.
    """

    site: str
    images: int
    paired: float
    prevalence: float
    kinds: tuple[float, float, float]
    conspicuity: float
    marked: tuple[float, float]
    device: tuple[float, float]
    scanner: Scanner
    faults: tuple[Fault, ...]


HOSPITALS: tuple[SyntheticHospital, ...] = (
    SyntheticHospital(
        site="city-hospital",
        images=720,
        paired=0.15,
        prevalence=0.5,
        kinds=(0.1, 0.75, 0.15),
        conspicuity=1.3,
        marked=(0.1, 0.75),
        device=(0.2, 0.2),
        scanner=Scanner(
            modality="DX",
            manufacturer="TEST Aurora",
            rows=176,
            columns=160,
            spacing_mm=2.3,
            bits=14,
            photometric="MONOCHROME2",
            compressed=False,
            windowed=True,
            slope=1.0,
            intercept=0.0,
            span=(0.08, 0.62),
            gamma=0.9,
            contrast=1.0,
            blur_px=0.5,
            noise=0.02,
            heel=0.05,
            border=0.03,
            corner="left",
        ),
        faults=("truncated", "truncated", "modality", "modality", "blank", "duplicate", "duplicate", "unlabelled"),
    ),
    SyntheticHospital(
        site="north-clinic",
        images=500,
        paired=0.1,
        prevalence=0.35,
        kinds=(0.75, 0.1, 0.15),
        conspicuity=1.3,
        marked=(0.5, 0.25),
        device=(0.06, 0.45),
        scanner=Scanner(
            modality="CR",
            manufacturer="TEST Borealis",
            rows=144,
            columns=144,
            spacing_mm=2.8,
            bits=10,
            photometric="MONOCHROME1",
            compressed=True,
            windowed=False,
            slope=1.0,
            intercept=0.0,
            span=(0.0, 1.0),
            gamma=1.2,
            contrast=0.9,
            blur_px=0.9,
            noise=0.035,
            heel=-0.08,
            border=0.06,
            corner="right",
        ),
        faults=("truncated", "modality", "blank", "duplicate", "unlabelled"),
    ),
    SyntheticHospital(
        site="coast-institute",
        images=200,
        paired=0.2,
        prevalence=0.42,
        kinds=(0.2, 0.2, 0.6),
        conspicuity=1.4,
        marked=(0.4, 0.3),
        device=(0.2, 0.2),
        scanner=Scanner(
            modality="CR",
            manufacturer="TEST Cormorant",
            rows=160,
            columns=192,
            spacing_mm=2.5,
            bits=8,
            photometric="MONOCHROME2",
            compressed=False,
            windowed=False,
            slope=4.0,
            intercept=-40.0,
            span=(0.03, 0.97),
            gamma=0.8,
            contrast=1.08,
            blur_px=1.0,
            noise=0.03,
            heel=0.0,
            border=0.06,
            corner="left",
        ),
        faults=("truncated", "modality", "blank", "duplicate"),
    ),
)


def write_cohort(
    out: Path,
    *,
    label: str,
    seed: int = 0,
    hospitals: Sequence[SyntheticHospital] = HOSPITALS,
    masks: bool = True,
    progress: Progress | None = None,
) -> None:
    """Write the files of every hospital below ``out``; the same arguments write the same bytes.

    Args:
        out: folder to write to; it must not yet hold a folder of these hospitals.
        label: name of the label column, as in the job's ``data.labels``. Under any name, 1 means a synthetic lesion,
            not a disease.
        seed: seed of the random draws; another seed gives other patients.
        hospitals: hospitals to write.
        masks: also write the lung fields as DICOM SEG.
        progress: called with site, images written and total images.

    Raises:
        CohortError: a hospital's folder exists already, or writing to the disk fails.
    """
    for hospital in hospitals:
        folder = out / hospital.site
        if folder.exists():
            raise CohortError("folder is already there", where=folder, remedy="remove it or give another folder")
        try:
            _write_hospital(folder, hospital, label=label, seed=seed, masks=masks, progress=progress)
        except OSError as error:
            remedy = "make room or give another folder"
            raise CohortError("cannot write", where=folder, value=error.strerror, remedy=remedy) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shot:
    """One planned image: patient, number of the image, anatomy, lesion, fault."""

    patient: int
    image: int
    anatomy: Anatomy
    lesion: bool
    fault: Fault | None = None


def _write_hospital(
    folder: Path, hospital: SyntheticHospital, *, label: str, seed: int, masks: bool, progress: Progress | None
) -> None:
    (folder / "dicom").mkdir(parents=True)
    lungs = None
    if masks:
        (folder / "seg").mkdir()
        lungs = LungSegmentations()
    total = hospital.images + len(hospital.faults)
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["PatientID", "StudyInstanceUID", "SOPInstanceUID", label])
        for number, shot in enumerate(_shots(hospital, seed)):
            dataset, chest = _take(hospital, shot, seed)
            path = folder / "dicom" / dataset.PatientID / f"{dataset.SOPInstanceUID}.dcm"
            path.parent.mkdir(exist_ok=True)
            write_image(dataset, path, shot.fault)
            if shot.fault not in ("unlabelled", "duplicate"):
                keys = (dataset.PatientID, dataset.StudyInstanceUID, dataset.SOPInstanceUID)
                table.writerow([*keys, int(shot.lesion)])
            if lungs is not None and shot.fault in (None, "unlabelled"):
                lungs.write(folder / "seg" / path.name, source=dataset, mask=chest.lungs)
            if progress is not None:
                progress(hospital.site, number + 1, total)


def _shots(hospital: SyntheticHospital, seed: int) -> Iterator[_Shot]:
    """Yield every image of a hospital in writing order: first the usable ones, then one for each fault."""
    pairs = round(hospital.images * hospital.paired / (1 + hospital.paired))
    patients = hospital.images - pairs
    rng = random_of(seed, hospital.site, "patients")
    ill = set(rng.permutation(patients)[: round(hospital.prevalence * patients)].tolist())
    twice = set(rng.permutation(patients)[:pairs].tolist())
    for patient in range(patients):
        for image in range(2 if patient in twice else 1):
            yield _shot(hospital, seed, patient, image, lesion=patient in ill)
    for number, fault in enumerate(hospital.faults):
        again = fault == "duplicate"  # a second copy of a usable image
        patient = number if again else patients + number
        lesion = patient in ill if again else number % 2 == 0
        yield replace(_shot(hospital, seed, patient, 0, lesion=lesion), fault=fault)


def _shot(hospital: SyntheticHospital, seed: int, patient: int, image: int, *, lesion: bool) -> _Shot:
    rng = random_of(seed, hospital.site, "anatomy", patient)
    kinds: tuple[Kind, ...] = ()
    if lesion:
        drawn = rng.choice(len(KINDS), size=int(rng.choice([1, 2, 3, 4], p=[0.3, 0.35, 0.2, 0.15])), p=hospital.kinds)
        kinds = tuple(KINDS[kind] for kind in drawn)
    anatomy = draw_anatomy(rng, lesions=kinds, conspicuity=hospital.conspicuity)
    return _Shot(patient=patient, image=image, anatomy=anatomy, lesion=lesion)


def _take(hospital: SyntheticHospital, shot: _Shot, seed: int) -> tuple[Dataset, Chest]:
    """Pose the patient, expose the image, and wrap the pixels in a data set."""
    scanner = hospital.scanner
    rng = random_of(seed, hospital.site, "image", shot.patient, shot.image)
    chest = draw_chest(shot.anatomy, draw_pose(rng), rows=scanner.rows, columns=scanner.columns)
    marked = bool(rng.random() < hospital.marked[shot.lesion])
    device = bool(rng.random() < hospital.device[shot.lesion])
    pixels = expose(chest, scanner, rng, marked=marked, device=device)
    names = (str(seed), hospital.site, str(shot.patient), str(shot.image))
    return image_dataset(pixels, scanner, site=hospital.site, names=names, female=shot.anatomy.breasts > 0), chest
