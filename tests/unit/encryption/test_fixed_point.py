"""Codes never overflow, rounding has no bias and a known bound, and what is clipped is counted."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fedward.encryption.fixed_point import FixedPoint
from fedward.encryption.stream import BLOCK
from fedward.errors import EncryptionError

points = st.builds(
    FixedPoint,
    clipping_range=st.floats(1e-3, 1e6),
    bits=st.sampled_from([24, 32, 48]),
    max_sites=st.integers(3, 1024),
)


def test_worked_by_hand() -> None:
    point = FixedPoint(clipping_range=12.7, bits=8, max_sites=1)
    assert point.limit == 127
    assert point.step == pytest.approx(0.1)
    assert point.weight_code(1.0) == 127
    assert point.weight_code(0.5) == 64
    assert point.weight_code(1e-9) == 1
    codes, clipped = FixedPoint(clipping_range=4.0, bits=4, max_sites=1).encode(
        np.array([4.0, -4.0, 0.0, 9.0], np.float32), weight_code=7
    )
    assert (codes.tolist(), codes.dtype, clipped) == ([7, -7, 0, 7], np.int64, 1)


def test_a_mean_worked_by_hand() -> None:
    point = FixedPoint(clipping_range=2.0, bits=24, max_sites=3)
    heavy, light = point.weight_code(1.0), point.weight_code(0.25)
    sums = (
        point.encode(np.array([1.0, 2.0]), weight_code=heavy)[0]
        + point.encode(np.array([-1.0, 2.0]), weight_code=light)[0]
    )
    found = point.decode(sums, weight_code=heavy + light, sites=2)
    assert found.dtype == np.float32
    assert found == pytest.approx([0.6, 2.0], abs=2 * point.step)


@settings(deadline=None)
@given(point=points, data=st.data())
def test_the_mean_is_within_its_bound_whatever_the_weights(point: FixedPoint, data: st.DataObject) -> None:
    sites = data.draw(st.integers(1, min(5, point.max_sites)))
    shape = data.draw(st.integers(0, 6))
    values = [data.draw(hnp.arrays(np.float32, shape, elements=st.floats(-2e6, 2e6, width=32))) for _ in range(sites)]
    weights = [point.weight_code(data.draw(st.floats(0, 1, exclude_min=True))) for _ in range(sites)]
    total, codes = sum(weights), np.zeros(shape, np.int64)
    due = np.zeros(shape)
    for value, weight in zip(values, weights, strict=True):
        code, clipped = point.encode(value, weight_code=weight)
        assert np.abs(code).max(initial=0) <= weight
        assert clipped == sum(abs(float(each)) > point.clipping_range for each in value)
        codes += code
        due += np.clip(value.astype(np.float64), -point.clipping_range, point.clipping_range) * weight / total
    found = point.decode(codes, weight_code=total, sites=sites)
    bound = sites * point.clipping_range / total + 2.0**-23 * point.clipping_range
    assert np.abs(found - due).max(initial=0) <= bound
    assert np.abs(codes).max(initial=0) < 2 ** (point.bits - 1)


@given(points)
def test_the_largest_sum_of_all_sites_has_the_bits(point: FixedPoint) -> None:
    codes, _ = point.encode(np.array([point.clipping_range]), weight_code=point.limit)
    assert point.max_sites * int(codes[0]) <= 2 ** (point.bits - 1) - 1
    assert point.max_sites * (point.limit + 1) > 2 ** (point.bits - 1) - 1


@pytest.mark.parametrize("fraction", [0.01, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("sign", [1, -1])
def test_rounding_has_no_bias(fraction: float, sign: int) -> None:
    count, deviations = 200_000, 6.0
    point = FixedPoint(clipping_range=100.0, bits=24, max_sites=3)
    value = sign * (3 + fraction)
    codes, _ = point.encode(np.full(count, value), weight_code=100)
    assert set(np.unique(codes)) == {math.floor(value), math.floor(value) + 1}
    bound = deviations * math.sqrt(fraction * (1 - fraction) / count)  # passed by chance once in 5e8
    assert abs(codes.mean() - value) < bound
    assert bound < fraction / 2  # rounding down would not pass


def test_two_roundings_differ_and_whole_numbers_are_left_alone() -> None:
    point = FixedPoint(clipping_range=64.0, bits=24, max_sites=3)
    halves = np.full(200, 0.5, np.float32)
    assert not np.array_equal(*(point.encode(halves, weight_code=64)[0] for _ in range(2)))
    whole = np.arange(-64, 65, dtype=np.float32)
    assert np.array_equal(point.encode(whole, weight_code=64)[0], whole)


def test_more_than_a_block_is_as_a_block() -> None:
    point = FixedPoint(clipping_range=1.0, bits=32, max_sites=3)
    values = np.linspace(-1.5, 1.5, 2 * BLOCK + 17, dtype=np.float32)
    before = values.copy()
    codes, clipped = point.encode(values, weight_code=point.limit)
    assert np.array_equal(values, before)
    assert clipped == np.count_nonzero(np.abs(values) > 1)
    found = point.decode(codes, weight_code=point.limit, sites=1)
    assert np.abs(found - np.clip(values, -1, 1)).max() <= point.step + 2.0**-23


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("at", [0, BLOCK, BLOCK + 3])
def test_a_value_that_is_not_finite_is_refused(bad: float, at: int) -> None:
    values = np.zeros(BLOCK + 5, np.float32)
    values[at] = bad
    with pytest.raises(EncryptionError, match="not finite"):
        FixedPoint(clipping_range=1.0, bits=32, max_sites=3).encode(values, weight_code=1)


@pytest.mark.parametrize("weight", [0.0, -0.5, 1.0000001, 2.0, float("nan"), float("inf")])
def test_a_weight_that_could_overflow_the_sum_is_refused(weight: float) -> None:
    with pytest.raises(EncryptionError, match="overflow"):
        FixedPoint(clipping_range=1.0, bits=24, max_sites=3).weight_code(weight)


def test_a_code_of_a_weight_outside_its_share_is_refused() -> None:
    point = FixedPoint(clipping_range=1.0, bits=24, max_sites=3)
    for weight_code in (0, -1, point.limit + 1):
        with pytest.raises(EncryptionError, match="overflow"):
            point.encode(np.zeros(2, np.float32), weight_code=weight_code)


@pytest.mark.parametrize("values", [np.zeros((2, 2), np.float32), np.zeros(2, np.int64)])
def test_values_of_another_kind_are_refused(values: Any) -> None:
    with pytest.raises(EncryptionError, match="not a vector of floating numbers"):
        FixedPoint(clipping_range=1.0, bits=24, max_sites=3).encode(values, weight_code=1)


@pytest.mark.parametrize(
    ("codes", "weight_code", "sites", "message"),
    [
        ([0], 30, 0, "not of 1 to 4 sites"),
        ([0], 30, 5, "not of 1 to 4 sites"),
        ([0], 2, 3, "sum of weights"),
        ([0], 3 * 31 + 1, 3, "sum of weights"),
        ([0, 31], 30, 3, "larger than its weights"),
        ([0, -31], 30, 3, "larger than its weights"),
        ([np.iinfo(np.int64).min], 30, 3, "larger than its weights"),
    ],
)
def test_a_sum_that_sites_cannot_have_is_refused(codes: list[int], weight_code: int, sites: int, message: str) -> None:
    point = FixedPoint(clipping_range=1.0, bits=8, max_sites=4)
    assert point.limit == 31
    with pytest.raises(EncryptionError, match=message):
        point.decode(np.array(codes, np.int64), weight_code=weight_code, sites=sites)


@pytest.mark.parametrize(
    "changes",
    [
        {"clipping_range": 0.0},
        {"clipping_range": math.nan},
        {"clipping_range": math.inf},
        {"bits": 49},
        {"bits": 1},
        {"max_sites": 0},
    ],
)
def test_a_range_without_room_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(EncryptionError):
        FixedPoint(**({"clipping_range": 1.0, "bits": 24, "max_sites": 3} | changes))
    with pytest.raises(EncryptionError, match="no room"):
        FixedPoint(clipping_range=1.0, bits=8, max_sites=128)
