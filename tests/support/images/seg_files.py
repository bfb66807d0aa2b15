"""DICOM SEG written element by element (PS3.3 A.51), so that tests can make what highdicom refuses to write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import ExplicitVRLittleEndian

from tests.support.images.dicom_files import uid

BINARY, LABELMAP = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"


@dataclass(frozen=True)
class Frame:
    """A frame: its segment (None in a label map), stored values, position in mm or None, source image or ""."""

    segment: int | None
    values: np.ndarray
    position_mm: Sequence[float] | None = None
    source: str = ""


def seg(
    frames: Sequence[Frame],
    labels: Mapping[int, str],
    *,
    kind: str = "BINARY",
    orientation: Sequence[float] | None = None,
    spacing_mm: Sequence[float] | None = None,
    frame_of_reference: str = "",
    series: str = "",
    greatest: int = 255,
    name: object = 0,
) -> Dataset:
    """A SEG whose geometry is stated as given, true or not."""
    d = Dataset()
    d.file_meta = FileMetaDataset()
    d.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    d.SOPClassUID = d.file_meta.MediaStorageSOPClassUID = LABELMAP if kind == "LABELMAP" else BINARY
    d.SOPInstanceUID = d.file_meta.MediaStorageSOPInstanceUID = uid("seg", name)
    d.SeriesInstanceUID, d.StudyInstanceUID, d.Modality = uid("seg-series", name), uid("seg-study"), "SEG"
    d.PatientID = "P1"
    if frame_of_reference:
        d.FrameOfReferenceUID = frame_of_reference
    d.SegmentationType = kind
    if kind == "FRACTIONAL":
        d.SegmentationFractionalType, d.MaximumFractionalValue = "PROBABILITY", greatest
    d.Rows, d.Columns = frames[0].values.shape
    d.NumberOfFrames, d.SamplesPerPixel, d.PhotometricInterpretation = len(frames), 1, "MONOCHROME2"
    bits = 1 if kind == "BINARY" else 8
    d.BitsAllocated, d.BitsStored, d.HighBit, d.PixelRepresentation = bits, bits, bits - 1, 0
    values = np.stack([frame.values for frame in frames]).astype(np.uint8)
    raw = np.packbits(values.reshape(-1), bitorder="little").tobytes() if kind == "BINARY" else values.tobytes()
    d.PixelData = raw + b"\0" * (len(raw) % 2)
    d["PixelData"].VR = "OB"
    d.SegmentSequence = Items([item(SegmentNumber=number, SegmentLabel=label) for number, label in labels.items()])
    shared = Dataset()
    if orientation is not None:
        shared.PlaneOrientationSequence = Items([item(ImageOrientationPatient=[float(one) for one in orientation])])
    if spacing_mm is not None:
        shared.PixelMeasuresSequence = Items([item(PixelSpacing=[float(one) for one in spacing_mm])])
    d.SharedFunctionalGroupsSequence = Items([shared])
    d.PerFrameFunctionalGroupsSequence = Items([_group(frame) for frame in frames])
    if series:
        d.ReferencedSeriesSequence = Items([item(SeriesInstanceUID=series)])
    return d


def item(**values: object) -> Dataset:
    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def _group(frame: Frame) -> Dataset:
    made = Dataset()
    if frame.segment is not None:
        made.SegmentIdentificationSequence = Items([item(ReferencedSegmentNumber=frame.segment)])
    if frame.position_mm is not None:
        made.PlanePositionSequence = Items(
            [item(ImagePositionPatient=[round(float(mm), 6) for mm in frame.position_mm])]
        )
    if frame.source:
        source = item(ReferencedSOPInstanceUID=frame.source)
        made.DerivationImageSequence = Items([item(SourceImageSequence=Items([source]))])
    return made
