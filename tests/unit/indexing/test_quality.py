"""The gate: a reason for each fault, tolerance for what may be absent, and never an exception, whatever the bytes."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from fedward.dicom.header import named
from fedward.dicom.verdict import is_blank
from fedward.indexing.quality import FileFacts, age_decade, examine
from fedward.indexing.reasons import REASONS
from tests.support.images.dicom_files import (
    as_bytes,
    image,
    pattern,
    save,
    save_nifti,
    seen,
    segmentation,
    series,
    site,
)

SECRET = "ZZ-SECRET-9"


def judge(root: Path, dataset: Dataset | bytes, role: str = "image", name: str = "a.dcm", **cohort: Any) -> FileFacts:
    folder = root / "images"
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(dataset if isinstance(dataset, bytes) else as_bytes(dataset))
    return examine(seen(name, role), folder, site(root, **cohort).cohorts["chest"])


def test_a_sound_image(tmp_path: Path) -> None:
    dataset = image(
        PixelSpacing=[0.5, 0.6], Manufacturer="  Acme  X ", PatientSex="F", PatientAge="047Y", BodyPartExamined="CHEST"
    )
    found = judge(tmp_path, dataset, modalities=("CR",), body_parts=("chest",))
    assert (found.reason, found.shape, found.spacing_mm) == ("", (16, 12), (0.5, 0.6))
    assert (found.patient, found.instance, found.modality) == ("P1", dataset.SOPInstanceUID, "CR")
    assert (found.manufacturer, found.sex, found.age_decade) == ("Acme X", "F", 40)
    assert pickle.loads(pickle.dumps(found)) == found


OPTIONAL = [
    "StudyDescription", "BodyPartExamined", "PatientSex", "PatientName", "PatientBirthDate", "StudyDate",
    "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "Modality", "InstanceNumber",
    "HighBit", "FrameOfReferenceUID", "AccessionNumber",
]  # fmt: skip


@pytest.mark.parametrize("keyword", OPTIONAL)
def test_what_is_optional_may_be_absent(tmp_path: Path, keyword: str) -> None:
    data = image(**{keyword: None})
    data.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
    data.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    found = judge(tmp_path, data, body_parts=("CHEST",))
    assert found.reason == ""
    assert found.instance
    assert found.study


@pytest.mark.parametrize(
    ("reason", "tags", "cohort"),
    [
        ("no-pixels", {"PixelData": None}, {}),
        ("truncated", {"PixelData": b"\1" * 80}, {}),
        ("undecodable", {"BitsAllocated": 7}, {}),
        ("missing-patient-id", {"PatientID": None}, {}),
        ("missing-patient-id", {"PatientID": "  "}, {}),
        ("wrong-modality", {}, {"modalities": ("DX", "MG")}),
        ("wrong-modality", {"Modality": None}, {"modalities": ("CR",)}),
        ("wrong-body-part", {"BodyPartExamined": "KNEE"}, {"body_parts": ("CHEST",)}),
        ("burned-in-annotation", {"BurnedInAnnotation": "YES"}, {"exclude_burned_in": True}),
        ("not-an-image", {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.66.4"}, {}),
    ],
)
def test_each_fault_has_its_reason(tmp_path: Path, reason: str, tags: dict[str, Any], cohort: dict[str, Any]) -> None:
    found = judge(tmp_path, image(patient=SECRET, **tags), **cohort)
    assert found.reason == reason
    assert SECRET not in found.detail
    assert found.sha256


def test_burned_in_annotation_is_a_remark_unless_the_policy_excludes_it(tmp_path: Path) -> None:
    assert judge(tmp_path, image(BurnedInAnnotation="YES")).flags == ("burned-in-annotation",)
    assert judge(tmp_path, image(BurnedInAnnotation="NO"), exclude_burned_in=True).flags == ()


def test_a_film_in_colour_is_marked(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (3, 9, 8, 3))
    found = judge(tmp_path, image(frames, bits=8, photometric="RGB"))
    assert (found.shape, found.flags) == ((9, 8), ("colour", "first-frame-only"))


@pytest.mark.parametrize(
    ("stored", "blank"),
    [
        (np.full((40, 40), 7), True),
        (np.where(np.arange(1600).reshape(40, 40) < 10, 9, 7), True),
        (np.where(np.arange(1600).reshape(40, 40) < 40, 9, 7), False),
        (np.arange(1600).reshape(40, 40), False),
        (np.full((40, 40), np.nan), True),
        (np.array([[1.0, np.nan], [2.0, 3.0]]), False),
    ],
)
def test_blank(stored: np.ndarray, blank: bool) -> None:
    assert is_blank(stored) is blank


def test_a_blank_image_is_refused_but_a_blank_slice_is_not(tmp_path: Path) -> None:
    blank = image(np.full((16, 12), 3), modality="CT")
    assert judge(tmp_path, blank).reason == "blank-image"
    found = judge(tmp_path, blank, volumes=True)
    assert (found.reason, found.blank) == ("", True)
    frames = image(np.full((4, 16, 12), 3), modality="CT")
    assert judge(tmp_path, frames, volumes=True).reason == "blank-image"


def test_an_image_is_judged_as_a_network_will_see_it(tmp_path: Path) -> None:
    """Blank by its padding and by its look-up table, or not blank without a window that shows nothing."""
    stored = np.where(np.arange(1600).reshape(40, 40) < 1590, 4000, np.arange(1600).reshape(40, 40))
    mostly = image(np.where(stored == 4000, pattern(0, (40, 40)) // 2 + 2048, stored), modality="CT")
    assert judge(tmp_path, mostly).reason == ""
    mostly.add_new("PixelPaddingValue", "US", 2000)
    mostly.add_new("PixelPaddingRangeLimit", "US", 4095)
    assert judge(tmp_path, mostly).reason == "blank-image"
    assert judge(tmp_path, mostly, volumes=True).blank
    table = Dataset()
    table.add_new("LUTDescriptor", "US", [4, 0, 8])
    table.add_new("LUTData", "OW", bytes([7, 7, 7, 7]))
    assert judge(tmp_path, image(modality="CT", ModalityLUTSequence=[table])).reason == "blank-image"
    shown = judge(tmp_path, image(VOILUTSequence=[table]))
    assert (shown.reason, shown.flags) == ("", ("window-ignored",))
    assert judge(tmp_path, image(WindowCenter=2000, WindowWidth=4000)).flags == ()


def test_a_window_that_saturates_is_a_remark(tmp_path: Path) -> None:
    stored = np.where(np.arange(1600).reshape(40, 40) % 20 == 0, 100, pattern(0, (40, 40)) // 2 + 2048)
    found = judge(tmp_path, image(stored, WindowCenter=1000, WindowWidth=2000, BurnedInAnnotation="YES"))
    assert (found.reason, found.flags) == ("", ("burned-in-annotation", "window-saturates"))


@pytest.mark.parametrize(
    "absent",
    ["Rows", "Columns", "BitsAllocated", "BitsStored", "PixelRepresentation", "SamplesPerPixel",
     "PhotometricInterpretation"],
)  # fmt: skip
def test_an_absent_required_element_is_named(tmp_path: Path, absent: str) -> None:
    found = judge(tmp_path, image(**{absent: None}))
    assert (found.reason, found.detail) == ("undecodable", f"{named(absent)} is absent")


def test_an_absent_order_of_colours_is_named(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 255, (9, 8, 3))
    found = judge(tmp_path, image(colours, bits=8, photometric="RGB", PlanarConfiguration=None))
    assert (found.reason, found.detail) == ("undecodable", "PlanarConfiguration (0028,0006) is absent")


def test_a_blank_nifti_is_refused_and_an_empty_mask_is_not(tmp_path: Path) -> None:
    data = save_nifti(np.zeros((4, 4, 4), dtype=np.uint8), tmp_path / "a.nii.gz").read_bytes()
    assert judge(tmp_path, data, name="a.nii.gz").reason == "blank-image"
    assert judge(tmp_path, data, role="mask", name="a.nii.gz").reason == ""


def test_a_nifti_file_is_known_by_its_name(tmp_path: Path) -> None:
    data = save_nifti(pattern(shape=(4, 5, 6)).astype(np.int16), tmp_path / "a.nii.gz").read_bytes()
    found = judge(tmp_path, data, name="case_7.nii.gz", modalities=("MR",))
    assert (found.reason, found.shape) == ("", (6, 5, 4))
    assert found.spacing_mm == pytest.approx((2.0, 0.6, 0.5))


def test_a_mask_folder_holds_masks(tmp_path: Path) -> None:
    sources = series(3)
    made = segmentation(sources, {"Liver": np.ones((3, 8, 6), dtype=bool)})
    found = judge(tmp_path, made, role="mask")
    assert (found.reason, found.shape) == ("", (8, 6))
    assert found.referenced_series == (sources[0].SeriesInstanceUID,)
    named = frozenset().union(*(place.instances for place in found.mask_frames))
    assert named == {str(one.SOPInstanceUID) for one in sources}
    assert judge(tmp_path, image(), role="mask").reason == "mask-misfit"
    del made.PerFrameFunctionalGroupsSequence
    assert judge(tmp_path, made, role="mask").reason == "mask-misfit"


def test_a_segmentation_among_the_images_is_a_mask_where_both_are_one_folder(tmp_path: Path) -> None:
    made = segmentation(series(3), {"Liver": np.ones((3, 8, 6), dtype=bool)})
    assert judge(tmp_path, made).reason == "not-an-image"
    found = judge(tmp_path, made, masks=tmp_path / "images")
    assert (found.reason, len(found.mask_frames)) == ("", 3)


@pytest.mark.parametrize(
    ("tags", "decade"),
    [
        ({"PatientAge": "047Y"}, 40),
        ({"PatientAge": "018M"}, 0),
        ({"PatientAge": "003W"}, 0),
        ({"PatientAge": "130M"}, 10),
        ({"PatientAge": "089Y"}, 80),
        ({"PatientAge": "104Y"}, 90),
        ({"PatientAge": "old"}, None),
        ({"PatientBirthDate": "19500615", "StudyDate": "20200614"}, 60),
        ({"PatientBirthDate": "19500615", "StudyDate": "20200615"}, 70),
        ({"PatientBirthDate": "20300615", "StudyDate": "20200615"}, None),
        ({"PatientBirthDate": "1950", "StudyDate": "20200615"}, None),
        ({}, None),
    ],
)
def test_age_is_cut_to_ten_years(tags: dict[str, str], decade: int | None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's remark on "old"
        assert age_decade(image(**tags)) == decade


def test_every_reason_has_an_explanation() -> None:
    assert all(reason == reason.lower() and " " not in reason for reason in REASONS)
    assert all(explanation and explanation[-1] != "." for explanation in REASONS.values())


# ------------------------------------------------------------ hostile bytes

_PACKED = image(pattern(shape=(64, 48)))
_PACKED.compress(RLELossless)
_JPEG2000 = image(pattern(shape=(64, 48)))
_JPEG2000.compress(JPEG2000Lossless)
_JPEGLS = image(pattern(shape=(64, 48)))
_JPEGLS.compress(JPEGLSLossless)
WHOLE = {
    "plain": as_bytes(image()),
    "rle": as_bytes(_PACKED),
    "jpeg2000": as_bytes(_JPEG2000),
    "jpegls": as_bytes(_JPEGLS),
}
NAMED = st.sampled_from(sorted(WHOLE))
MANY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def must_be_judged(root: Path, data: bytes, capfd: pytest.CaptureFixture[str]) -> FileFacts:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = judge(root, data)
    assert found.reason == "" or found.reason in REASONS
    assert capfd.readouterr() == ("", "")
    return found


@MANY
@given(name=NAMED, part=st.floats(0, 0.999))
@example(name="plain", part=0.0)
def test_a_file_cut_short_anywhere_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str, part: float
) -> None:
    data = WHOLE[name]
    found = must_be_judged(tmp_path, data[: int(len(data) * part)], capfd)
    assert found.reason in ("truncated", "unreadable", "no-pixels", "undecodable", "missing-patient-id")


@MANY
@given(data=st.binary(max_size=400), start=st.sampled_from([b"", b"\0" * 128 + b"DICM", b"\x08\0", b"\x02\0"]))
def test_garbage_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str], data: bytes, start: bytes) -> None:
    assert must_be_judged(tmp_path, start + data, capfd).reason


@MANY
@given(changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=8))
def test_flipped_bytes_are_judged(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], changes: list[tuple[int, int]]
) -> None:
    data = bytearray(WHOLE["plain"])
    for at, byte in changes:
        data[at % len(data)] = byte
    must_be_judged(tmp_path, bytes(data), capfd)


ODD = [
    "badVR.dcm", "MR_truncated.dcm", "rtplan_truncated.dcm", "no_meta.dcm", "meta_missing_tsyntax.dcm", "test-SR.dcm",
    "UN_sequence.dcm", "ExplVR_BigEndNoMeta.dcm", "waveform_ecg.dcm", "rtstruct.dcm", "nested_priv_SQ.dcm",
    "JPGExtended.dcm", "empty_charset_LEI.dcm", "zipMR.gz", "README.txt",
]  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_pydicoms_odd_files_are_judged_in_silence(tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str) -> None:
    path = get_testdata_file(name, download=False) or get_testdata_file("CT_small.dcm")
    must_be_judged(tmp_path, Path(str(path)).read_bytes(), capfd)


def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    save(image(), tmp_path / "images" / "a.dcm")
    (tmp_path / "images" / "a.dcm").unlink()
    (tmp_path / "images" / "a.dcm").symlink_to(tmp_path / "nowhere")
    found = examine(seen("a.dcm"), tmp_path / "images", site(tmp_path).cohorts["chest"])
    assert (found.reason, found.detail) == ("unreadable", "no such file")
