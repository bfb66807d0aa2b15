"""A clipped update stays within its bound, whatever comes."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedward.errors import GateError
from fedward.privacy.clipping import Clipped, clip_global, clip_per_layer
from fedward.weights import Weights

CLIPS = [clip_global, clip_per_layer]
Clip = Callable[..., Clipped]


def square(*arrays: np.ndarray) -> Fraction:
    """The squared norm, without any rounding."""
    return sum((Fraction(float(x)) ** 2 for array in arrays for x in array.ravel()), Fraction())


@st.composite
def updates(draw: st.DrawFn) -> Weights:
    """Tensors of every floating dtype, empty and 0-d ones too, from the smallest values to the largest."""
    update = {}
    for index in range(draw(st.integers(0, 4))):
        dtype = np.dtype(draw(st.sampled_from(["float16", "float32", "float64"])))
        shape = draw(st.sampled_from([(), (0,), (1,), (7,), (3, 5), (2, 0, 3)]))
        size = math.prod(shape)
        power = draw(st.integers(-45, 30))
        values = np.array(draw(st.lists(st.floats(-1, 1), min_size=size, max_size=size))) * 10.0**power
        limit = float(np.finfo(dtype).max)
        update[f"t{index}"] = np.clip(values, -limit, limit).astype(dtype).reshape(shape)
    return update


@pytest.mark.parametrize("clip", CLIPS)
@given(update=updates(), power=st.integers(-44, 30), digit=st.floats(1, 10))
def test_never_beyond_the_bound(clip: Clip, update: Weights, power: int, digit: float) -> None:
    bound = digit * 10.0**power
    before = {name: array.tobytes() for name, array in update.items()}
    clipped = clip(update, norm_l2=bound)
    assert square(*clipped.update.values()) <= Fraction(bound) ** 2 * (1 + Fraction(1, 10**15))
    assert clipped.sensitivity_l2 == 2 * clipped.bound_l2 == 2 * bound
    assert clipped.norm_l2 == pytest.approx(math.sqrt(square(*update.values())), rel=1e-12)
    assert list(clipped.update) == sorted(update)
    for name, array in update.items():
        new = clipped.update[name]
        assert (new.dtype, new.shape) == (array.dtype, array.shape)
        assert not np.shares_memory(new, array)
        assert array.tobytes() == before[name]
        assert (np.abs(new) <= np.abs(array)).all() and (new * np.sign(array) >= 0).all()


@pytest.mark.parametrize("clip", CLIPS)
def test_a_million_values_that_would_round_outwards(clip: Clip) -> None:
    """Rounding to nearest would pass the bound: each value rounds up by up to half a float32 unit."""
    for seed in range(5):
        update = {"w": np.random.default_rng(seed).normal(size=200_000).astype(np.float32)}
        clipped = clip(update, norm_l2=1.0)
        norm = math.sqrt(math.fsum(np.square(clipped.update["w"], dtype=np.float64)))
        assert 1.0 - 1e-6 < norm <= 1.0


def test_worked_by_hand() -> None:
    update = {"b": np.float32([4.0]), "a": np.array(3.0)}
    assert clip_global(update, norm_l2=5.0).update["b"] == 4.0
    half = clip_global(update, norm_l2=2.5)
    assert half.norm_l2 == 5.0
    assert half.update["a"] == pytest.approx(1.5) and half.update["b"][0] == pytest.approx(2.0)
    apart = clip_per_layer(update, norm_l2=math.sqrt(2) * 3.5)
    assert apart.update["a"] == 3.0 and apart.update["b"][0] == pytest.approx(3.5)


@pytest.mark.parametrize("clip", CLIPS)
def test_within_the_bound_nothing_changes(clip: Clip) -> None:
    update = {"w": np.float32([1e-3, -2e-3]), "zero": np.zeros(3, np.float16), "none": np.zeros((0, 2), np.float32)}
    clipped = clip(update, norm_l2=1.0).update
    assert all(clipped[name].tobytes() == array.tobytes() for name, array in update.items())
    assert clip({}, norm_l2=1.0).norm_l2 == 0.0


def test_each_tensor_has_its_share() -> None:
    update = {name: np.full(10, 1e6, np.float32) for name in "abcd"}
    for array in clip_per_layer(update, norm_l2=1.0).update.values():
        assert Fraction(1, 4) - Fraction(1, 10**6) < square(array) <= Fraction(1, 4)


@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_refused_by_name(clip: Clip, odd: float) -> None:
    with pytest.raises(GateError, match=r"tensor head\.bias holds a value that is not finite"):
        clip({"a": np.ones(2, np.float32), "head.bias": np.float32([1.0, odd])}, norm_l2=1.0)


@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize("odd", [np.array(3), np.array([True]), np.array(["x"])])
def test_what_cannot_be_scaled_is_refused_by_name(clip: Clip, odd: np.ndarray) -> None:
    with pytest.raises(GateError, match=r"tensor bn\.count cannot be clipped"):
        clip({"a": np.ones(2, np.float32), "bn.count": odd}, norm_l2=1.0)


@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize("bound", [0.0, -1.0, math.nan, math.inf])
def test_a_bound_that_bounds_nothing_is_refused(clip: Clip, bound: float) -> None:
    with pytest.raises(GateError, match="clip norm"):
        clip({"a": np.ones(2, np.float32)}, norm_l2=bound)


@pytest.mark.parametrize("clip", CLIPS)
def test_a_norm_beyond_float64_is_refused(clip: Clip) -> None:
    with pytest.raises(GateError, match="beyond float64"):
        clip({"a": np.full(4, 1.7e308)}, norm_l2=1.0)
