"""Examine one file at the quality gate and return one ``FileFacts``, for any bytes.

A header is accepted without any element except pixels and PatientID. A missing StudyDescription, BodyPartExamined,
age, sex, spacing or character set excludes no file.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from fedward.dicom import geometry
from fedward.dicom.header import item, parse, read_bytes, refusing, text, whole
from fedward.dicom.image import frame_order
from fedward.dicom.masks import SEGMENTATION_CLASSES, FramePlace, frame_places
from fedward.dicom.nifti import is_nifti, parse_nifti, patient_of, stem
from fedward.dicom.pixels import decode, has_pixels
from fedward.errors import StudyError
from fedward.settings import CohortPolicy

REASONS: dict[str, str] = {
    "unreadable": "cannot be opened, or is neither DICOM nor NIfTI: copy it again, or move it out of the folder",
    "truncated": "ends before its header says: the copy was cut short, send it again",
    "no-pixels": "has no picture in it: a report, a plan, a directory or a bare header",
    "not-an-image": "is a DICOM segmentation among the images: name its folder as the cohort's masks",
    "undecodable": "its pixels cannot be decoded: export it again in a transfer syntax or voxel type that can be read",
    "unsupported-shape": "has more than three axes: export one image or one volume a file",
    "wrong-modality": "its Modality (0008,0060) is not one that the cohort takes",
    "wrong-body-part": "its BodyPartExamined (0018,0015) is not one that the cohort takes",
    "missing-patient-id": "has no PatientID (0010,0020), so it cannot be kept on one side of the split",
    "blank-image": "is of one value all over, or nearly",
    "burned-in-annotation": "says that text is burned into its pixels (0028,0301), and the policy excludes that",
    "duplicate-instance": "is the same image as another file, by SOPInstanceUID or by content",
    "mixed-series": "its series holds slices that are not parallel or not of one shape",
    "incomplete-series": "its series lacks slices, or another of its slices is in quarantine",
    "uneven-spacing": "its series has no even spacing between slices",
    "missing-label": "has no value in a label column that the cohort requires",
    "missing-mask": "has no usable mask, and the cohort requires one",
    "missing-structure": "its mask describes none of the structures that are asked for",
    "mask-misfit": "is a mask whose shape, position or reference does not fit its image",
    "orphan-mask": "is a mask of an image that is not in the cohort or is itself in quarantine",
    "second-mask": "is a second mask of an image that has one already",
}
"""Reason for quarantine -> explanation for those who maintain the archive."""

_BLANK_PART = 0.99
_SAMPLE = 16_384
_OLDEST_DECADE = 90
Role = Literal["image", "mask"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFacts:
    """Facts about one file, and the reason if it is unusable.

    Attributes:
        path: path below the folder that was walked, with "/".
        size, mtime_ns: size and time of the file when it was read, to detect a change.
        role: "image" or "mask", after its folder. Where images and masks share one folder it is "image", and a DICOM
            SEG is recognised by its ``mask_frames``.
        reason, detail: reason for refusal, "" if accepted; the detail holds no header value that could name a person.
        sha256: hash of the file's bytes, "" where they could not be read.
        format: format of the file.
        patient, study, series, instance: identifiers as in the header; for a mask, the series that it refers to.
        shape, spacing_mm, modality, manufacturer, sex, age_decade, flags: as in ``Row``.
        blank: True if all or nearly all pixels have one value. A slice may be blank, a volume may not.
        frames: stored frames in order of slices; () for a single-frame file.
        positions_mm: position of each slice, in order; () where unknown.
        orientation, number: as in ``geometry.Place``, for a single-frame file.
        affine: affine of a NIfTI file.
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
    study: str = ""
    series: str = ""
    instance: str = ""
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
    affine: tuple[float, ...] = ()
    mask_frames: tuple[FramePlace, ...] = ()


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
                return _nifti(finding, data)
            header = parse(data)
            finding = _described(finding, header)
            if finding.role == "mask":
                return _segmentation(finding, header)
            return _image(finding, header, cohort)
    except StudyError as refusal:
        return replace(finding, reason=refusal.reason, detail=refusal.detail)


