"""Stored values -> grey: by hand, against pydicom's own steps, and for every way of storing the same picture."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_modality_lut, apply_voi, apply_windowing
from pydicom.pixels.utils import pixel_array
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless, RLELossless

from fedward.dicom.header import parse
from fedward.dicom.pixels import MAX_VOXELS, decode, to_grey
from fedward.errors import StudyError
from tests.support.dicom_files import as_bytes, image, pattern


def grey(dataset: Dataset) -> np.ndarray:
    header = parse(as_bytes(dataset))
    return to_grey(header, decode(header))


@pytest.mark.parametrize("bits", range(8, 17))
def test_stored_values_come_back_and_monochrome1_is_turned_round(bits: int) -> None:
    stored = pattern(bits, bits=bits)
    np.testing.assert_array_equal(grey(image(stored, bits=bits)), stored)
    inverted = grey(image(stored, bits=bits, photometric="MONOCHROME1"))
    np.testing.assert_array_equal(inverted, (1 << bits) - 1 - stored)
    assert inverted.dtype == np.float32


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_signed_values(bits: int) -> None:
    stored = pattern(bits, bits=bits) - (1 << (bits - 1))
    np.testing.assert_array_equal(grey(image(stored, bits=bits, signed=True, modality="CT")), stored)
    turned = grey(image(stored, bits=bits, signed=True, modality="CT", photometric="MONOCHROME1"))
    np.testing.assert_array_equal(turned, -1 - stored)


@pytest.mark.parametrize("signed", [False, True])
def test_bits_above_those_stored_are_cleared_as_pydicom_does(signed: bool) -> None:
    dataset = image(np.zeros((16, 12)), signed=signed)
    dataset.PixelData = np.random.default_rng(0).integers(0, 1 << 16, (16, 12), dtype=np.uint16).tobytes()
    header = parse(as_bytes(dataset))
    np.testing.assert_array_equal(decode(header).values, pixel_array(header))
    assert np.abs(decode(header).values.astype(int)).max() < 4096


def test_rescale_by_hand() -> None:
    dataset = image([[0, 1], [2, 4095]], RescaleSlope=2, RescaleIntercept=-10)
    np.testing.assert_array_equal(grey(dataset), [[-10, -8], [-6, 8180]])
    dataset.PhotometricInterpretation = "MONOCHROME1"
    np.testing.assert_array_equal(grey(dataset), [[8180, 8178], [8176, -10]])


@pytest.mark.parametrize("slope", [0, "", None])
def test_a_slope_of_nought_or_none_is_one(slope: object) -> None:
    np.testing.assert_array_equal(
        grey(image([[1, 2], [3, 4]], RescaleSlope=slope, RescaleIntercept=5)), [[6, 7], [8, 9]]
    )


@settings(max_examples=60, deadline=None)
@given(
    centre=st.floats(-500, 5000),
    width=st.floats(1.5, 6000),
    function=st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID", None]),
    slope=st.sampled_from([1.0, 0.5, 3.0]),
    intercept=st.sampled_from([0.0, -1024.0]),
)
def test_window_of_a_radiograph_is_pydicoms(
    centre: float, width: float, function: str | None, slope: float, intercept: float
) -> None:
    dataset = image(
        WindowCenter=float(f"{centre:.4f}"),
        WindowWidth=float(f"{width:.4f}"),
        VOILUTFunction=function,
        RescaleSlope=slope,
        RescaleIntercept=intercept,
    )
    with np.errstate(over="ignore"):  # in the reference's own exponential
        expected = apply_windowing(apply_modality_lut(pixel_array(dataset), dataset), dataset)
    if np.unique(expected.astype(np.float32), return_counts=True)[1].max() >= 0.99 * expected.size:
        expected = apply_modality_lut(pixel_array(dataset), dataset)
    elif np.ptp(expected) < 1e-3 * slope * 4095:
        return  # float32 leaves too little of the range to compare
    np.testing.assert_allclose(grey(dataset), expected, atol=2e-3 * slope * 4095)


def test_of_several_windows_the_first_counts() -> None:
    both = grey(image(WindowCenter=[1000, 50], WindowWidth=[800, 10]))
    np.testing.assert_array_equal(both, grey(image(WindowCenter=1000, WindowWidth=800)))
    assert not np.array_equal(both, grey(image(WindowCenter=50, WindowWidth=10)))


@pytest.mark.parametrize("modality", ["CT", "MR", "PT", "US"])
def test_a_window_is_not_applied_where_values_have_a_unit(modality: str) -> None:
    windowed = image(modality=modality, WindowCenter=100, WindowWidth=50)
    np.testing.assert_array_equal(grey(windowed), pattern())


@pytest.mark.parametrize(("centre", "width"), [(100, 0), (100, -5), (100, 1), (90_000, 10), ("", "")])
def test_a_window_that_shows_nothing_is_ignored(centre: object, width: object) -> None:
    np.testing.assert_array_equal(grey(image(WindowCenter=centre, WindowWidth=width)), pattern())


def lut(values: np.ndarray, first: int, bits: int) -> list[Dataset]:
    table = Dataset()
    table.add_new("LUTDescriptor", "US", [len(values), first, bits])
    table.add_new("LUTData", "US", [int(one) for one in values])
    table.ModalityLUTType = "US"
    return [table]


@pytest.mark.parametrize("first", [0, 700])
def test_look_up_tables_are_pydicoms(first: int) -> None:
    values = np.sqrt(np.linspace(0, 1, 3000)) * 65535
    dataset = image(VOILUTSequence=lut(values, first, 16))
    np.testing.assert_array_equal(grey(dataset), apply_voi(pixel_array(dataset), dataset))
    dataset = image(modality="CT", ModalityLUTSequence=lut(values, first, 16))
    np.testing.assert_array_equal(grey(dataset), apply_modality_lut(pixel_array(dataset), dataset))


@settings(max_examples=25, deadline=None)
@given(
    bits=st.integers(8, 16),
    seed=st.integers(0, 99),
    window=st.sampled_from([None, (0.3, 0.5), (0.6, 0.9)]),
)
def test_the_same_picture_stored_inverted_reads_the_same(
    bits: int, seed: int, window: tuple[float, float] | None
) -> None:
    stored, top = pattern(seed, bits=bits), (1 << bits) - 1
    tags = {} if window is None else {"VOILUTFunction": "LINEAR_EXACT", "WindowWidth": round(window[1] * top)}
    centre = None if window is None else round(window[0] * top)
    plain = grey(image(stored, bits=bits, WindowCenter=centre, **tags))
    turned = grey(
        image(
            top - stored,
            bits=bits,
            photometric="MONOCHROME1",
            WindowCenter=None if centre is None else top - centre,
            **tags,
        )
    )
    np.testing.assert_allclose(turned, plain, atol=1e-3 * top)


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless])
@pytest.mark.parametrize(("bits", "photometric"), [(8, "MONOCHROME2"), (12, "MONOCHROME1"), (16, "MONOCHROME2")])
def test_compression_without_loss_changes_nothing(syntax: str, bits: int, photometric: str) -> None:
    stored = pattern(bits, shape=(64, 48), bits=bits)
    plain = image(stored, bits=bits, photometric=photometric)
    packed = image(stored, bits=bits, photometric=photometric)
    packed.compress(syntax)
    np.testing.assert_array_equal(grey(packed), grey(plain))


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_other_encodings_read_the_same(syntax: str) -> None:
    dataset = image()
    if syntax == ExplicitVRBigEndian:
        dataset.PixelData = pattern().astype(">u2").tobytes()
    dataset.file_meta.TransferSyntaxUID = syntax
    np.testing.assert_array_equal(grey(dataset), pattern())


def test_colour_becomes_luminance_by_hand() -> None:
    rgb = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [100, 100, 100]]], dtype=np.uint8)
    expected = [[0.299 * 255, 0.587 * 255], [0.114 * 255, 100]]
    np.testing.assert_allclose(grey(image(rgb, bits=8, photometric="RGB")), expected, rtol=1e-5)


def test_of_a_colour_film_the_first_frame_counts() -> None:
    frames = np.zeros((3, 4, 5, 3), dtype=np.uint8)
    frames[0] = 90
    assert grey(image(frames, bits=8, photometric="RGB")).shape == (4, 5)
    np.testing.assert_allclose(grey(image(frames, bits=8, photometric="RGB")), 90, rtol=1e-6)


def test_grey_frames_become_a_volume() -> None:
    frames = np.stack([pattern(n) for n in range(3)])
    np.testing.assert_array_equal(grey(image(frames, modality="MR")), frames)


def test_not_a_number_becomes_the_least_value() -> None:
    dataset = image(np.zeros((2, 2)), modality="MR", PixelData=None, BitsAllocated=32, BitsStored=None, HighBit=None)
    dataset.FloatPixelData = np.array([[1, np.nan], [-3, np.inf]], dtype=np.float32).tobytes()
    np.testing.assert_array_equal(grey(dataset), [[1, -3], [-3, -3]])


BUNDLED = [
    "CT_small.dcm", "MR_small.dcm", "MR_small_RLE.dcm", "MR_small_bigendian.dcm", "MR_small_implicit.dcm",
    "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm", "MR_small_padded.dcm", "JPEG2000.dcm",
    "JPEGLSNearLossless_08.dcm", "JPEGLSNearLossless_16.dcm", "693_J2KI.dcm", "image_dfl.dcm", "rtdose_1frame.dcm",
    "rtdose_rle_1frame.dcm", "rtdose.dcm", "examples_overlay.dcm", "J2K_pixelrep_mismatch.dcm",
]  # fmt: skip


@pytest.mark.parametrize("name", BUNDLED)
def test_pydicoms_own_files_decode_as_pydicom_says(name: str) -> None:
    path = Path(str(get_testdata_file(name, download=False)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the reference's own remarks on these files
        reference = pydicom.dcmread(path)
        expected = pixel_array(reference)
    stored = decode(parse(path.read_bytes()))
    np.testing.assert_array_equal(stored.values, expected)
    assert stored.low <= expected.min()
    assert expected.max() <= stored.high


@pytest.mark.parametrize(
    ("reason", "tags"),
    [
        ("no-pixels", {"PixelData": None}),
        ("no-pixels", {"PixelData": b""}),
        ("truncated", {"PixelData": b"\0" * 100}),
        ("undecodable", {"Rows": None}),
        ("undecodable", {"Rows": 0}),
        ("undecodable", {"NumberOfFrames": MAX_VOXELS}),
        ("undecodable", {"PhotometricInterpretation": None}),
        ("undecodable", {"BitsAllocated": 7}),
    ],
)
def test_what_cannot_be_decoded_is_refused_with_its_reason(reason: str, tags: dict[str, object]) -> None:
    with pytest.raises(StudyError) as refusal:
        decode(parse(as_bytes(image(**tags))))
    assert refusal.value.reason == reason


def test_a_small_file_that_promises_a_large_image_is_refused_before_memory_is_taken() -> None:
    dataset = image()
    dataset.compress(RLELossless)
    dataset.Rows = dataset.Columns = 16_000
    with pytest.raises(StudyError) as refusal:
        decode(parse(as_bytes(dataset)))
    assert refusal.value.reason == "undecodable"
