"""Examine one file at the quality gate and return one ``FileFacts``, for any bytes.

A header is accepted without any element except pixels and PatientID. A missing StudyDescription, BodyPartExamined,
age, sex, spacing or character set excludes no file.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from fedward.dicom import geometry
from fedward.dicom.header import parse, read_bytes, refusing, text, whole
from fedward.dicom.image import frame_order
from fedward.dicom.masks import label_values
from fedward.dicom.nifti import is_nifti, parse_nifti, stem
from fedward.dicom.pixels import decode, has_pixels, judge
from fedward.dicom.segmentation import (
    FramePlace,
    is_segmentation,
    read_places,
    read_segments,
    referenced_instances,
    referenced_series,
)
from fedward.dicom.verdict import is_blank
from fedward.errors import StudyError
from fedward.indexing.grouping.sequences import sequence_of
from fedward.settings import CohortPolicy

_OLDEST_DECADE = 90
Role = Literal["image", "mask"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFacts:
    """Facts about one file, and the reason if it is unusable.

    Attributes:
        path: path below the folder that was walked, with "/".
        size, mtime_ns: size and time of the file when it was read, to detect a change.
        role: "image" or "mask", after its folder; "image" where images and masks share one folder.
        is_mask: True for a DICOM SEG, usable or not, where masks may be. Every file of a mask folder is a mask.
        reason, detail: reason for refusal, "" if accepted; the detail holds no header value that could name a person.
        sha256: hash of the file's bytes, "" where they could not be read.
        format: format of the file.
        patient, study, series, instance: identifiers as in the header; a NIfTI file's patient is found later, by the
            names of all files.
        referenced_series, referenced_instances: for a DICOM SEG, what it refers to; kept if its pixels are refused.
        patient_alike: "" until ``SiteKey.alike`` of the patient takes its place, together with the pseudonyms.
        shape, spacing_mm, modality, manufacturer, sex, age_decade, flags: as in ``Row``.
        blank: True if all or nearly all pixels have one value. A slice may be blank, a volume may not.
        frames: stored frames in order of slices; () for a single-frame file.
        positions_mm: position of each slice, in order; () where unknown.
        orientation: as in ``geometry.Place``; of a multi-frame file, of all its frames, () where they differ.
        number: as in ``geometry.Place``, for a single-frame file.
        in_plane_mm: row and column spacing of DICOM, () where unknown; for a SEG, as its frames state it.
        frame_of_reference: FrameOfReferenceUID (0020,0052), or "".
        units: unit of the pixel values, RescaleType (0028,1054) or Units (0054,1001), or "".
        scan: first three values of ImageType (0008,0008), ConvolutionKernel (0018,1210), EchoTime (0018,0081).
        affine: affine of a NIfTI file.
        sequence: the hospital's name of the sequence, by its rules; "" for none.
        segments: structures of a mask: number and ``structure_key`` of the label; for NIfTI, each value twice.
        mask_frames: for a DICOM SEG, the position of each frame.
    """

    path: str
    size: int
    mtime_ns: int
    role: Role
    reason: str = ""
    detail: str = ""
    sha256: str = ""
    format: Literal["dicom", "nifti"] = "dicom"
    patient: str = ""
    patient_alike: str = ""
    study: str = ""
    series: str = ""
    instance: str = ""
    is_mask: bool = False
    referenced_series: tuple[str, ...] = ()
    referenced_instances: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()
    spacing_mm: tuple[float, ...] | None = None
    modality: str = ""
    manufacturer: str = ""
    sex: str = ""
    age_decade: int | None = None
    flags: tuple[str, ...] = ()
    blank: bool = False
    frames: tuple[int, ...] = ()
    positions_mm: tuple[tuple[float, ...], ...] = ()
    orientation: tuple[float, ...] = ()
    number: int | None = None
    in_plane_mm: tuple[float, ...] = ()
    frame_of_reference: str = ""
    units: str = ""
    scan: tuple[str, ...] = ()
    affine: tuple[float, ...] = ()
    segments: tuple[tuple[int, str], ...] = ()
    mask_frames: tuple[FramePlace, ...] = ()
    sequence: str = ""


def examine(seen: FileFacts, root: Path, cohort: CohortPolicy) -> FileFacts:
    """Read one file once and judge it alone; ``fedward.indexing.assemble`` judges it together with other files.

    Raises nothing for the content of a file: unreadable, truncated and hostile bytes give a refused finding.

    Args:
        seen: path, size, time and role from the walk.
        root: folder from which ``seen.path`` starts.
        cohort: policy that states which files the hospital takes.
    """
    finding = seen
    try:
        with refusing("unreadable"):
            data = read_bytes(root / seen.path)
            finding = replace(seen, sha256=hashlib.sha256(data).hexdigest())
            if is_nifti(seen.path):
                return _nifti(finding, data, cohort)
            header = parse(data)
            finding = _described(finding, header)
            if finding.role == "mask" or (is_segmentation(header) and cohort.masks == cohort.images):
                if not is_segmentation(header):
                    raise StudyError("mask-misfit", "neither DICOM SEG nor NIfTI")
                series, instances = referenced_series(header), referenced_instances(header)
                finding = replace(finding, is_mask=True, referenced_series=series, referenced_instances=instances)
                return _segmentation(finding, header)
            return _image(finding, header, cohort)
    except StudyError as refusal:
        return replace(finding, reason=refusal.reason, detail=refusal.detail)


def _nifti(finding: FileFacts, data: bytes, cohort: CohortPolicy) -> FileFacts:
    finding = replace(finding, format="nifti", study=stem(finding.path))
    image = parse_nifti(data)
    if finding.role == "mask":
        finding = replace(finding, segments=tuple((value, str(value)) for value in label_values(image.values)))
    else:
        name = "/".join((*finding.path.split("/")[:-1], stem(finding.path)))
        finding = replace(finding, sequence=sequence_of(name, cohort.sequences))
    return replace(
        _unless_blank(replace(finding, blank=finding.role == "image" and is_blank(image.values)), volumes=False),
        instance=finding.path,
        shape=tuple(image.values.shape),
        spacing_mm=image.spacing_mm,
        affine=image.affine,
    )


def _described(finding: FileFacts, header: Dataset) -> FileFacts:
    """Add the header's description, for both roles; reading it cannot fail."""
    instance = text(header, "SOPInstanceUID") or f"sha256:{finding.sha256}"
    series = text(header, "SeriesInstanceUID") or instance
    return replace(
        finding,
        patient=text(header, "PatientID"),
        study=text(header, "StudyInstanceUID") or series,
        series=series,
        instance=instance,
        frame_of_reference=text(header, "FrameOfReferenceUID"),
        units=(text(header, "RescaleType") or text(header, "Units")).upper()[:16],
        scan=(*text(header, "ImageType").split("\\")[:3], text(header, "ConvolutionKernel"), text(header, "EchoTime")),
        modality=text(header, "Modality").upper()[:16],
        manufacturer=" ".join(text(header, "Manufacturer").split())[:64],
        sex=sex if (sex := text(header, "PatientSex").upper()) in ("M", "F", "O") else "",
        age_decade=age_decade(header),
    )