def _nifti(finding: FileFacts, data: bytes) -> FileFacts:
    finding = replace(finding, format="nifti", patient=patient_of(finding.path), study=stem(finding.path))
    image = parse_nifti(data)
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
        modality=text(header, "Modality").upper()[:16],
        manufacturer=" ".join(text(header, "Manufacturer").split())[:64],
        sex=sex if (sex := text(header, "PatientSex").upper()) in ("M", "F", "O") else "",
        age_decade=age_decade(header),
    )


def _image(finding: FileFacts, header: Dataset, cohort: CohortPolicy) -> FileFacts:
    if text(header, "SOPClassUID") in SEGMENTATION_CLASSES:
        if cohort.masks == cohort.images:
            return _segmentation(finding, header)
        raise StudyError("not-an-image", "DICOM SEG")
    if not has_pixels(header):
        cut = ", perhaps cut short before its pixels" if "Rows" in header else ""
        raise StudyError("no-pixels", f"modality {finding.modality or 'absent'}{cut}")
    if not finding.patient:
        raise StudyError("missing-patient-id")
    if cohort.modalities and finding.modality not in {one.upper() for one in cohort.modalities}:
        raise StudyError("wrong-modality", finding.modality or "absent")
    part = text(header, "BodyPartExamined").upper()
    if cohort.body_parts and part and part not in {one.upper() for one in cohort.body_parts}:
        raise StudyError("wrong-body-part", part[:16])
    if text(header, "BurnedInAnnotation").upper() == "YES":
        if cohort.exclude_burned_in:
            raise StudyError("burned-in-annotation")
        finding = replace(finding, flags=(*finding.flags, "burned-in-annotation"))
    stored = decode(header)
    if stored.colour and (whole(header, "NumberOfFrames") or 1) > 1:
        finding = replace(finding, flags=(*finding.flags, "first-frame-only"))
    finding = replace(finding, blank=is_blank(stored.values))
    return _placed(_unless_blank(finding, volumes=cohort.volumes and stored.values.ndim == 2), header, stored.values)


def _placed(finding: FileFacts, header: Dataset, values: NDArray[np.generic]) -> FileFacts:
    plane = geometry.in_plane_mm(header)
    finding = replace(finding, shape=tuple(int(side) for side in values.shape))
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
    return replace(finding, spacing_mm=geometry.volume_spacing_mm(gap, plane), frames=order, positions_mm=positions)


def _segmentation(finding: FileFacts, header: Dataset) -> FileFacts:
    if text(header, "SOPClassUID") not in SEGMENTATION_CLASSES:
        raise StudyError("mask-misfit", "neither DICOM SEG nor NIfTI")
    series = item(header, "ReferencedSeriesSequence")
    values = decode(header).values
    places = frame_places(header)
    frames = values.shape[0] if values.ndim == 3 else 1
    if len(places) != frames:
        raise StudyError("mask-misfit", f"{frames} frames, {len(places)} of them described")
    return replace(
        finding,
        series=text(series, "SeriesInstanceUID") if series else "",
        shape=tuple(int(side) for side in values.shape[-2:]),
        mask_frames=places,
    )


def is_blank(values: NDArray[np.generic]) -> bool:
    """True if at least 99 % of the pixels, in an even sample of about 16,384, have one value or are not finite."""
    step = max(1, values.size // _SAMPLE)
    sample = values.reshape(-1)[:: step + (step % 2 == 0)]
    finite = sample[np.isfinite(sample)] if sample.dtype.kind == "f" else sample
    if not finite.size:
        return True
    middle = np.partition(finite, finite.size // 2)[finite.size // 2]
    return bool(np.count_nonzero(finite == middle) >= _BLANK_PART * finite.size)


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
