"""De-identify one instance from the archive, so that it may be written to disk. Pure: opens and changes nothing.

1. Copy the attributes that the table in ``profile`` keeps, at every depth, if the value is of the kind that the
   standard defines.
2. Replace the UIDs that the table names by keyed ones; drop text that names the patient.
3. Set the attributes that the table sets anew.
4. Run PS3.15's Basic Profile over the result (dicom-anonymizer), as a second check: it finds what the table should not
   have kept.
5. Refuse the instance if an identifier is still in the bytes.

Any fault refuses the instance. No path writes a part of it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from dicomanonymizer.simpledicomanonymizer import anonymize_dataset, initialize_actions
from pydicom import DataElement, Dataset, Sequence, dcmwrite
from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword
from pydicom.dataset import FileMetaDataset
from pydicom.multival import MultiValue
from pydicom.uid import UID

from fedward.dicom.header import refusing, text
from fedward.errors import StudyError
from fedward.indexing.pacs import profile
from fedward.indexing.pacs.burned_in import may_have_text
from fedward.indexing.pacs.identifiers import Identifiers, identifiers
from fedward.indexing.pacs.pixels import pixels_alone
from fedward.indexing.quality import age_years
from fedward.indexing.site_key import Kind, SiteKey

_METHOD = f"Fedward table {profile.EDITION}, over PS3.15 Basic Profile 2026c"
_CODES = (
    ("113100", "Basic Application Confidentiality Profile"),
    ("113108", "Retain Patient Characteristics Option"),
)
_KINDS: dict[str, Kind] = {"StudyInstanceUID": "study", "SeriesInstanceUID": "series"}
_CODE_STRING = re.compile(r"[A-Z0-9_ ]{0,16}")
_PHOTOMETRIC = frozenset(
    {"MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_422"}
    | {"YBR_PARTIAL_420", "YBR_ICT", "YBR_RCT", "XYB"}
)
_PIXELS = frozenset(tag_for_keyword(name) for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData"))
_OLDEST = 90


@dataclass(frozen=True, slots=True)
class _Copying:
    """Data that a copy needs at every depth."""

    key: SiteKey
    known: Identifiers
    syntax: UID


def deidentify(received: Dataset, key: SiteKey) -> bytes:
    """Return the instance as a DICOM file (PS3.10) under the site's pseudonyms.

    Guarantee: the file holds the attributes of ``profile.KEPT`` and ``profile.CLEANED`` and no others, at any depth;
    every UID in it is registered by the standard or made by ``key``; pixel values and transfer syntax are unchanged.

    Args:
        received: data set with ``file_meta.TransferSyntaxUID``; it is not changed.
        key: the site's key.

    Raises:
        StudyError: "no-patient-id", "unknown-class", "identifier-left", or "not-de-identified" for every other fault.
    """
    with refusing("not-de-identified"):
        if not text(received, "PatientID"):
            raise StudyError("no-patient-id")
        if not _registered(text(received, "SOPClassUID")):
            raise StudyError("unknown-class")
        syntax = UID(received.file_meta.TransferSyntaxUID)
        if not syntax.is_transfer_syntax or not _registered(syntax):
            raise StudyError("not-de-identified", "transfer syntax not known")
        copying = _Copying(key, identifiers(received), syntax)
        kept = _kept(received, copying)
        _make_anew(kept, received, key)
        anonymize_dataset(kept, _OURS, base_rules_gen=_profile)
        kept.file_meta = _meta(kept, syntax)
        _only_ours(kept, key)
        return _encoded(kept, copying.known, syntax)


def _kept(source: Dataset, copying: _Copying) -> Dataset:
    kept = Dataset()
    for tag in source.keys():  # noqa: SIM118 - iterating a data set would convert every element
        keyword = keyword_for_tag(tag)
        if tag in profile.REPLACED_UIDS:
            uid = copying.key.uid(_KINDS.get(keyword, "image"), text(source, keyword))
            kept.add(DataElement(tag, "UI", uid))
        elif tag in profile.KEPT_TAGS and (element := _readable(source, tag)) is not None:
            if tag in _PIXELS:
                kept.add(pixels_alone(source, element, copying.syntax))
            elif element.VR == "SQ":
                kept.add(DataElement(tag, "SQ", Sequence(_kept(item, copying) for item in element.value)))
            elif _harmless(element, copying.known):
                kept.add(DataElement(tag, element.VR, _plain(element)))
    return kept


def _readable(source: Dataset, tag: Any) -> DataElement | None:
    """Return the element, or None where its value cannot be read or is not of the kind that the standard defines."""
    try:
        element = source[tag]
    except Exception:  # noqa: BLE001 - a value that cannot be read cannot be kept; for the index it is absent
        return None
    return element if element.VR in dictionary_VR(tag).split(" or ") else None


def _harmless(element: DataElement, known: Identifiers) -> bool:
    """True if a kept element's value is a valid one for its purpose, and names no person."""
    values = [str(one) for one in (element.value if isinstance(element.value, MultiValue) else [element.value])]
    if element.keyword == "PhotometricInterpretation":
        return all(value in _PHOTOMETRIC for value in values)
    if element.VR == "UI":
        return all(_registered(value) for value in values)
    if element.VR == "CS":
        return all(_CODE_STRING.fullmatch(value) for value in values) and not any(map(known.named_in, values))
    if element.VR in ("LO", "SH"):
        return all(value.isprintable() for value in values) and not any(map(known.named_in, values))
    if element.VR in ("DS", "IS") and not element.is_empty:
        return not any(map(known.numbered, _numbers(element)))
    return True


