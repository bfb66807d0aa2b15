"""Small DICOM and NIfTI files for the tests, with what a scanner would write and nothing more."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import highdicom as hd
import nibabel
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    CTImageStorage,
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    generate_uid,
)

from fedward.indexing.quality import FileFacts
from fedward.settings import CohortPolicy, SitePolicy
from tests.conftest import OPEN_COHORT, OPEN_SITE

CLASSES = {"CR": ComputedRadiographyImageStorage, "CT": CTImageStorage, "MR": EnhancedMRImageStorage}


def uid(*names: object) -> UID:
    return generate_uid(entropy_srcs=[str(name) for name in names])


def pattern(seed: object = 0, shape: tuple[int, ...] = (16, 12), bits: int = 12) -> np.ndarray:
    """Stored values that reach both ends of their range."""
    rng = np.random.default_rng(list(str(seed).encode()))
    values = rng.integers(0, 1 << bits, shape)
    values.flat[0], values.flat[1] = 0, (1 << bits) - 1
    return values


def image(
    stored: np.ndarray | None = None,
    *,
    name: object = 0,
    patient: str | None = "P1",
    modality: str = "CR",
    bits: int = 12,
    photometric: str = "MONOCHROME2",
    signed: bool = False,
    **tags: Any,
) -> Dataset:
    """A grey image (rows, columns) or (frames, rows, columns), or colour where ``photometric`` says so.

    ``tags`` are set last; one that is None is removed.
    """
    stored = pattern(name, bits=bits) if stored is None else np.asarray(stored)
    colour = photometric.startswith(("RGB", "YBR"))
    rows, columns = stored.shape[-3:-1] if colour else stored.shape[-2:]
    d = Dataset()
    d.file_meta = FileMetaDataset()
    d.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    d.SOPClassUID = d.file_meta.MediaStorageSOPClassUID = CLASSES.get(modality, ComputedRadiographyImageStorage)
    d.SOPInstanceUID = d.file_meta.MediaStorageSOPInstanceUID = uid(patient, name, "image")
    d.StudyInstanceUID, d.SeriesInstanceUID = uid(patient, "study"), uid(patient, name, "series")
    d.FrameOfReferenceUID = uid(patient, "frame")
    if patient is not None:
        d.PatientID, d.PatientName = patient, "TEST^PERSON"
    d.PatientBirthDate, d.PatientSex, d.AccessionNumber, d.ReferringPhysicianName = "", "", "", ""
    d.StudyDate, d.StudyTime, d.StudyID, d.SeriesNumber, d.InstanceNumber = "20200101", "120000", "1", 1, 1
    d.Modality, d.Rows, d.Columns = modality, rows, columns
    if stored.ndim - colour == 3:
        d.NumberOfFrames = stored.shape[0]
    d.SamplesPerPixel, d.PhotometricInterpretation = 3 if colour else 1, photometric
    if colour:
        d.PlanarConfiguration = 0
    d.PixelRepresentation, d.BitsStored, d.HighBit = int(signed), bits, bits - 1
    d.BitsAllocated = 8 if bits <= 8 else 16
    kind = f"{'int' if signed else 'uint'}{d.BitsAllocated}"
    d.PixelData = stored.astype(kind).tobytes() + (b"\0" if stored.size * d.BitsAllocated // 8 % 2 else b"")
    d["PixelData"].VR = "OB" if d.BitsAllocated == 8 else "OW"
    for keyword, value in tags.items():
        if value is None:
            d.pop(keyword, None)
        else:
            setattr(d, keyword, value)
    return d


def series(
    slices: int = 5,
    *,
    patient: str = "P1",
    gap_mm: float = 2.5,
    shape: tuple[int, int] = (8, 6),
    orientation: Sequence[float] = (1, 0, 0, 0, 1, 0),
    name: object = "s",
    **tags: Any,
) -> list[Dataset]:
    """A CT series: slices along the normal of ``orientation``, stored values 100 x slice number plus a pattern."""
    normal = np.cross(orientation[:3], orientation[3:])
    return [
        image(
            pattern((name, index), shape, bits=6) + 100 * index,
            name=(name, index),
            patient=patient,
            modality="CT",
            SeriesInstanceUID=uid(patient, name),
            ImagePositionPatient=[round(float(one), 6) for one in normal * gap_mm * index],
            ImageOrientationPatient=[float(one) for one in orientation],
            PixelSpacing=[0.7, 0.8],
            SliceThickness=gap_mm,
            InstanceNumber=index + 1,
            PositionReferenceIndicator="",
            **tags,
        )
        for index in range(slices)
    ]


def segmentation(sources: Sequence[Dataset], masks: dict[str, np.ndarray], **options: Any) -> Dataset:
    """A DICOM SEG by highdicom; ``masks`` are bool (rows, columns) or (slices, rows, columns) by segment label."""
    pixels = np.stack([np.reshape(mask, (len(sources), *mask.shape[-2:])) for mask in masks.values()], axis=-1)
    kind = options.pop("segmentation_type", hd.seg.SegmentationTypeValues.BINARY)
    described = [
        hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=label,
            segmented_property_category=codes.SCT.Organ,
            segmented_property_type=codes.SCT.Lung,
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.MANUAL,
        )
        for number, label in enumerate(masks, 1)
    ]
    made: Dataset = hd.seg.Segmentation(
        source_images=list(sources),
        pixel_array=pixels if pixels.dtype.kind == "f" else pixels.astype(np.uint8),
        segmentation_type=kind,
        segment_descriptions=described,
        series_instance_uid=uid(sources[0].SOPInstanceUID, "seg-series"),
        series_number=9,
        sop_instance_uid=uid(sources[0].SOPInstanceUID, "seg", *masks),
        instance_number=1,
        manufacturer="TEST",
        manufacturer_model_name="TEST",
        software_versions="0",
        device_serial_number="0",
        **options,
    )
    return made


def as_bytes(dataset: Dataset) -> bytes:
    out = BytesIO()
    dataset.save_as(out, enforce_file_format=True)
    return out.getvalue()


def save(dataset: Dataset, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def save_nifti(values: np.ndarray, path: Path, affine: np.ndarray | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values, np.diag([0.5, 0.6, 2.0, 1.0]) if affine is None else affine), path)
    return path


def site(root: Path, **cohort: Any) -> SitePolicy:
    """A site whose cohort "chest" has its images in ROOT/images, its index in ROOT/index and its key in ROOT/key."""
    given = {
        "images": root / "images",
        "index": root / "index",
        "max_quarantined_fraction": 1.0,
        "validation_fraction": 0.3,
        "privacy": OPEN_COHORT,
        **cohort,
    }
    return SitePolicy(site="north", key=root / "key", cohorts={"chest": CohortPolicy(**given)}, **OPEN_SITE)


def seen(path: str, role: Any = "image") -> FileFacts:
    return FileFacts(path=path, size=0, mtime_ns=0, role=role)
