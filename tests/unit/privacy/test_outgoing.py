"""An update's layout, its being a difference, and what is done to it on its way out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedward.errors import GateError
from fedward.privacy.noise import SecureRandom
from fedward.privacy.outgoing import check_counts, check_difference, check_tensors, protect
from fedward.privacy.policy.agreement import Agreement
from fedward.weights import Weights, layout_hash, layout_of

RNG = np.random.default_rng(5)
MODEL: Weights = {
    "conv.weight": RNG.normal(0, 0.1, (8, 1, 3, 3)).astype(np.float32),
    "fc.bias": np.zeros(4, np.float32),
    "fc.weight": RNG.normal(0, 0.1, (4, 32)).astype(np.float32),
    "norm.weight": np.ones(8, np.float32),
}
LAYOUT = layout_of(MODEL)
NONE = Agreement(
    mechanism="none",
    dp_sgd=None,
    clip=None,
    clip_norm_l2=None,
    noise_multiplier=0.0,
    filters=(),
    epsilon_cap=None,
    delta=None,
)
CLIP = replace(NONE, clip="global", clip_norm_l2=0.5)
NOISE = replace(CLIP, mechanism="update-noise", noise_multiplier=2.0)


def small(scale: float = 0.01, seed: int = 0) -> Weights:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(0, scale, array.shape).astype(np.float32) for name, array in MODEL.items()}


def norm(update: Weights) -> float:
    return float(np.sqrt(sum(np.sum(array.astype(np.float64) ** 2) for array in update.values())))


class Sneaky(np.ndarray):
    """An array that carries more than its values."""


def broken(name: str) -> Any:
    update: dict[Any, Any] = dict(small())
    conv = update["conv.weight"]
    with np.errstate(all="ignore"):
        changes: dict[str, dict[Any, Any]] = {
            "extra": {"conv.extra": conv},
            "wrong shape": {"conv.weight": conv.reshape(8, 9)},
            "wrong dtype": {"conv.weight": conv.astype(np.float64)},
            "other byte order": {"conv.weight": conv.astype(">f4")},
            "integers": {"conv.weight": conv.astype(np.int32)},
            "objects": {"conv.weight": np.full(conv.shape, None)},
            "a list": {"conv.weight": conv.tolist()},
            "a subclass": {"conv.weight": conv.view(Sneaky)},
            "masked": {"conv.weight": np.ma.masked_array(conv)},
            "nan": {"conv.weight": np.where(conv == conv.flat[3], np.float32("nan"), conv)},
            "inf": {"conv.weight": np.where(conv == conv.flat[3], np.float32("-inf"), conv)},
            "a name that is no text": {3: conv},
        }
    if name == "missing":
        del update["conv.weight"]
    elif name == "renamed":
        update["conv.wieght"] = update.pop("conv.weight")
    else:
        update |= changes[name]
    return update


FAULTS = {
    "extra": "conv.extra is not in the agreed layout",
    "missing": "conv.weight is missing",
    "renamed": "conv.wieght is not in",
    "wrong shape": r"conv.weight has shape \(8, 9\) where \(8, 1, 3, 3\)",
    "wrong dtype": "conv.weight has dtype <f8 where <f4",
    "other byte order": "conv.weight has dtype >f4",
    "integers": "conv.weight has dtype <i4",
    "objects": "conv.weight has dtype |O",
    "a list": "conv.weight is not a plain array",
    "a subclass": "conv.weight is not a plain array",
    "masked": "conv.weight is not a plain array",
    "nan": "conv.weight holds a value that is not finite",
    "inf": "conv.weight holds a value that is not finite",
    "a name that is no text": "of a name that is not shown",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_layout_fault_names_the_tensor(fault: str) -> None:
    with pytest.raises(GateError, match=FAULTS[fault]):
        check_tensors(broken(fault), LAYOUT)


def test_what_is_no_table_of_tensors_is_refused() -> None:
    for content in (None, [], list(small().items()), "weights"):
        with pytest.raises(GateError, match="not a table"):
            check_tensors(content, LAYOUT)


def test_a_checked_update_is_a_fresh_copy_that_holds_nothing_else() -> None:
    update = small()
    update["fc.weight"] = np.asfortranarray(update["fc.weight"])
    update["norm.weight"] = np.lib.stride_tricks.as_strided(update["norm.weight"], (8,), (4,))
    found = check_tensors(update, LAYOUT)
    for name, array in found.items():
        assert type(array) is np.ndarray and array.flags.owndata and array.flags.c_contiguous
        assert not np.shares_memory(array, update[name])
        assert np.array_equal(array, update[name])


def test_empty_and_zero_dimensional_tensors() -> None:
    model = {"a": np.float32(2.0) * np.ones((), np.float32), "b": np.zeros((0, 3), np.float32)}
    found = check_tensors(model, layout_of(model))
    assert found["a"].shape == () and found["b"].shape == (0, 3)
    with pytest.raises(GateError, match="not finite"):
        check_tensors(model | {"a": np.array(np.nan, np.float32)}, layout_of(model))


def test_the_architecture_hash_tells_each_part() -> None:
    given_ = {"network": "DenseNet", "args": {"growth_rate": 4}}
    first = layout_hash(LAYOUT, **given_)
    other = layout_of({**MODEL, "fc.bias": np.zeros(5, np.float32)})
    double = layout_of({**MODEL, "fc.bias": np.zeros(4, np.float64)})
    renamed = layout_of({("fc.b" if name == "fc.bias" else name): array for name, array in MODEL.items()})
    hashes = {
        first,
        *(layout_hash(layout, **given_) for layout in (other, double, renamed)),
        layout_hash(LAYOUT, network="ViT", args={"growth_rate": 4}),
        layout_hash(LAYOUT, network="DenseNet", args={"growth_rate": 5}),
    }
    assert len(hashes) == 6
    assert layout_hash(dict(reversed(LAYOUT.items())), **given_) == first


@pytest.mark.parametrize("scale", [0.0, 1e-6, 0.01, 0.05])
def test_full_weights_are_no_difference(scale: float) -> None:
    full = {name: MODEL[name] + change for name, change in small(scale).items()}
    with pytest.raises(GateError, match="own weights where a difference is due"):
        check_difference(full, MODEL)


def test_one_tensor_of_full_weights_is_found() -> None:
    with pytest.raises(GateError, match=r"tensor fc\.weight holds the model's own weights"):
        check_difference({**small(), "fc.weight": MODEL["fc.weight"]}, MODEL)


@pytest.mark.parametrize("scale", [0.0, 1e-6, 0.01, 0.1, 1.0, 100.0])
def test_differences_of_any_length_pass(scale: float) -> None:
    check_difference(small(scale, seed=1), MODEL)


def test_weight_decay_alone_passes() -> None:
    for factor in (-1.0, -0.3, 0.3):
        check_difference({name: (factor * array).astype(np.float32) for name, array in MODEL.items()}, MODEL)


def test_a_model_of_zeros_is_like_nothing() -> None:
    zero = {name: np.zeros_like(array) for name, array in MODEL.items()}
    check_difference(small(), zero)
    check_difference(zero, MODEL)


@pytest.mark.parametrize("mode", ["global", "per-layer"])
@settings(max_examples=60, deadline=None)
@given(scale=st.floats(0, 1e3), bound=st.floats(1e-3, 1e2), seed=st.integers(0, 9))
def test_a_clip_is_never_exceeded_and_a_short_update_is_left_alone(
    mode: Any, scale: float, bound: float, seed: int
) -> None:
    update = small(scale, seed)
    before = {name: array.copy() for name, array in update.items()}
    found = protect(update, replace(CLIP, clip=mode, clip_norm_l2=bound))
    assert norm(found) <= bound * (1 + 1e-5)
    assert all(np.array_equal(update[name], before[name]) for name in update)
    if mode == "global" and norm(update) <= bound * (1 - 1e-6):
        assert all(np.array_equal(update[name], found[name]) for name in update)


def test_noise_has_the_promised_size_and_comes_after_the_clip() -> None:
    update = {"w": np.full(40_000, 3.0, np.float32)}
    found = protect(update, NOISE, source=SecureRandom())["w"].astype(np.float64)
    clipped = 3.0 * 0.5 / norm(update)
    assert abs(np.std(found - clipped) / (2.0 * 0.5) - 1) < 0.05
    assert norm({"w": found}) > 100 * 0.5  # clipped after the noise it would be 0.5


def test_two_runs_have_different_noise() -> None:
    one, other = (protect(small(), NOISE, source=SecureRandom()) for _ in range(2))
    assert not any(np.array_equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("changes", "source"),
    [
        ({"clip": None}, True),
        ({"clip_norm_l2": None}, True),
        ({"clip_norm_l2": float("nan")}, True),
        ({"clip_norm_l2": 0.0}, True),
        ({"noise_multiplier": 0.0}, True),
        ({"noise_multiplier": float("nan")}, True),
        ({}, False),
    ],
)
def test_noise_without_what_it_needs_is_refused(changes: dict[str, Any], source: bool) -> None:
    with pytest.raises(GateError):
        protect(small(), replace(NOISE, **changes), source=SecureRandom() if source else None)


def test_filters_come_first_and_may_not_change_the_layout() -> None:
    def tenfold(update: Weights) -> Weights:
        return {name: np.float32(10) * array for name, array in update.items()}

    assert norm(protect(small(), CLIP, filters=[tenfold])) <= 0.5 * (1 + 1e-5)
    for bad in (
        lambda update: {"conv.weight": update["conv.weight"]},
        lambda update: {name: array.astype(np.float64) for name, array in update.items()},
        lambda update: {name: array * np.float32("nan") for name, array in update.items()},
        lambda update: None,
    ):
        with pytest.raises(GateError):
            protect(small(), CLIP, filters=[bad])


def test_without_an_agreed_protection_an_update_is_as_it_was() -> None:
    found = protect(small(), NONE)
    assert all(np.array_equal(found[name], array) for name, array in small().items())


@given(st.lists(st.integers(-2, 20), max_size=6), st.integers(1, 9))
def test_counts_are_of_one_length_not_negative_and_above_the_floor(values: list[int], least: int) -> None:
    array = np.array(values, np.int64)
    if all(value == 0 or value >= least for value in values):
        assert np.array_equal(check_counts(array, length=len(values), min_count=least), array)
    else:
        with pytest.raises(GateError, match="floor"):
            check_counts(array, length=len(values), min_count=least)
    with pytest.raises(GateError, match="integers"):
        check_counts(array, length=len(values) + 1, min_count=least)


def test_counts_are_integers_of_one_dimension() -> None:
    for values in (np.array([1.0, 5.0]), ["5", "6"], [[5, 6]], None):
        with pytest.raises(GateError, match="integers"):
            check_counts(values, length=2, min_count=1)
    assert check_counts([5, 0, 7], length=3, min_count=5).tolist() == [5, 0, 7]
