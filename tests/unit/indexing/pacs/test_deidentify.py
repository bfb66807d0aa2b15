"""Check de-identification on arrival: planted identifiers are removed, and what training needs is kept."""

from __future__ import annotations

import string
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from dicomanonymizer.simpledicomanonymizer import initialize_actions
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import DataElement, Dataset, Sequence, config, dcmread
from pydicom.datadict import dictionary_VM, dictionary_VR, keyword_for_tag, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.encaps import encapsulate, generate_frames
from pydicom.tag import Tag
from pydicom.uid import (
    MPEG2MPML,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
    SecondaryCaptureImageStorage,
    UltrasoundImageStorage,
)

from fedward.dicom.image import dicom_image
from fedward.errors import StudyError
from fedward.indexing.pacs import profile
from fedward.indexing.pacs.deidentify import deidentify
from fedward.indexing.site_key import Kind, SiteKey
from tests.support.images.dicom_files import image, pattern, segmentation

KEY = SiteKey(b"k" * 32)
NAME = "Grzegorzewska"
NUMBER = "MRN-0048213"
SECRETS = (NAME, NAME.upper(), NUMBER, "OPERATORIUS", "99887766")


def named(**tags: Any) -> Dataset:
    """An image whose header names a patient and an operator."""
    people = {"PatientName": f"{NAME}^Anna", "OperatorsName": "OPERATORIUS", "AccessionNumber": "99887766"}
    return image(patient=NUMBER, **{**people, **tags})


def arrived(source: Dataset) -> Dataset:
    return dcmread(BytesIO(deidentify(source, KEY)))


def elements(dataset: Dataset) -> Iterator[DataElement]:
    yield from dataset.file_meta
    yield from dataset.iterall()


def written(source: Dataset) -> bytes:
    """The data set as the network gives it: written and read again, so that values are bytes until asked for."""
    file = BytesIO()
    source.save_as(file, enforce_file_format=True)
    return file.getvalue()


_TEXTS = ("LO", "SH", "PN", "UC", "UT", "ST", "LT", "CS", "UI", "DS", "IS", "AE", "DA", "DT", "TM", "AS")
_PLACES = [
    *(keyword for keywords in profile.KEPT.values() for keyword in keywords),
    *("ImageComments", "StationName", "OperatorsName", "RequestingPhysician", "ProtocolName", "TextValue"),
    *("LUTExplanation", "ContentSequence", "RequestAttributesSequence", "OtherPatientIDsSequence", "DeviceUID"),
]


def _holder(depth: int) -> st.SearchStrategy[Dataset]:
    return st.lists(_planted(depth), min_size=1, max_size=4).map(_collected)


def _collected(items: list[Any]) -> Dataset:
    made = Dataset()
    for item in items:
        made.add(item)
    return made


def _planted(depth: int) -> st.SearchStrategy[Any]:
    """An element that the table keeps or has never heard of, in which a name stands, or a sequence of such."""
    leaf = st.builds(_leaf, st.sampled_from(_PLACES), st.sampled_from(SECRETS), st.booleans())
    private = st.builds(
        lambda element, secret: DataElement((0x0009, element), "LO", secret),
        st.integers(0x1000, 0x10FF),
        st.sampled_from(SECRETS),
    )
    if depth == 0:
        return leaf | private
    deeper = st.builds(
        lambda keyword, items: DataElement(tag_for_keyword(keyword) or 0, "SQ", Sequence(items)),
        st.sampled_from([one for one in _PLACES if dictionary_VR(tag_for_keyword(one) or 0) == "SQ"]),
        st.lists(_holder(depth - 1), min_size=1, max_size=2),
    )
    return leaf | private | deeper | deeper


def _leaf(keyword: str, secret: str, surrounded: bool) -> RawDataElement:
    """The secret in an element; where its own kind cannot hold text, under a kind that can, as broken writers do."""
    tag: Any = tag_for_keyword(keyword)
    vr = dictionary_VR(tag)
    value = f"of {secret} today" if surrounded else secret
    if vr == "SQ":
        tag, vr = 0x00104000, "LT"
    coded = value.encode() + b" " * (len(value) % 2)
    return RawDataElement(Tag(tag), vr if vr in _TEXTS else "LO", len(coded), coded, 0, False, True)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(planted=st.lists(_planted(3), min_size=1, max_size=5))
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_nothing_that_is_planted_at_any_depth_comes_out(planted: list[Any]) -> None:
    source = named()
    for element in planted:
        if keyword_for_tag(element.tag) not in ("Rows", "Columns", "PixelData", "BitsAllocated", "SOPClassUID"):
            source.add(element)
    try:
        data = deidentify(source, KEY)
    except StudyError as refusal:
        assert not any(secret in str(refusal) for secret in SECRETS)
        return
    assert not [secret for secret in SECRETS if secret.encode() in data]
    for element in elements(dcmread(BytesIO(data))):
        assert element.tag.group == 2 or element.keyword in {*profile.CLEANED, *sum(profile.KEPT.values(), ())}


