"""Say in a DICOM object which model made it, and of which images."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import highdicom as hd
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from fedward.dicom.header import named, text
from fedward.errors import StudyError

SCHEME = "99FEDWARD"
"""Coding scheme of names that no public one has; DICOM keeps 99… for private ones (PS3.16 chapter 8)."""
_MAY_BE_EMPTY = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate"),
    *("StudyTime", "ReferringPhysicianName"),
)
"""Attributes of type 2 (PS3.5 7.4.3): a derived object has them, empty where the image has none."""
_NEEDED = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality")


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Model that made a result.

    Attributes:
        job: name of the job that trained it.
        sha256: of its weights.
        names: its structures, or its outputs, in order.
    """

    job: str
    sha256: str
    names: tuple[str, ...]

    def equipment(self) -> dict[str, Any]:
        """Return what highdicom writes into the equipment modules, with new UIDs for a new series of one instance."""
        return {
            "series_instance_uid": hd.UID(),
            "sop_instance_uid": hd.UID(),
            "series_number": 1,
            "instance_number": 1,
            "series_description": self.job[:64],
            "manufacturer": "Fedward",
            "manufacturer_model_name": self.job[:64],
            "software_versions": version("fedward"),
            "device_serial_number": self.sha256[:64],
        }


def complete(header: Dataset) -> Dataset:
    """Return an image's header with the attributes that it may leave empty.

    Raises:
        StudyError: "undecodable" for a header by which nothing can refer to its image.
    """
    for keyword in _NEEDED:
        if not text(header, keyword):
            raise StudyError("undecodable", f"{named(keyword)} is absent, which its result needs")
    for keyword in _MAY_BE_EMPTY:
        if keyword not in header:
            setattr(header, keyword, "")
    return header


def own_code(name: str) -> Code:
    """Return a code of ``SCHEME`` for a name that no public coding scheme has."""
    return Code(value=name, scheme_designator=SCHEME, meaning=name)


ARTIFICIAL_INTELLIGENCE = codes.cid7162.ArtificialIntelligence
