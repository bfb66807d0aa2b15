"""Write a classification's probabilities as a DICOM SR: a measurement report (TID 1500, PS3.16) of the images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import highdicom as hd
from pydicom import Dataset
from pydicom.sr.codedict import codes

from fedward.bundle.masks import dicom_stem, require_free
from fedward.bundle.origin import Origin, complete, own_code
from fedward.bundle.sources import read_headers
from fedward.dicom.header import refusing
from fedward.dicom.nifti import is_nifti
from fedward.errors import StudyError


def write_report(probabilities: Mapping[str, float], *, files: Sequence[Path], out: Path, origin: Origin) -> Path:
    """Write a report with one measurement for each output.

    Args:
        probabilities: output -> probability.
        files: of the DICOM image.
        out: folder.
        origin: model that made them.

    Returns:
        path of the report.

    Raises:
        StudyError: the image is no DICOM image, its header lacks what an SR must have, or ``out`` holds a report of
            this name.
    """
    if is_nifti(files[0].name):
        raise StudyError("unreadable", "a DICOM SR is of DICOM images")
    path = out / f"{dicom_stem(files[0])}.sr.dcm"
    require_free(path)
    made = report_of(probabilities, files=files, origin=origin)
    out.mkdir(parents=True, exist_ok=True)
    made.save_as(path, enforce_file_format=True)
    return path


def report_of(probabilities: Mapping[str, float], *, files: Sequence[Path], origin: Origin) -> Dataset:
    """Return the report; errors as of ``write_report``."""
    headers, _ = read_headers(files)
    with refusing("undecodable", "no DICOM SR of this image can be made"):
        images = [complete(header) for header in headers]
        by = hd.sr.AlgorithmIdentification(name=origin.job, version=origin.sha256)
        group = hd.sr.MeasurementsAndQualitativeEvaluations(
            tracking_identifier=hd.sr.TrackingIdentifier(uid=hd.UID(), identifier=origin.job),
            algorithm_id=by,
            source_images=[hd.sr.SourceImageForMeasurementGroup.from_source_image(image) for image in images],
            measurements=[
                hd.sr.Measurement(name=own_code(f"probability of {name}"), value=value, unit=codes.UCUM.NoUnits)
                for name, value in probabilities.items()
            ],
        )
        observer = hd.sr.ObserverContext(
            observer_type=codes.DCM.Device,
            observer_identifying_attributes=hd.sr.DeviceObserverIdentifyingAttributes(
                uid=hd.UID(), name="Fedward", model_name=origin.job, serial_number=origin.sha256
            ),
        )
        content = hd.sr.MeasurementReport(
            observation_context=hd.sr.ObservationContext(observer_device_context=observer),
            procedure_reported=codes.cid100.ImagingProcedure,
            imaging_measurements=[group],
        )
        made: Dataset = hd.sr.ComprehensiveSR(evidence=images, content=content[0], **origin.equipment())
    return made