def test_an_instance_as_the_network_gives_it_is_not_changed_by_it() -> None:
    data = written(named(ImageComments=NAME))
    source = dcmread(BytesIO(data))
    deidentify(source, KEY)
    assert written(source) == data


def test_the_table_departs_from_the_standards_profile_only_where_it_says_so() -> None:
    standard = {group << 16 | element for group, element, *rest in initialize_actions("dicomfields_2026c") if not rest}
    ours = {*profile.KEPT_TAGS, *(tag_for_keyword(keyword) for keyword in profile.CLEANED)}
    assert {keyword_for_tag(tag) for tag in ours & standard if tag} == profile.EXCEPTIONS
    named_once = [keyword for keywords in profile.KEPT.values() for keyword in keywords] + list(profile.CLEANED)
    assert len(named_once) == len(set(named_once)) and all(tag_for_keyword(one) for one in named_once)


def test_every_attribute_of_the_standards_profile_goes_or_is_made_anew() -> None:
    source = named()
    for group, element, *rest in initialize_actions("dicomfields_2026c"):
        tag = group << 16 | element
        if rest or group == 2 or group % 2 or not keyword_for_tag(tag) or keyword_for_tag(tag) in profile.EXCEPTIONS:
            continue
        vr = dictionary_VR(tag)
        if vr in ("LO", "SH", "PN", "LT", "ST", "UT", "UC") and dictionary_VM(tag):
            source.add_new(tag, vr, "OPERATORIUS")
        elif vr in ("DA", "TM", "DT"):
            source.add_new(tag, vr, {"DA": "19991231", "TM": "235959", "DT": "19991231235959"}[vr])
    data = deidentify(source, KEY)
    assert b"OPERATORIUS" not in data and b"19991231" not in data and b"235959" not in data and b"20200101" not in data


def test_what_the_index_reads_is_what_it_was() -> None:
    source = named(
        PixelSpacing=[0.14, 0.14],
        WindowCenter=2048,
        WindowWidth=1000,
        Manufacturer="Röntgenwerk",
        BodyPartExamined="CHEST",
        PatientSex="F",
        PatientAge="044Y",
    )
    source.SpecificCharacterSet = "ISO_IR 100"
    got = arrived(source)
    assert got.Manufacturer == "Röntgenwerk" and got.BodyPartExamined == "CHEST" and got.PatientSex == "F"
    before, after = dicom_image(written(source)), dicom_image(deidentify(source, KEY))
    assert np.array_equal(before.pixels, after.pixels) and before.spacing_mm == after.spacing_mm == (0.14, 0.14)
    assert got.PatientIdentityRemoved == "YES" and got.LongitudinalTemporalInformationModified == "REMOVED"
    assert [code.CodeValue for code in got.DeidentificationMethodCodeSequence] == ["113100", "113108"]
    assert got.preamble == b"\0" * 128


@pytest.mark.parametrize(
    ("given", "left"),
    [
        ({"PatientAge": "044Y"}, "044Y"),
        ({"PatientAge": "089Y"}, "089Y"),
        ({"PatientAge": "090Y"}, "090Y"),
        ({"PatientAge": "104Y"}, "090Y"),
        ({"PatientAge": "030M"}, "002Y"),
        ({"PatientAge": "005D"}, "000Y"),
        ({"PatientBirthDate": "19500615", "StudyDate": "20200101"}, "069Y"),
        ({"PatientAge": "999Y"}, None),
        ({}, None),
    ],
)
def test_ages_are_whole_years_and_the_oldest_are_alike(given: dict[str, str], left: str | None) -> None:
    source = named()
    for keyword, value in given.items():
        source.add(DataElement(tag_for_keyword(keyword) or 0, dictionary_VR(keyword), value, config.IGNORE))
    got = arrived(source)
    assert got.get("PatientAge") == left and got.PatientBirthDate == got.StudyDate == ""


