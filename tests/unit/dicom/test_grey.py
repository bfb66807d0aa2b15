"""Padding, polarity, windows and rescale: what a network sees, and what the gate says about it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from fedward.dicom.header import parse
from fedward.dicom.image import series_image
from fedward.dicom.pixels import decode, judge, to_grey
from fedward.dicom.verdict import Verdict, is_blank
from fedward.errors import StudyError
from tests.support.images.dicom_files import as_bytes, image, pattern, series


def seen(dataset: Dataset) -> tuple[np.ndarray, Verdict]:
    header = parse(as_bytes(dataset))
    stored = decode(header)
    return to_grey(header, stored), judge(header, stored)


def padded(dataset: Dataset, kind: str, *ends: float, name: str = "PixelPadding") -> Dataset:
    for keyword, end in zip((f"{name}Value", f"{name}RangeLimit"), ends, strict=False):
        dataset.add_new(keyword, kind, end)
    return dataset


# ------------------------------------------------------------ padding

STEPS: list[dict[str, Any]] = [
    {},
    {"RescaleSlope": 2, "RescaleIntercept": -1024},
    {"RescaleSlope": -1, "RescaleIntercept": 50},
    {"WindowCenter": 2000, "WindowWidth": 3000},
]


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("modality", ["CR", "DX", "MG", "CT", "MR"])
@pytest.mark.parametrize("tags", STEPS)
def test_padding_is_background_in_every_modality_and_polarity(
    tags: dict[str, Any], modality: str, photometric: str
) -> None:
    stored = pattern(0) // 2 + 500
    stored[:, :4] = 4000
    plain, _ = seen(image(stored, modality=modality, photometric=photometric, **tags))
    found, verdict = seen(padded(image(stored, modality=modality, photometric=photometric, **tags), "US", 4000))
    own = stored != 4000
    np.testing.assert_array_equal(found[own], plain[own])
    np.testing.assert_array_equal(found[~own], plain[own].min())
    assert verdict == Verdict(blank=False)


@pytest.mark.parametrize(
    ("signed", "kind", "ends", "padding"),
    [
        (False, "US", (7,), [7]),
        (False, "US", (7, 9), [7, 8, 9]),
        (False, "US", (9, 7), [7, 8, 9]),
        (False, "US", (4095,), [4095]),
        (False, "SS", (-1,), [4095]),
        (True, "SS", (-2000,), [-2000]),
        (True, "SS", (-2000, -1998), [-2000, -1999, -1998]),
        (True, "SS", (-1998, -2000), [-2000, -1999, -1998]),
        (True, "US", (63_536,), [-2000]),
        (True, "US", (63_536, 63_538), [-2000, -1999, -1998]),
        (True, "US", (7,), [7]),
    ],
)
def test_padding_of_either_sign_and_in_either_order(
    signed: bool, kind: str, ends: tuple[int, ...], padding: list[int]
) -> None:
    low = -2048 if signed else 0
    stored = np.arange(low, low + 4096).reshape(64, 64)
    found, _ = seen(padded(image(stored, modality="CT", signed=signed), kind, *ends))
    changed = set(stored[found != stored].tolist())
    own = np.setdiff1d(stored, padding)
    assert changed == set(padding) - {own.min()}
    np.testing.assert_array_equal(found[np.isin(stored, padding)], own.min())


@pytest.mark.parametrize("bits", [8, 16])
def test_padding_of_another_width_than_the_pixels_is_wrapped(bits: int) -> None:
    """A writer that takes -1 for all bits set writes 65,535 or -1 for 8 bits too."""
    top = (1 << bits) - 1
    stored = np.array([[3, 4], [5, top]])
    for kind, value in (("US", 65_535), ("SS", -1)):
        found, _ = seen(padded(image(stored, bits=bits, modality="CT"), kind, value))
        np.testing.assert_array_equal(found, [[3, 4], [5, 3]])


def test_padding_of_32_bits_is_written_in_16() -> None:
    dataset = image(np.zeros((2, 2)), modality="CT", signed=True, BitsAllocated=32, BitsStored=32, HighBit=31)
    dataset.PixelData = np.array([[-2000, 5], [70_000, 6]], "<i4").tobytes()
    found, _ = seen(padded(dataset, "US", 63_536))
    np.testing.assert_array_equal(found, [[5, 5], [70_000, 6]])


@pytest.mark.parametrize(
    ("element", "type_", "name", "kind"),
    [
        ("FloatPixelData", "f4", "FloatPixelPadding", "FL"),
        ("DoubleFloatPixelData", "f8", "DoubleFloatPixelPadding", "FD"),
    ],
)
def test_padding_of_floats_does_not_stretch_their_range(element: str, type_: str, name: str, kind: str) -> None:
    dataset = image(np.zeros((2, 3)), modality="MR", photometric="MONOCHROME1", PixelData=None)
    dataset.BitsAllocated = 8 * int(type_[1])
    for keyword in ("BitsStored", "HighBit", "PixelRepresentation"):
        del dataset[keyword]
    setattr(dataset, element, np.array([[1, 2, 3], [-3e38, -1e38, np.nan]], type_).tobytes())
    found, _ = seen(padded(dataset, kind, -1e38, -3e38, name=name))
    np.testing.assert_array_equal(found, [[3, 2, 1], [1, 1, 1]])


def test_an_image_of_nothing_but_padding_is_blank() -> None:
    dataset = padded(image(pattern(0), modality="CT"), "US", 0, 4095)
    header = parse(as_bytes(dataset))
    stored = decode(header)
    assert judge(header, stored).blank
    with pytest.raises(StudyError) as refusal:
        to_grey(header, stored)
    assert refusal.value.reason == "blank-image"


def test_an_image_that_is_nearly_all_padding_is_blank() -> None:
    stored = np.full((200, 200), 4000)
    stored[:200, :200:2] = pattern(0, (200, 100))
    assert not seen(image(stored, modality="CT"))[1].blank
    assert seen(padded(image(stored, modality="CT"), "US", 40, 4095))[1].blank


def test_a_limit_without_a_value_is_no_padding() -> None:
    dataset = image(pattern(0), modality="CT")
    dataset.add_new("PixelPaddingRangeLimit", "US", 4095)
    np.testing.assert_array_equal(seen(dataset)[0], pattern(0))
    dataset.add_new("PixelPaddingValue", "US", None)
    np.testing.assert_array_equal(seen(dataset)[0], pattern(0))


def test_padding_of_several_values_is_refused() -> None:
    with pytest.raises(StudyError, match=r"PixelPaddingValue \(0028,0120\) or its range limit is not one number"):
        seen(padded(image(modality="CT"), "US", [1, 2]))


def test_background_of_a_series_is_the_least_value_of_the_volume() -> None:
    slices = series(4)
    for dataset in slices:
        corner = dataset.pixel_array.copy()
        corner[0, 0] = 4000
        dataset.PixelData = corner.tobytes()
        padded(dataset, "US", 4000)
    slices[1].PixelData = np.full((8, 6), 4000, np.uint16).tobytes()  # a slice of padding only
    volume = series_image([as_bytes(one) for one in slices]).pixels
    least = min(int(slices[0].pixel_array.ravel()[1:].min()), 4000)
    assert (volume[:, 0, 0] == least).all()
    assert (volume[1] == least).all()
    for dataset in slices:
        dataset.PixelData = np.full((8, 6), 4000, np.uint16).tobytes()
    with pytest.raises(StudyError) as refusal:
        series_image([as_bytes(one) for one in slices])
    assert refusal.value.reason == "blank-image"


# ------------------------------------------------------------ polarity


@pytest.mark.parametrize(("photometric", "shape"), [("MONOCHROME1", "INVERSE"), ("MONOCHROME2", "IDENTITY")])
def test_a_presentation_shape_that_agrees_inverts_nothing_twice(photometric: str, shape: str) -> None:
    plain, _ = seen(image(photometric=photometric))
    found, _ = seen(image(photometric=photometric, PresentationLUTShape=shape))
    np.testing.assert_array_equal(found, plain)


@pytest.mark.parametrize(("photometric", "shape"), [("MONOCHROME2", "INVERSE"), ("MONOCHROME1", "IDENTITY")])
def test_a_presentation_shape_that_contradicts_is_refused(photometric: str, shape: str) -> None:
    with pytest.raises(StudyError, match=rf"\(2050,0020\) {shape} contradicts {photometric}"):
        seen(image(photometric=photometric, PresentationLUTShape=shape))


# ------------------------------------------------------------ windows


def radiograph(black: float, *, seed: int = 0, shape: tuple[int, int] = (300, 200)) -> np.ndarray:
    """Values of 1,000 to 3,000, a part of which is below 1,100 and the rest above 1,200."""
    rng = np.random.default_rng(seed)
    part = rng.random(shape) < black
    return np.where(part, rng.integers(1000, 1100, shape), rng.integers(1200, 3000, shape))


@settings(max_examples=40, deadline=None)
@given(
    black=st.floats(0, 1),
    seed=st.integers(0, 99),
    photometric=st.sampled_from(["MONOCHROME1", "MONOCHROME2"]),
    function=st.sampled_from(["LINEAR", "LINEAR_EXACT"]),
)
def test_a_window_is_judged_alike_at_the_index_and_at_loading(
    black: float, seed: int, photometric: str, function: str
) -> None:
    stored = radiograph(black, seed=seed)
    tags = {"WindowCenter": 600, "WindowWidth": 1101, "VOILUTFunction": function}  # white from 1,150 on
    plain, _ = seen(image(stored, photometric=photometric))
    found, verdict = seen(image(stored, photometric=photometric, **tags))
    white = float(np.mean(stored > 1150))
    ignored = np.array_equal(found, plain)
    assert (verdict.flags == ("window-ignored",)) == ignored
    if abs(white - 0.99) > 0.01:
        assert ignored == (white > 0.99)
    if abs(white - 0.9) > 0.02 and white < 0.98:
        assert verdict.flags == (("window-saturates",) if white > 0.9 else ())
    assert verdict.blank is False
    assert not is_blank(found)


@pytest.mark.parametrize(
    "tags",
    [
        {"WindowCenter": 127, "WindowWidth": 255},
        {"WindowCenter": 20_000, "WindowWidth": 400},
        {"WindowCenter": 100, "WindowWidth": 0},
        {"WindowCenter": 100, "WindowWidth": -5},
        {"WindowCenter": 100, "WindowWidth": None},
        {"WindowCenter": 2000, "WindowWidth": 3000, "VOILUTFunction": "OTHER"},
    ],
)
def test_a_window_that_shows_nothing_or_cannot_be_applied_is_ignored_and_said(tags: dict[str, Any]) -> None:
    stored = radiograph(0.5)
    stored.flat[:3] = 0
    found, verdict = seen(image(stored, **tags))
    np.testing.assert_array_equal(found, stored)
    assert verdict == Verdict(blank=False, flags=("window-ignored",))


def test_padding_does_not_hide_that_a_window_shows_nothing() -> None:
    stored = radiograph(0)
    stored[:150] = 0
    found, verdict = seen(padded(image(stored, WindowCenter=127, WindowWidth=255), "US", 0))
    assert verdict.flags == ("window-ignored",)
    np.testing.assert_array_equal(found[150:], stored[150:])


def test_an_image_that_is_saturated_without_its_window_is_not_flagged() -> None:
    stored = np.where(np.random.default_rng(0).random((100, 100)) < 0.05, 1000, 4095)
    assert seen(image(stored, WindowCenter=2048, WindowWidth=4096))[1] == Verdict(blank=False)


def test_frames_with_slopes_of_their_own_are_judged_with_them() -> None:
    """Stored values that differ and grey values that do not."""
    frames = np.stack([np.full((100, 100), 1 << frame) for frame in range(8)])
    dataset = image(frames, modality="MR")
    dataset.PerFrameFunctionalGroupsSequence = [_group(1 / (1 << frame)) for frame in range(8)]
    found, verdict = seen(dataset)
    assert (found == 1).all()
    assert verdict.blank
    dataset.PerFrameFunctionalGroupsSequence = [_group(1) for _ in range(8)]
    assert not seen(dataset)[1].blank


@pytest.mark.parametrize("tags", [{"RescaleSlope": "1e-9", "RescaleIntercept": "1000"}, {"RescaleIntercept": "1e13"}])
def test_values_that_float32_cannot_keep_apart_are_one_value(tags: dict[str, str]) -> None:
    found, verdict = seen(image(modality="CT", **tags))
    assert len(np.unique(found)) == 1
    assert verdict.blank


def _group(slope: float) -> Dataset:
    group, step = Dataset(), Dataset()
    step.RescaleSlope, step.RescaleIntercept = f"{slope:.8g}", 0
    group.PixelValueTransformationSequence = [step]
    return group


# ------------------------------------------------------------ rescale and photometric interpretation


@pytest.mark.parametrize("keyword", ["RescaleSlope", "RescaleIntercept"])
def test_a_rescale_that_is_no_number_is_refused(keyword: str) -> None:
    data = as_bytes(image(modality="CT", RescaleSlope="11.", RescaleIntercept="11."))
    at = data.index(
        b"11.", data.index({"RescaleSlope": b"\x28\0\x53\x10", "RescaleIntercept": b"\x28\0\x52\x10"}[keyword])
    )
    header = parse(data[:at] + b"no." + data[at + 3 :])
    with pytest.raises(StudyError, match=rf"{keyword} \(0028,105\d\) is not a number"):
        to_grey(header, decode(header))


@pytest.mark.parametrize(
    ("kind", "samples"),
    [
        ("HSV", 3), ("ARGB", 4), ("CMYK", 4), ("OTHER", 1), ("", 1), ("MONOCHROME2", 3), ("MONOCHROME1", 3), ("RGB", 1),
        ("PALETTE COLOR", 3), ("YBR_FULL", 1), ("YBR_RCT", 3), ("YBR_ICT", 3), ("YBR_PARTIAL_422", 3),
        ("YBR_PARTIAL_420", 3), ("MONOCHROME", 1),
    ],
)  # fmt: skip
def test_what_has_no_reader_or_not_its_samples_is_refused(kind: str, samples: int) -> None:
    dataset = image(
        np.zeros((4, 4, samples) if samples > 1 else (4, 4)), bits=8, photometric="RGB" if samples > 1 else ""
    )
    dataset.PhotometricInterpretation, dataset.SamplesPerPixel, dataset.PlanarConfiguration = kind, samples, 0
    with pytest.raises(StudyError) as refusal:
        decode(parse(as_bytes(dataset)))
    assert refusal.value.reason == "undecodable"
    assert "Error" not in refusal.value.detail


@pytest.mark.parametrize("kind", ["RGB", "YBR_FULL"])
@pytest.mark.parametrize("planar", [0, 1])
def test_colour_in_both_orders(kind: str, planar: int) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (6, 4, 3))
    dataset = image(np.moveaxis(colours, 2, 0).reshape(6, 4, 3) if planar else colours, bits=8, photometric=kind)
    dataset.PlanarConfiguration = planar
    expected = colours @ [0.299, 0.587, 0.114] if kind == "RGB" else None
    found, _ = seen(dataset)
    if expected is not None:
        np.testing.assert_allclose(found, expected, rtol=1e-5)
    else:
        inside = (
            (colours[..., 1:] > 110).all(-1) & (colours[..., 1:] < 146).all(-1) & (abs(colours[..., 0] - 128.0) < 60)
        )
        np.testing.assert_allclose(found[inside], colours[..., 0][inside], atol=1.5)  # Y is the luminance