def _plain(element: DataElement) -> Any:
    """Return the value; rewrite numbers stored as text, so that no other text can hide in them."""
    if element.VR not in ("DS", "IS") or element.is_empty:
        return element.value
    return _numbers(element)


def _numbers(element: DataElement) -> list[str]:
    numbers = element.value if isinstance(element.value, MultiValue) else [element.value]
    return [f"{int(one)}" if element.VR == "IS" else f"{float(one):.10g}" for one in numbers]


def _make_anew(kept: Dataset, received: Dataset, key: SiteKey) -> None:
    kept.SpecificCharacterSet = "ISO_IR 192"
    for keyword in profile.EMPTIED:
        setattr(kept, keyword, "")
    kept.PatientID = key.uid("patient", text(received, "PatientID"))
    sex = text(received, "PatientSex").upper()
    kept.PatientSex = sex if sex in ("M", "F", "O") else ""
    years = age_years(received)
    if years is not None:
        kept.PatientAge = f"{min(years, _OLDEST):03d}Y"
    if may_have_text(received):
        kept.BurnedInAnnotation = "YES"
    elif text(received, "BurnedInAnnotation").upper() == "NO":
        kept.BurnedInAnnotation = "NO"
    kept.PatientIdentityRemoved = "YES"
    kept.DeidentificationMethod = _METHOD
    kept.LongitudinalTemporalInformationModified = "REMOVED"
    codes = []
    for value, meaning in _CODES:
        code = Dataset()
        code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, "DCM", meaning
        codes.append(code)
    kept.DeidentificationMethodCodeSequence = codes


def _leave(dataset: Dataset, tag: object) -> None:
    """Do nothing, as a rule for dicom-anonymizer: this attribute is an exception, handled already."""


_OURS = {
    (tag >> 16, tag & 0xFFFF): _leave for keyword in profile.EXCEPTIONS if (tag := tag_for_keyword(keyword)) is not None
}


def _profile() -> dict[Any, Any]:
    rules: dict[Any, Any] = initialize_actions(profile.STANDARD)
    return rules


def _meta(kept: Dataset, syntax: UID) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = kept.SOPClassUID, kept.SOPInstanceUID
    meta.TransferSyntaxUID = syntax
    return meta


def _only_ours(kept: Dataset, key: SiteKey) -> None:
    """Refuse a UID that is neither registered nor made by the key, at any depth."""
    for element in kept.iterall():
        if element.VR != "UI":
            continue
        kind = _KINDS.get(element.keyword, "image")
        for uid in element.value if isinstance(element.value, MultiValue) else [element.value]:
            if uid and not _registered(uid) and key.uid(kind, uid) != uid:
                raise StudyError("identifier-left", element.keyword)


def _encoded(kept: Dataset, known: Identifiers, syntax: UID) -> bytes:
    file = BytesIO()
    dcmwrite(file, kept, enforce_file_format=True)
    data = file.getvalue()
    if known.uid_in(data) or (syntax.is_encapsulated and known.found_in(data)):
        raise StudyError("identifier-left", "in the bytes")
    return data


def _registered(uid: str) -> bool:
    return UID(uid).name != uid and uid.startswith("1.2.840.10008.")
