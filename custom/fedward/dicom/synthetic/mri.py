"""Write synthetic hospitals with magnetic resonance of the head: DICOM, one series a sequence, masks as DICOM SEG.

Every header value is invented, no value comes from a person, and the same seed writes the same bytes. The layout is
that of ``hospital``, without a label table.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from collections.abc import Sequence as Several
from dataclasses import dataclass
from pathlib import Path

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

from fedward.dicom.synthetic.files import DATE, TIME, random_of, uid_of, without_clock
from fedward.dicom.synthetic.head import SEQUENCES, Sequence, draw_head, scan
from fedward.errors import CohortError

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class MrHospital:
    """One synthetic hospital with a magnetic resonance scanner.

    Attributes:
        site: id of the hospital.
        patients: number of patients, one study each.
        ill: share of them with a tumour.
        shape: slices, rows, columns.
        spacing_mm: distance of slices, rows, columns.
        noise, bias: see ``head.scan``.
        gain: grey value 1 as stored.
    """

    site: str
    patients: int
    ill: float
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    noise: float
    bias: float
    gain: int


MR_HOSPITALS: tuple[MrHospital, ...] = (
    MrHospital(
        site="city-hospital",
        patients=34,
        ill=1.0,
        shape=(20, 80, 80),
        spacing_mm=(6.0, 2.4, 2.4),
        noise=0.05,
        bias=0.1,
        gain=900,
    ),
    MrHospital(
        site="coast-institute",
        patients=22,
        ill=1.0,
        shape=(20, 64, 64),
        spacing_mm=(6.0, 3.0, 3.0),
        noise=0.08,
        bias=0.25,
        gain=300,
    ),
    MrHospital(
        site="hill-hospital",
        patients=18,
        ill=1.0,
        shape=(24, 72, 72),
        spacing_mm=(5.0, 2.6, 2.6),
        noise=0.06,
        bias=0.2,
        gain=2000,
    ),
    MrHospital(
        site="north-clinic",
        patients=18,
        ill=1.0,
        shape=(18, 64, 64),
        spacing_mm=(6.5, 3.0, 3.0),
        noise=0.1,
        bias=0.05,
        gain=500,
    ),
    MrHospital(
        site="valley-practice",
        patients=1,
        ill=1.0,
        shape=(20, 64, 64),
        spacing_mm=(6.0, 3.0, 3.0),
        noise=0.08,
        bias=0.1,
        gain=700,
    ),
)
"""Five hospitals; the last has one patient. All patients are ill: with a few healthy ones a floor of five would hide
the Dice of the others."""


def write_mri(
    out: Path,
    *,
    structures: Several[str],
    sequences: Several[Sequence] = SEQUENCES,
    seed: int = 0,
    hospitals: Several[MrHospital] = MR_HOSPITALS,
    progress: Progress | None = None,
) -> None:
    """Write the files of every hospital below ``out``; the same arguments write the same bytes.

    Args:
        out: folder to write to; it must not yet hold a folder of these hospitals.
        structures: labels of the segments: one for the whole tumour, or two for its rim and its core.
        sequences: sequences of each study; the masks refer to the last one's images.
        seed: seed of the random draws.
        hospitals: hospitals to write.
        progress: called with site, studies written and total studies.

    Raises:
        CohortError: a hospital's folder exists already, three structures or more, or writing to the disk fails.
    """
    if not 1 <= len(structures) <= 2:
        what = "synthetic heads have one structure or two, a tumour's rim and core"
        raise CohortError(what, where=out, value=len(structures), remedy="give a folder of your own images")
    for hospital in hospitals:
        folder = out / hospital.site
        if folder.exists():
            raise CohortError("folder is already there", where=folder, remedy="remove it or give another folder")
        try:
            for name in ("dicom", "seg"):
                (folder / name).mkdir(parents=True)
            rng = random_of(seed, hospital.site)
            ill = set(rng.permutation(hospital.patients)[: round(hospital.ill * hospital.patients)].tolist())
            for patient in range(hospital.patients):
                _write_study(folder, hospital, patient, seed, tuple(structures), tuple(sequences), ill=patient in ill)
                if progress is not None:
                    progress(hospital.site, patient + 1, hospital.patients)
        except OSError as error:
            remedy = "make room or give another folder"
            raise CohortError("cannot write", where=folder, value=error.strerror, remedy=remedy) from None


def _write_study(
    folder: Path,
    hospital: MrHospital,
    patient: int,
    seed: int,
    structures: tuple[str, ...],
    sequences: tuple[Sequence, ...],
    *,
    ill: bool,
) -> None:
    rng = random_of(seed, hospital.site, patient)
    head = draw_head(rng, shape=hospital.shape, ill=ill)
    names = (str(seed), hospital.site, str(patient))
    slices: list[Dataset] = []
    for number, sequence in enumerate(sequences, 1):
        values = scan(head, sequence, rng, noise=hospital.noise, bias=hospital.bias)
        stored = np.clip(values * hospital.gain, 0, 4095).astype(np.uint16)
        slices = [_slice(plane, index, hospital, names, sequence, number) for index, plane in enumerate(stored)]
        for one in slices:
            path = folder / "dicom" / one.PatientID / sequence / f"{one.SOPInstanceUID}.dcm"
            path.parent.mkdir(parents=True, exist_ok=True)
            one.save_as(path, enforce_file_format=True)
    mask = _segmentation(slices, dict(zip(structures, head.masks(len(structures)), strict=True)))
    mask.save_as(folder / "seg" / f"{mask.SOPInstanceUID}.dcm", enforce_file_format=True)


def _slice(
    plane: NDArray[np.uint16], index: int, hospital: MrHospital, names: tuple[str, ...], sequence: str, number: int
) -> Dataset:
    patient = hashlib.sha256("/".join(names).encode()).hexdigest()
    d = Dataset()
    d.file_meta = FileMetaDataset()
    d.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    d.SOPClassUID = d.file_meta.MediaStorageSOPClassUID = MRImageStorage
    d.SOPInstanceUID = d.file_meta.MediaStorageSOPInstanceUID = uid_of(*names, sequence, str(index))
    d.StudyInstanceUID, d.FrameOfReferenceUID = uid_of(*names, "study"), uid_of(*names, "frame")
    d.SeriesInstanceUID, d.SeriesDescription, d.SeriesNumber = uid_of(*names, sequence), f"AX {sequence} TEST", number
    d.PatientID, d.PatientName = f"T{patient[:10]}", f"TEST^{patient[:6].upper()}"
    d.PatientBirthDate, d.PatientSex = "", "FM"[int(patient[10], 16) % 2]
    d.PatientAge = f"{20 + int(patient[10:14], 16) % 65:03d}Y"
    d.StudyDate = d.SeriesDate = d.AcquisitionDate = d.ContentDate = DATE
    d.StudyTime = d.SeriesTime = d.AcquisitionTime = d.ContentTime = TIME
    d.StudyID, d.AccessionNumber, d.ReferringPhysicianName = "1", patient[14:22], ""
    d.Modality, d.BodyPartExamined, d.InstitutionName = "MR", "HEAD", hospital.site
    d.Manufacturer = d.ManufacturerModelName = "TEST"
    d.DeviceSerialNumber, d.SoftwareVersions, d.Laterality = "0", "0", ""
    d.ImageType, d.BurnedInAnnotation, d.LossyImageCompression = ["ORIGINAL", "PRIMARY", "M"], "NO", "00"
    d.ScanningSequence, d.SequenceVariant, d.ScanOptions, d.MRAcquisitionType = "SE", "NONE", "", "2D"
    d.EchoTime, d.RepetitionTime, d.EchoTrainLength = 10.0 * number, 500.0 * number, 1
    d.InstanceNumber, d.PositionReferenceIndicator = index + 1, ""
    gap, *plane_mm = hospital.spacing_mm
    d.PixelSpacing, d.SliceThickness, d.SpacingBetweenSlices = plane_mm, gap, gap
    d.ImagePositionPatient, d.ImageOrientationPatient = [0.0, 0.0, gap * index], [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    d.Rows, d.Columns = plane.shape
    d.SamplesPerPixel, d.PhotometricInterpretation, d.PixelRepresentation = 1, "MONOCHROME2", 0
    d.BitsAllocated, d.BitsStored, d.HighBit = 16, 12, 11
    d.PixelData = plane.tobytes()
    d["PixelData"].VR = "OW"
    return d


def _segmentation(slices: Several[Dataset], masks: dict[str, NDArray[np.bool_]]) -> Dataset:
    described = [
        hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=label,
            segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
            segmented_property_type=codes.SCT.Neoplasm,
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.MANUAL,
        )
        for number, label in enumerate(masks, 1)
    ]
    first = slices[0].SOPInstanceUID
    made: Dataset = hd.seg.Segmentation(
        source_images=list(slices),
        pixel_array=np.stack(list(masks.values()), axis=-1).astype(np.uint8),
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=described,
        series_instance_uid=uid_of(first, "seg-series"),
        series_number=9,
        sop_instance_uid=uid_of(first, "seg"),
        instance_number=1,
        manufacturer="TEST",
        manufacturer_model_name="TEST",
        software_versions="0",
        device_serial_number="0",
        omit_empty_frames=False,
        dimension_organization_type=None,
    )
    return without_clock(made, uid_of(first, "dimension"))
