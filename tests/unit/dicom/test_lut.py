"""Look-up tables in every form that the standard allows and writers use; malformed ones are refused with numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from fedward.dicom.header import parse
from fedward.dicom.pixels import decode, to_grey
from fedward.errors import StudyError
from tests.support.images.dicom_files import as_bytes, image


def table(entries: Any, first: int, bits: int, *, form: str = "words", big: bool = False, kind: str = "US") -> Dataset:
    """A table in one of its forms: words, packed (two entries a word), or a list of US."""
    item, entries = Dataset(), np.asarray(entries)
    written = (first & 0xFFFF) - (65_536 if kind == "SS" and first & 0x8000 else 0)
    item.add_new("LUTDescriptor", kind, [len(entries) & 0xFFFF, written, bits])
    if form == "list":
        item.add_new("LUTData", "US", entries.tolist())
        return item
    data = entries.astype("u1" if form == "packed" else "<u2").tobytes()
    data += b"\0" * (len(data) % 2)
    item.add_new("LUTData", "OW", np.frombuffer(data, "<u2").astype(">u2" if big else "<u2").tobytes())
    return item


def grey(dataset: Dataset, syntax: str = ExplicitVRLittleEndian) -> np.ndarray:
    dataset.file_meta.TransferSyntaxUID = syntax
    if syntax == ExplicitVRBigEndian:
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
    header = parse(as_bytes(dataset))
    return to_grey(header, decode(header))


SYNTAXES = st.sampled_from([ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])


@settings(max_examples=120, deadline=None)
@given(
    step=st.sampled_from(["ModalityLUTSequence", "VOILUTSequence"]),
    syntax=SYNTAXES,
    form=st.sampled_from(["words", "packed", "list"]),
    count=st.one_of(st.integers(1, 400), st.sampled_from([4095, 4096, 40_001, 65_536])),
    first=st.integers(-3000, 4000),
    bits=st.integers(8, 16),
    signed=st.booleans(),
    kind=st.sampled_from(["US", "SS"]),
    seed=st.integers(0, 99),
)
def test_a_table_maps_each_value_to_its_entry_in_every_form(
    step: str, syntax: str, form: str, count: int, first: int, bits: int, signed: bool, kind: str, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    first = first if signed else abs(first)
    form = "words" if form == "list" and count > 32_000 else form
    bits = 8 if form == "packed" else bits
    entries = rng.integers(0, 1 << bits, count)
    stored = rng.integers(-2048 if signed else 0, 2048 if signed else 4096, (16, 12))
    dataset = image(stored, signed=signed)
    made = table(entries, first, bits, form=form, big=syntax == ExplicitVRBigEndian, kind=kind)
    setattr(dataset, step, [made])
    expected = entries[np.clip(stored - first, 0, count - 1)]
    shares = np.unique(expected, return_counts=True)[1]
    if step == "VOILUTSequence" and shares.max() >= 0.99 * stored.size:
        expected = stored  # a table that leaves nothing to see
    np.testing.assert_array_equal(grey(dataset, syntax), expected)


def test_entries_of_eight_bits_in_a_big_endian_word_by_hand() -> None:
    """Entries 10, 20, 30 are the words 0x140A and 0x001E; big-endian bytes 14 0A 00 1E."""
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [3, 0, 8])
    item.add_new("LUTData", "OW", bytes([0x14, 0x0A, 0x00, 0x1E]))
    dataset = image([[0, 1], [2, 3]], modality="CT", ModalityLUTSequence=[item])
    np.testing.assert_array_equal(grey(dataset, ExplicitVRBigEndian), [[10, 20], [30, 30]])


@pytest.mark.parametrize("kind", ["US", "SS"])
@pytest.mark.parametrize(("intercept", "first"), [(-1024, -1000), (0, 40_000)])
def test_the_first_value_of_a_voi_table_is_signed_if_the_modality_step_may_give_less_than_nought(
    intercept: int, first: int, kind: str
) -> None:
    stored = np.arange(first - intercept, first - intercept + 4).reshape(2, 2)
    dataset = image(stored, bits=16, RescaleSlope=1, RescaleIntercept=intercept)
    dataset.VOILUTSequence = [table([5, 6, 7, 8], first, 8, kind=kind)]
    np.testing.assert_array_equal(grey(dataset), [[5, 6], [7, 8]])


def test_a_rescaled_fraction_takes_the_nearest_entry() -> None:
    dataset = image([[0, 1], [2, 3]], RescaleSlope="0.7", RescaleIntercept=0)  # 0, 0.7, 1.4, 2.1
    dataset.VOILUTSequence = [table([5, 6, 7], 0, 8)]
    np.testing.assert_array_equal(grey(dataset), [[5, 6], [6, 7]])


def test_an_inverted_image_is_turned_round_in_the_range_of_the_table() -> None:
    dataset = image([[0, 1], [2, 3]], photometric="MONOCHROME1", ModalityLUTSequence=[table([9, 60, 70, 255], 0, 8)])
    np.testing.assert_array_equal(grey(dataset), [[246, 195], [185, 0]])


@pytest.mark.parametrize("uid", ["12.1", "12.2", "12.3"])
def test_the_modality_table_of_an_angiogram_is_not_for_display(uid: str) -> None:
    dataset = image(modality="XA", SOPClassUID=f"1.2.840.10008.5.1.4.1.1.{uid}", ModalityLUTSequence=[table([1], 0, 8)])
    np.testing.assert_array_equal(grey(dataset), image().pixel_array)


MALFORMED: dict[str, dict[str, Any]] = {
    "LUTData (0028,3006) has 8 bytes for 5 entries of 16 bits": {"LUTDescriptor": [5, 0, 16]},
    "LUTData (0028,3006) has 8 bytes for 3 entries of 16 bits": {"LUTDescriptor": [3, 0, 16]},
    "LUTData (0028,3006) has 8 bytes for 9 entries of 8 bits": {"LUTDescriptor": [9, 0, 8]},
    "LUTData (0028,3006) has 8 bytes for 8 entries of 12 bits": {"LUTDescriptor": [8, 0, 12]},
    "LUTData (0028,3006) has 8 bytes for 65536 entries of 16 bits": {"LUTDescriptor": [0, 0, 16]},
    "LUTData (0028,3006) has 0 bytes for 4 entries of 16 bits": {"LUTData": b""},
    "LUTDescriptor (0028,3002) has 2 values, not three whole numbers": {"LUTDescriptor": [4, 0]},
    "LUTDescriptor (0028,3002) has 4 values, not three whole numbers": {"LUTDescriptor": [4, 0, 16, 1]},
    "LUTDescriptor (0028,3002) has 0 values, not three whole numbers": {"LUTDescriptor": None},
    "LUTDescriptor (0028,3002) is 4, 0, 7": {"LUTDescriptor": [4, 0, 7]},
    "LUTDescriptor (0028,3002) is 4, 0, 17": {"LUTDescriptor": [4, 0, 17]},
    "LUTData (0028,3006) has an entry of 4000, in 10 bits": {"LUTDescriptor": [4, 0, 10]},
    "LUTData (0028,3006) is absent or empty": {"LUTData": None},
}


@pytest.mark.parametrize("step", ["ModalityLUTSequence", "VOILUTSequence"])
@pytest.mark.parametrize("detail", MALFORMED)
def test_a_malformed_table_is_refused_with_its_numbers(step: str, detail: str) -> None:
    item = table([1, 2, 3, 4000], 0, 16)
    for keyword, value in MALFORMED[detail].items():
        if value is None:
            del item[keyword]
        else:
            item[keyword].value = value
    dataset = image()
    setattr(dataset, step, [item])
    with pytest.raises(StudyError) as refusal:
        grey(dataset)
    assert refusal.value.reason == "undecodable"
    if value != b"":  # an empty element and an absent one are one to a reader
        assert refusal.value.detail == detail


# ------------------------------------------------------------ palettes


def palette(data: Any, count: int, bits: int, *, first: int = 0, segmented: bool = False, signed: bool = False) -> Any:
    dataset = image(np.arange(12).reshape(3, 4) - 6 * signed, bits=8, photometric="PALETTE COLOR", signed=signed)
    for number, colour in enumerate(("Red", "Green", "Blue")):
        name = "PaletteColorLookupTable"
        dataset.add_new(f"{colour}{name}Descriptor", "SS" if signed else "US", [count, first, bits])
        each = data[number] if isinstance(data, tuple) else data
        dataset.add_new(f"{'Segmented' if segmented else ''}{colour}{name}Data", "OW", each)
    return dataset


def words(*numbers: int) -> bytes:
    return np.array(numbers, "<u2").tobytes()


def test_palettes_of_both_depths_and_a_first_value() -> None:
    ramp = bytes(range(0, 120, 10))
    np.testing.assert_allclose(grey(palette(ramp, 12, 8)), np.arange(12).reshape(3, 4) * 10, rtol=1e-6)
    wide = palette(words(*range(0, 12_000, 1000)), 12, 16)
    np.testing.assert_allclose(grey(wide), np.arange(12).reshape(3, 4) * 1000, rtol=1e-6)
    shifted = np.clip(np.arange(12).reshape(3, 4) - 3, 0, 11) * 10
    np.testing.assert_allclose(grey(palette(ramp, 12, 8, first=3)), shifted, rtol=1e-6)
    below = palette(ramp, 12, 8, first=-6, signed=True)
    np.testing.assert_allclose(grey(below), np.arange(12).reshape(3, 4) * 10, rtol=1e-6)
    apart = palette(words(*[200] * 12), 12, 8)
    np.testing.assert_allclose(grey(apart), 200, rtol=1e-6)


def test_each_colour_has_its_own_palette() -> None:
    red, none = bytes([100] * 12), bytes(12)
    np.testing.assert_allclose(grey(palette((red, none, none), 12, 8)), 29.9, rtol=1e-6)
    np.testing.assert_allclose(grey(palette((none, red, none), 12, 8)), 58.7, rtol=1e-6)
    np.testing.assert_allclose(grey(palette((none, none, red), 12, 8)), 11.4, rtol=1e-6)


SEGMENTS = [
    ([0, 4, 10, 20, 30, 40, 1, 8, 200], [10, 20, 30, 40, 60, 80, 100, 120, 140, 160, 180, 200]),
    ([0, 1, 7, 1, 11, 7], [7] * 12),
    ([0, 2, 50, 100, 1, 4, 20, 2, 2, "start"], [50, 100, 80, 60, 40, 20, 50, 100, 80, 60, 40, 20]),
    ([0, 4, 9, 50, 70, 60, 1, 4, 20, 2, 1, "second"], [9, 50, 70, 60, 50, 40, 30, 20, 20, 20, 20, 20]),
]


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize(("segments", "expanded"), SEGMENTS)
def test_segmented_palettes_by_hand(segments: list[Any], expanded: list[int], bits: int) -> None:
    """Discrete, linear and indirect segments (PS3.3 C.7.9.2); an offset counts bytes, its low part first."""
    size = bits // 8
    offset = {"start": 0, "second": 6 * size}.get(segments[-1])
    numbers = segments if offset is None else [*segments[:-1], offset, *[0] * (1 if bits == 16 else 3)]
    data = words(*numbers) if bits == 16 else bytes(numbers) + b"\0" * (len(numbers) % 2)
    found = grey(palette(data, 12, bits, segmented=True))
    np.testing.assert_allclose(found, np.array(expanded).reshape(3, 4), rtol=1e-6)


@pytest.mark.parametrize(
    "segments", [[1, 12, 7], [0, 12, 1], [0, 11, *range(11)], [3, 12, 0], [0, 1, 5, 2, 9, 0, 0], [0, 12]]
)
def test_segments_that_contradict_each_other_are_refused(segments: list[int]) -> None:
    with pytest.raises(StudyError) as refusal:
        grey(palette(words(*segments), 12, 16, segmented=True))
    assert refusal.value.reason == "undecodable"
    assert "AttributeError" not in refusal.value.detail


@pytest.mark.parametrize("absent", ["RedPaletteColorLookupTableDescriptor", "BluePaletteColorLookupTableData"])
def test_an_absent_palette_is_named(absent: str) -> None:
    dataset = palette(bytes(12), 12, 8)
    del dataset[absent]
    with pytest.raises(StudyError, match=absent):
        grey(dataset)
