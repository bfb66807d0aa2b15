"""Where a stored value lies in its cell: every combination of the four elements is read by the book or refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, JPEG2000Lossless, JPEGLSLossless, RLELossless

from fedward.dicom.bits import Bits, cleared, stored_values
from fedward.dicom.header import parse
from fedward.dicom.pixels import decode
from fedward.errors import StudyError
from tests.support.images.dicom_files import as_bytes, image, pattern


def by_hand(cell: int, stored: int, high: int, signed: bool) -> int:
    """The value as PS3.5 8.1.1 draws it: ``stored`` bits down from ``high``."""
    kept = cell >> (high + 1 - stored) & ((1 << stored) - 1)
    return kept - (1 << stored) if signed and kept >> (stored - 1) else kept


def with_bits(cells: np.ndarray, allocated: int, stored: int, high: int | None, signed: int) -> Dataset:
    dataset = image(np.zeros(cells.shape), modality="CT")
    dataset.BitsAllocated, dataset.BitsStored, dataset.PixelRepresentation = allocated, stored, signed
    if high is None:
        del dataset.HighBit
    else:
        dataset.HighBit = high
    dataset.PixelData = cells.astype(f"<u{allocated // 8}").tobytes()
    return dataset


def refusal(dataset: Dataset) -> StudyError:
    with pytest.raises(StudyError) as refused:
        decode(parse(as_bytes(dataset)))
    assert refused.value.reason == "undecodable"
    return refused.value


@settings(max_examples=150, deadline=None)
@given(
    allocated=st.sampled_from([8, 16, 32]),
    stored=st.integers(0, 33),
    space=st.integers(-2, 33),
    signed=st.sampled_from([0, 0, 1, 1, 2]),
    big=st.booleans(),
    seed=st.integers(0, 99),
)
def test_every_combination_is_read_by_hand_or_refused(
    allocated: int, stored: int, space: int, signed: int, big: bool, seed: int
) -> None:
    stored %= allocated + 2
    high = max(0, stored - 1 + space % (allocated + 3 - stored) if space > 0 else stored - 1 + space)
    cells = np.random.default_rng(seed).integers(0, 1 << allocated, (6, 5))
    dataset = with_bits(cells, allocated, stored, high, signed)
    if big:
        dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
        words = "u4" if allocated == 32 else "u2"  # 8 bits lie in words, the low byte first
        dataset.PixelData = np.frombuffer(dataset.PixelData, f"<{words}").astype(f">{words}").tobytes()
    if signed == 2 or not (1 <= stored <= allocated and stored - 1 <= high < allocated):
        refusal(dataset)
        return
    found = decode(parse(as_bytes(dataset)))
    expected = [[by_hand(int(cell), stored, high, signed == 1) for cell in row] for row in cells]
    np.testing.assert_array_equal(found.values, expected)
    assert found.low <= np.min(expected)
    assert np.max(expected) <= found.high


@pytest.mark.parametrize("signed", [0, 1])
def test_rle_keeps_the_cells_so_a_value_may_lie_high(signed: int) -> None:
    cells = np.random.default_rng(0).integers(0, 1 << 16, (16, 12))
    dataset = with_bits(cells, 16, 16, 15, 0)
    dataset.compress(RLELossless)
    dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 12, 15, signed
    expected = [[by_hand(int(cell), 12, 15, signed == 1) for cell in row] for row in cells]
    np.testing.assert_array_equal(decode(parse(as_bytes(dataset))).values, expected)


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless])
def test_a_codestream_has_no_cells_so_a_value_cannot_lie_high(syntax: str) -> None:
    stored = pattern(0, shape=(64, 48))
    dataset = image(stored)
    dataset.compress(syntax)
    np.testing.assert_array_equal(decode(parse(as_bytes(dataset))).values, stored)
    dataset.HighBit = 15
    assert "HighBit 15 with BitsStored 12" in refusal(dataset).detail


def test_without_high_bit_a_value_lies_low_if_nothing_lies_above() -> None:
    cells = pattern(0)
    np.testing.assert_array_equal(decode(parse(as_bytes(with_bits(cells, 16, 12, None, 0)))).values, cells)
    assert "HighBit (0028,0102) is absent" in refusal(with_bits(cells << 4, 16, 12, None, 0)).detail
    negative = np.full((4, 4), 0xFFFE)  # -2, its sign extended as writers do
    assert (decode(parse(as_bytes(with_bits(negative, 16, 12, None, 1)))).values == -2).all()


@pytest.mark.parametrize("absent", ["BitsAllocated", "BitsStored", "PixelRepresentation", "Rows", "Columns"])
def test_a_required_element_is_named_where_it_is_absent_or_empty(absent: str) -> None:
    dataset = image()
    dataset[absent].value = None
    assert refusal(dataset).detail.startswith(f"{absent} (0028,")
    del dataset[absent]
    assert refusal(dataset).detail.startswith(f"{absent} (0028,")


@pytest.mark.parametrize("number", [9, 10, 13, 32])
def test_a_number_whose_byte_is_a_blank_is_there(number: int) -> None:
    """HighBit 9 is a tab and a NUL in the file."""
    cells = np.random.default_rng(0).integers(0, 1 << 16, (4, 4))
    dataset = with_bits(cells, 16, 4, number, 0) if number < 16 else with_bits(cells, 16, 16, 15, 0)
    if number == 32:
        dataset.Rows, dataset.Columns, dataset.PixelData = 32, 2, np.zeros(64, "<u2").tobytes()
    assert decode(parse(as_bytes(dataset))).values.max() < 1 << 16


@settings(max_examples=50, deadline=None)
@given(stored=st.integers(1, 16), space=st.integers(0, 15), signed=st.booleans(), seed=st.integers(0, 99))
def test_cleared_cells_hold_the_same_values_and_nothing_else(stored: int, space: int, signed: bool, seed: int) -> None:
    bits = Bits(16, stored, min(15, stored - 1 + space), signed)
    cells = np.random.default_rng(seed).integers(0, 1 << 16, 40).astype(np.uint16).view("i2" if signed else "u2")
    clean = cleared(cells, bits)
    np.testing.assert_array_equal(stored_values(clean, bits), stored_values(cells, bits))
    again = stored_values(cells, bits).astype(np.int64) << (bits.high + 1 - stored)
    np.testing.assert_array_equal(clean, again)


def test_a_big_endian_file_of_32_bits_reads_as_its_little_endian_twin() -> None:
    """32 bits in a big-endian file: the high word first, as in the files that exist."""
    little, big = (
        decode(parse(Path(str(get_testdata_file(name, download=False))).read_bytes())).values
        for name in ("rtdose.dcm", "rtdose_expb.dcm")
    )
    np.testing.assert_array_equal(little, big)
