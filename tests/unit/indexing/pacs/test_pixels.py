"""De-identified pixels read as the received ones, wherever a value lies in its cell."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset, dcmread

from fedward.dicom.header import parse
from fedward.dicom.pixels import decode, to_grey
from fedward.errors import StudyError
from fedward.indexing.pacs.deidentify import deidentify
from fedward.indexing.site_key import SiteKey
from tests.support.images.dicom_files import as_bytes, image, pattern

KEY = SiteKey(b"k" * 32)


def arrived(source: Dataset) -> bytes:
    return deidentify(dcmread(BytesIO(as_bytes(source))), KEY)


@settings(max_examples=60, deadline=None)
@given(
    allocated=st.sampled_from([8, 16, 32]),
    stored=st.integers(1, 32),
    space=st.integers(0, 31),
    signed=st.booleans(),
    seed=st.integers(0, 99),
)
def test_the_stored_values_stay_and_the_other_bits_go(
    allocated: int, stored: int, space: int, signed: bool, seed: int
) -> None:
    stored = min(stored, allocated)
    cells = np.random.default_rng(seed).integers(0, 1 << allocated, (6, 4))
    source = image(np.zeros((6, 4)), modality="CT", signed=signed, BitsAllocated=allocated, BitsStored=stored)
    source.HighBit = high = min(allocated - 1, stored - 1 + space)
    source.PixelData = cells.astype(f"<u{allocated // 8}").tobytes()
    got = parse(arrived(source))
    values = decode(got).values
    np.testing.assert_array_equal(values, decode(parse(as_bytes(source))).values)
    kept = np.frombuffer(got.PixelData, f"<{'i' if signed else 'u'}{allocated // 8}").reshape(6, 4)
    np.testing.assert_array_equal(kept, values.astype(np.int64) << (high + 1 - stored))


@pytest.mark.parametrize(
    "fault", [{"BitsStored": 17}, {"HighBit": 16}, {"HighBit": 3}, {"BitsAllocated": None}, {"HighBit": None}]
)
def test_cells_in_which_the_place_of_the_value_is_not_certain_are_refused(fault: dict[str, int | None]) -> None:
    source = image(**fault)
    source.PixelData = (pattern() << 4).astype("<u2").tobytes()
    with pytest.raises(StudyError) as refusal:
        arrived(source)
    assert refusal.value.reason == "not-de-identified"


def test_the_padding_of_floats_stays() -> None:
    source = image(np.zeros((2, 2)), modality="MR", PixelData=None, BitsAllocated=32, BitsStored=None, HighBit=None)
    source.FloatPixelData = np.array([[1, 2], [3, -1e30]], "<f4").tobytes()
    source.FloatPixelPaddingValue = -1e30
    got = parse(arrived(source))
    np.testing.assert_array_equal(to_grey(got, decode(got)), [[1, 2], [3, 1]])