def _image(finding: FileFacts, header: Dataset, cohort: CohortPolicy) -> FileFacts:
    if is_segmentation(header):
        raise StudyError("not-an-image", "DICOM SEG")
    if not has_pixels(header):
        cut = ", perhaps cut short before its pixels" if "Rows" in header else ""
        raise StudyError("no-pixels", f"modality {_code(finding.modality)}{cut}")
    if not finding.patient:
        raise StudyError("missing-patient-id")
    if cohort.modalities and finding.modality not in {one.upper() for one in cohort.modalities}:
        raise StudyError("wrong-modality", _code(finding.modality))
    part = text(header, "BodyPartExamined").upper()
    if cohort.body_parts and part and part not in {one.upper() for one in cohort.body_parts}:
        raise StudyError("wrong-body-part", _code(part))
    if text(header, "BurnedInAnnotation").upper() == "YES":
        if cohort.exclude_burned_in:
            raise StudyError("burned-in-annotation")
        finding = replace(finding, flags=(*finding.flags, "burned-in-annotation"))
    finding = replace(finding, sequence=sequence_of(text(header, "SeriesDescription"), cohort.sequences))
    stored = decode(header)
    if stored.colour:
        finding = replace(finding, flags=(*finding.flags, "colour"))
    if stored.colour and (whole(header, "NumberOfFrames") or 1) > 1:
        finding = replace(finding, flags=(*finding.flags, "first-frame-only"))
    seen = judge(header, stored)
    finding = replace(finding, blank=seen.blank, flags=(*finding.flags, *seen.flags))
    return _placed(_unless_blank(finding, volumes=cohort.volumes and stored.values.ndim == 2), header, stored.values)


