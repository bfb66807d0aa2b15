"""Write synthetic images as DICOM files: Computed Radiography, Digital X-Ray, DICOM SEG, and a few broken files.

Attributes follow DICOM PS3.3 A.2 (CR), A.26 (DX) and A.51 (Segmentation). No value comes from a clock or a random
source, so the same pixels and names give the same bytes.
"""

from __future__ import annotations

import hashlib
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels.utils import pack_bits
from pydicom.sr.codedict import codes
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    RLELossless,
    generate_uid,
)

from fedward.dicom.synthetic.scanner import Scanner

Fault = Literal["truncated", "modality", "blank", "duplicate", "unlabelled"]
_COPIED = (
    "StudyInstanceUID",
    "FrameOfReferenceUID",
    "AccessionNumber",
    "PatientID",
    "PatientName",
    "PatientSex",
    "PatientAge",
)
DATE, TIME = "20200101", "120000"


def image_dataset(
    pixels: NDArray[np.uint16], scanner: Scanner, *, site: str, names: tuple[str, str, str, str], female: bool
) -> Dataset:
    """Build one image as a CR or DX data set, compressed if the scanner compresses.

    Args:
        pixels: stored values (rows, columns).
        scanner: scanner that took the image.
        site: InstitutionName.
        names: seed, site, patient and image; UIDs and PatientID depend only on them.
        female: PatientSex, F or M.
    """
    patient = hashlib.sha256("/".join(names[:3]).encode()).hexdigest()
    d = Dataset()
    d.file_meta = FileMetaDataset()
    d.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    d.SOPClassUID = (
        ComputedRadiographyImageStorage if scanner.modality == "CR" else DigitalXRayImageStorageForPresentation
    )
    d.file_meta.MediaStorageSOPClassUID = d.SOPClassUID
    d.SOPInstanceUID = d.file_meta.MediaStorageSOPInstanceUID = uid_of(*names, "image")
    d.StudyInstanceUID, d.SeriesInstanceUID = uid_of(*names, "study"), uid_of(*names, "series")
    d.FrameOfReferenceUID = uid_of(*names, "frame")
    d.PatientID, d.PatientName = f"T{patient[:10]}", f"TEST^{patient[:6].upper()}"
    d.PatientBirthDate, d.PatientSex = "", "F" if female else "M"
    d.PatientAge = f"{20 + int(patient[10:14], 16) % 65:03d}Y"
    d.StudyDate = d.SeriesDate = d.AcquisitionDate = d.ContentDate = DATE
    d.StudyTime = d.SeriesTime = d.AcquisitionTime = d.ContentTime = TIME
    d.StudyID, d.AccessionNumber, d.ReferringPhysicianName = "1", patient[14:22], ""
    d.SeriesNumber = d.InstanceNumber = 1
    d.Modality, d.BodyPartExamined, d.ViewPosition, d.PatientOrientation = scanner.modality, "CHEST", "PA", ["L", "F"]
    d.InstitutionName, d.Manufacturer, d.ManufacturerModelName = site, scanner.manufacturer, "TEST"
    d.DeviceSerialNumber, d.SoftwareVersions, d.Laterality = "0", "0", ""
    d.ImageType, d.BurnedInAnnotation, d.LossyImageCompression = ["ORIGINAL", "PRIMARY"], "NO", "00"
    d.PixelSpacing = d.ImagerPixelSpacing = [scanner.spacing_mm, scanner.spacing_mm]
    d.RescaleIntercept, d.RescaleSlope, d.RescaleType = scanner.intercept, scanner.slope, "US"
    if scanner.windowed:
        low, high = (scanner.span[0] * (1 << scanner.bits), scanner.span[1] * (1 << scanner.bits))
        d.WindowCenter, d.WindowWidth = round((low + high) / 2), round(high - low)
    if scanner.modality == "DX":
        _add_digital_x_ray(d)
    return _with_pixels(d, pixels, scanner)