@settings(max_examples=100, deadline=None)
@given(identifier=st.text(string.printable, min_size=1, max_size=64), kind=st.sampled_from(Kind.__args__))  # type: ignore[attr-defined]
def test_a_uid_of_ours_has_the_pseudonym_of_what_it_stands_for(identifier: str, kind: Kind) -> None:
    uid = KEY.uid(kind, identifier)
    assert len(uid) <= 44 and KEY.pseudonym(kind, uid) == KEY.pseudonym(kind, identifier) and KEY.uid(kind, uid) == uid
    other = SiteKey(b"o" * 32)
    assert other.uid(kind, identifier) != uid and other.pseudonym(kind, uid) != KEY.pseudonym(kind, uid)
    for forged in (f"2.25.{int(uid[5:]) ^ 1}", f"2.25.0{uid[5:]}", f"{uid} ", "2.25.", "2.25.1", f"2.25.{2**128}"):
        assert KEY.pseudonym(kind, forged) != KEY.pseudonym(kind, identifier)


def test_a_mask_still_refers_to_its_image() -> None:
    source = named()
    mask = arrived(segmentation([source], {"Lung": np.eye(16, 12, dtype=bool)}))
    reference = mask.ReferencedSeriesSequence[0]
    assert (
        reference.SeriesInstanceUID == KEY.uid("series", source.SeriesInstanceUID) == arrived(source).SeriesInstanceUID
    )
    frame = mask.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0].SourceImageSequence[0]
    assert frame.ReferencedSOPInstanceUID == KEY.uid("image", source.SOPInstanceUID) == arrived(source).SOPInstanceUID
    assert mask.SegmentSequence[0].SegmentLabel == "Lung" and "DeviceSerialNumber" not in mask


def test_overlays_curves_private_groups_and_unused_bits_go() -> None:
    source = named(bits=12)
    stored = source.pixel_array.copy()
    words = np.frombuffer(source.PixelData, "<u2") | np.uint16(0xA000)
    source.PixelData = words.tobytes() + NAME.encode() + b"\0"
    source.add_new(0x60003000, "OW", NAME.encode() + b"\0")
    source.add_new(0x60000022, "LO", NAME)
    source.add_new(0x50003000, "OW", NAME.encode() + b"\0")
    source.private_block(0x0011, NAME, create=True).add_new(1, "LO", NAME)
    got = arrived(source)
    assert not [element for element in got if element.tag.group % 2 or element.tag.group >> 8 in (0x50, 0x60)]
    assert np.array_equal(got.pixel_array, stored)
    assert not np.any(np.frombuffer(got.PixelData, "<u2") & 0xF000) and NAME.encode() not in got.PixelData


@pytest.mark.parametrize("signed", [False, True])
def test_pixels_of_every_plain_kind_are_what_they_were(signed: bool) -> None:
    values = np.arange(-96, 96, dtype=np.int16).reshape(16, 12) if signed else None
    for syntax in ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"):
        source = named(bits=12) if values is None else image(values, patient=NUMBER, signed=True)
        if syntax.endswith(".2.2"):
            source.PixelData = np.frombuffer(source.PixelData, "<u2").astype(">u2").tobytes()
        source.file_meta.TransferSyntaxUID = syntax
        source = dcmread(BytesIO(written_as(source, syntax)))
        got = arrived(source)
        assert np.array_equal(got.pixel_array, source.pixel_array) and got.file_meta.TransferSyntaxUID == syntax


def written_as(source: Dataset, syntax: str) -> bytes:
    file = BytesIO()
    fresh = Dataset()
    fresh.update(source)
    fresh.file_meta = source.file_meta
    implicit, little = syntax == "1.2.840.10008.1.2", not syntax.endswith(".2.2")
    fresh.save_as(file, implicit_vr=implicit, little_endian=little, enforce_file_format=True)
    return file.getvalue()


def test_compressed_pixels_stay_as_they_are_and_their_comments_go() -> None:
    for syntax, comment in (
        (RLELossless, b""),
        (JPEG2000Lossless, b"\xff\x64" + (len(NAME) + 4).to_bytes(2, "big") + b"\0\1" + NAME.encode()),
    ):
        source = named(stored=pattern(shape=(64, 64)))
        source.compress(syntax, encoding_plugin="pylibjpeg", generate_instance_uid=False)
        stored = source.pixel_array.copy()
        if comment:
            frame = next(generate_frames(source.PixelData, number_of_frames=1))
            size = 4 + int.from_bytes(frame[4:6], "big")
            source.PixelData = encapsulate([frame[:size] + comment + frame[size:] + NAME.encode()])
            assert NAME.encode() in source.PixelData
        got = arrived(source)
        assert got.file_meta.TransferSyntaxUID == syntax and np.array_equal(got.pixel_array, stored)
        assert NAME.encode() not in deidentify(source, KEY)