def _code(value: str) -> str:
    """Return a code of the header (CS: at most 16 characters) as a detail may show it; other text is not shown."""
    return (value if re.fullmatch(r"[A-Z0-9_ ]{1,16}", value) else "that is no code") if value else "absent"


def _placed(finding: FileFacts, header: Dataset, values: NDArray[np.generic]) -> FileFacts:
    plane = geometry.in_plane_mm(header)
    finding = replace(finding, shape=tuple(int(side) for side in values.shape), in_plane_mm=plane)
    if values.ndim == 2:
        place = geometry.place_of(header)
        return replace(
            finding,
            spacing_mm=plane or None,
            positions_mm=(place.position_mm,),
            orientation=place.orientation,
            number=place.number,
        )
    order, gap = frame_order(header, values.shape[0])
    places = geometry.frame_places(header)
    positions = tuple(places[index].position_mm if index < len(places) else () for index in order)
    orientation, _ = geometry.one_plane(places, reason="mixed-series")
    tilted = tilt_flags(positions, orientation, plane)
    return replace(
        finding,
        spacing_mm=geometry.volume_spacing_mm(gap, plane),
        frames=order,
        positions_mm=positions,
        orientation=orientation,
        flags=(*finding.flags, *tilted),
    )


def tilt_flags(
    positions_mm: Sequence[tuple[float, ...]], orientation: tuple[float, ...], in_plane_mm: tuple[float, ...]
) -> tuple[str, ...]:
    """Return the flag of a volume whose slices lie beside each other by more than a pixel (1 mm if that is unknown)."""
    most = min(in_plane_mm) if in_plane_mm else 1.0
    return ("gantry-tilt",) if geometry.drift_mm(positions_mm, orientation) > most else ()


def _segmentation(finding: FileFacts, header: Dataset) -> FileFacts:
    with refusing("undecodable", "DICOM SEG"):
        found = read_segments(header)
        places, orientation, spacing = read_places(header, found)
    return replace(
        finding,
        shape=found.shape,
        orientation=orientation,
        in_plane_mm=spacing,
        segments=tuple(sorted(found.labels.items())),
        mask_frames=places,
    )


def age_decade(header: Dataset) -> int | None:
    """Return the age rounded down to ten years; 90 means 90 and above."""
    years = age_years(header)
    return None if years is None else min(years // 10 * 10, _OLDEST_DECADE)


def age_years(header: Dataset) -> int | None:
    """Return whole years from PatientAge (0010,1010), else from birth and study date; None if neither is valid."""
    age = text(header, "PatientAge").upper()
    years: float | None = None
    if age[:-1].isdecimal() and age[-1:] in "YMWD":
        years = int(age[:-1]) / {"Y": 1, "M": 12, "W": 52, "D": 365}[age[-1]]
    else:
        birth, study = text(header, "PatientBirthDate"), text(header, "StudyDate")
        if len(birth) == 8 and len(study) == 8 and (birth + study).isdecimal():
            years = (int(study) - int(birth)) // 10_000
    return None if years is None or not 0 <= years < 130 else int(years)


def _unless_blank(finding: FileFacts, *, volumes: bool) -> FileFacts:
    if finding.blank and not volumes:
        raise StudyError("blank-image", "at least 99 % of the pixels have one value")
    return finding