def write_image(dataset: Dataset, path: Path, fault: Fault | None) -> None:
    """Write ``dataset`` to ``path``, with the given fault.

    ``duplicate`` writes it beside ``path`` under another name; ``unlabelled`` does not change the file.
    """
    if fault == "modality":
        dataset.Modality = "OT"
    if fault == "blank":
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.PixelData = bytes(dataset.Rows * dataset.Columns * dataset.BitsAllocated // 8)
        dataset["PixelData"].is_undefined_length = False
    if fault == "duplicate":
        path = path.with_name(f"{path.stem}-copy.dcm")
    dataset.save_as(path, enforce_file_format=True)
    if fault == "truncated":
        content = path.read_bytes()
        path.write_bytes(content[: len(content) * 2 // 5])


class LungSegmentations:
    """Writer of lung fields as DICOM SEG. highdicom builds only the first one; the later ones reuse it and change
    references, UIDs and pixels, which is all that differs within one hospital."""

    def __init__(self) -> None:
        self._pattern: Dataset | None = None

    def write(self, path: Path, *, source: Dataset, mask: NDArray[np.bool_]) -> None:
        """Write the segmentation ``mask``, bool (rows, columns), of the image ``source``."""
        if self._pattern is None:
            # after reading back, unused elements stay raw bytes, which are fast to write
            first = BytesIO()
            _first_segmentation(source, mask).save_as(first, enforce_file_format=True)
            self._pattern = dcmread(BytesIO(first.getvalue()))
        d = self._pattern
        _refer(d, source)
        d.PixelData = pack_bits(mask.astype(np.uint8).ravel())
        d.save_as(path, enforce_file_format=True)


def uid_of(*names: str) -> UID:
    """Return an identifier that depends on the names alone."""
    return generate_uid(entropy_srcs=list(names))


def _add_digital_x_ray(d: Dataset) -> None:
    """Add the attributes that PS3.3 A.26 requires of a DX image for presentation and that a CR image lacks."""
    d.ImageType = ["ORIGINAL", "PRIMARY", ""]
    d.PresentationIntentType, d.PresentationLUTShape = "FOR PRESENTATION", "IDENTITY"
    d.PixelIntensityRelationship, d.PixelIntensityRelationshipSign = "LOG", 1
    d.ImageLaterality, d.DetectorType = "U", "DIRECT"
    region = Dataset()
    region.CodeValue, region.CodingSchemeDesignator, region.CodeMeaning = "51185008", "SCT", "Thorax"
    d.AnatomicRegionSequence = [region]
    d.AcquisitionContextSequence = []


def _with_pixels(d: Dataset, pixels: NDArray[np.uint16], scanner: Scanner) -> Dataset:
    d.Rows, d.Columns = pixels.shape
    d.SamplesPerPixel, d.PhotometricInterpretation, d.PixelRepresentation = 1, scanner.photometric, 0
    d.BitsStored, d.HighBit = scanner.bits, scanner.bits - 1
    d.BitsAllocated = 8 if scanner.bits == 8 else 16
    stored = pixels.astype(np.uint8 if scanner.bits == 8 else np.uint16)
    d.PixelData = stored.tobytes()
    d["PixelData"].VR = "OB" if scanner.bits == 8 else "OW"
    if scanner.compressed:
        d.compress(RLELossless, encoding_plugin="pylibjpeg", generate_instance_uid=False)
    return d


def _first_segmentation(source: Dataset, mask: NDArray[np.bool_]) -> Dataset:
    lung = hd.seg.SegmentDescription(
        segment_number=1,
        segment_label="Lung",
        segmented_property_category=codes.SCT.Organ,
        segmented_property_type=codes.SCT.Lung,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.MANUAL,
    )
    d: Dataset = hd.seg.Segmentation(
        source_images=[source],
        pixel_array=mask[np.newaxis],
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[lung],
        series_instance_uid=uid_of(source.SOPInstanceUID, "seg-series"),
        series_number=2,
        sop_instance_uid=uid_of(source.SOPInstanceUID, "seg"),
        instance_number=1,
        manufacturer="TEST",
        manufacturer_model_name="TEST",
        software_versions="0",
        device_serial_number="0",
    )
    return without_clock(d, uid_of(source.InstitutionName, "dimension"))


def without_clock(d: Dataset, organisation: UID) -> Dataset:
    """Put fixed values in the place of those that highdicom takes from the clock or draws, in a SEG; return it."""
    d.InstanceCreationDate = d.ContentDate = DATE
    d.InstanceCreationTime = d.ContentTime = TIME
    for equipment in d.ContributingEquipmentSequence:
        if "ContributionDateTime" in equipment:
            equipment.ContributionDateTime = DATE + TIME
    for item in (*d.DimensionOrganizationSequence, *d.DimensionIndexSequence):
        item.DimensionOrganizationUID = organisation
    return d


def random_of(seed: int, *names: str | int) -> np.random.Generator:
    """Return a separate generator for each name, so that an image does not depend on earlier ones."""
    digest = hashlib.sha256("/".join(str(name) for name in (seed, *names)).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))


def _refer(d: Dataset, source: Dataset) -> None:
    """Make ``d`` a segmentation of ``source``."""
    d.SOPInstanceUID = d.file_meta.MediaStorageSOPInstanceUID = uid_of(source.SOPInstanceUID, "seg")
    d.SeriesInstanceUID = uid_of(source.SOPInstanceUID, "seg-series")
    for name in _COPIED:
        if name in d:
            setattr(d, name, source[name].value)
    d.ReferencedSeriesSequence[0].SeriesInstanceUID = source.SeriesInstanceUID
    derivation: Any = d.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0]
    for reference in (
        d.ReferencedSeriesSequence[0].ReferencedInstanceSequence[0],
        d.SourceImageSequence[0],
        derivation.SourceImageSequence[0],
    ):
        reference.ReferencedSOPInstanceUID = source.SOPInstanceUID