def test_a_jpeg_keeps_its_picture_and_loses_exif_comment_and_tail() -> None:
    def segment(marker: int, content: bytes) -> bytes:
        return bytes((0xFF, marker)) + (len(content) + 2).to_bytes(2, "big") + content

    scan = segment(0xDA, b"\1\1\0\0\x3f\0") + b"\x12\xff\x00\x34"
    kept = [segment(0xE0, b"JFIF\0rest"), segment(0xEE, b"Adobe\0\0"), segment(0xDB, b"table"), segment(0xC0, b"frame")]
    told = [segment(0xE1, b"Exif\0\0" + NAME.encode()), segment(0xFE, NAME.encode())]
    frame = b"\xff\xd8" + kept[0] + told[0] + kept[1] + told[1] + kept[2] + kept[3] + scan + b"\xff\xd9" + NAME.encode()
    source = named(bits=8)
    source.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    source.PixelData = encapsulate([frame])
    source["PixelData"].is_undefined_length = True
    (left,) = generate_frames(arrived(source).PixelData, number_of_frames=1)
    assert left.rstrip(b"\0") == b"\xff\xd8" + b"".join(kept) + scan + b"\xff\xd9"


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"PatientID": ""}, "no-patient-id"),
        ({"SOPClassUID": "1.2.3.4"}, "unknown-class"),
        ({"SOPClassUID": None}, "unknown-class"),
        ({"PixelData": b"\xff\xd8 broken"}, "not-de-identified"),
    ],
)
def test_what_cannot_be_made_safe_is_refused(tags: dict[str, Any], reason: str) -> None:
    source = named(**tags)
    if "PixelData" in tags:
        source.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    with pytest.raises(StudyError) as refusal:
        deidentify(source, KEY)
    assert refusal.value.reason == reason and NUMBER not in str(refusal.value)


def test_a_transfer_syntax_of_which_nothing_is_known_is_refused() -> None:
    for syntax in (MPEG2MPML, "1.2.3.4.5"):
        source = named()
        source.file_meta.TransferSyntaxUID = syntax
        with pytest.raises(StudyError, match="not-de-identified"):
            deidentify(source, KEY)


def test_the_last_look_finds_what_the_table_let_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """Were the table wrong, UIDs would still not pass, and the standard's profile would still take names out."""
    wrong = {
        tag_for_keyword(one) for one in ("ReferencedSOPInstanceUID", "OperatorsName", "StudyDescription", "DeviceUID")
    }
    monkeypatch.setattr(profile, "KEPT_TAGS", frozenset({*profile.KEPT_TAGS, *wrong}))
    monkeypatch.setattr("fedward.indexing.pacs.deidentify._harmless", lambda element, known: True)
    got = arrived(named(OperatorsName="OPERATORIUS", StudyDescription=f"seen {NAME}"))
    assert got.get("OperatorsName", "") in ("", "ANONYMIZED") and NAME not in str(got.get("StudyDescription"))
    with pytest.raises(StudyError, match="identifier-left"):
        item = Dataset()
        item.DeviceUID = "1.2.3.4"
        deidentify(named(SourceImageSequence=[item]), KEY)


@pytest.mark.parametrize(
    ("tags", "burned"),
    [
        ({}, None),
        ({"BurnedInAnnotation": "NO"}, "NO"),
        ({"BurnedInAnnotation": "YES"}, "YES"),
        ({"SOPClassUID": SecondaryCaptureImageStorage, "BurnedInAnnotation": "NO"}, "YES"),
        ({"SOPClassUID": UltrasoundImageStorage, "modality": "US", "BurnedInAnnotation": "NO"}, "YES"),
        ({"modality": "CT", "ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}, "YES"),
        ({"modality": "CT", "ImageType": ["DERIVED", "SECONDARY", "DOSE_INFO"]}, "YES"),
        ({"modality": "CT", "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"]}, None),
        ({"ConversionType": "DF"}, "YES"),
        ({"ConversionType": "WSD"}, None),
    ],
)
def test_text_in_the_pixels_is_flagged(tags: dict[str, Any], burned: str | None) -> None:
    assert arrived(named(**tags)).get("BurnedInAnnotation") == burned
