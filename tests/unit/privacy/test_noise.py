"""Check that added noise has its stated spread, and that no noise comes twice."""

from __future__ import annotations

import math
import os
import pickle
import random

import numpy as np
import pytest
import torch
from monai.utils import set_determinism
from scipy import stats

from fedward.errors import GateError
from fedward.privacy import noise
from fedward.privacy.grid import FINE
from fedward.privacy.noise import SecureRandom, add_noise

MANY = 1_000_000
RARE = 1e-6
"""A test by chance fails once in so many runs."""


def seeded() -> None:
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    set_determinism(0)


def test_no_seed_repeats_it() -> None:
    draws = []
    for _ in range(2):
        seeded()
        draws.append(SecureRandom().rounded_normal(100, 1e9))
    set_determinism(None)
    assert not set(draws[0].tolist()) & set(draws[1].tolist())


def test_no_fork_repeats_it() -> None:
    source = SecureRandom()
    source.rounded_normal(10, 1e9)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, noise._words(4).tobytes() + source.permutation(1000).astype(np.int16).tobytes())
        os._exit(0)
    os.waitpid(child, 0)
    other = os.read(read, 4 * 8 + 2000)
    os.close(read)
    os.close(write)
    assert len(other) == 2032
    assert other[:32] != noise._words(4).tobytes()
    assert other[32:] != source.permutation(1000).astype(np.int16).tobytes()


def test_no_copy_repeats_it() -> None:
    source = SecureRandom()
    copy = pickle.loads(pickle.dumps(source))
    assert not set(source.rounded_normal(100, 1e9).tolist()) & set(copy.rounded_normal(100, 1e9).tolist())


def test_no_seed_can_be_given() -> None:
    with pytest.raises(TypeError):
        SecureRandom(7)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    "drawing", [("rounded_normal", 5, 9.0), ("bernoulli", 5, 0.5), ("integers", 5, 9), ("permutation", 5)]
)
def test_without_the_systems_entropy_nothing_is_drawn(drawing: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(size: int) -> bytes:
        raise OSError("no entropy")

    source = SecureRandom()
    monkeypatch.setattr(os, "urandom", fail)
    with pytest.raises(OSError, match="no entropy"):
        getattr(source, drawing[0])(*drawing[1:])
    with pytest.raises(OSError, match="no entropy"):
        add_noise({"w": np.ones(3, np.float32)}, noise_multiplier=1.0, norm_l2=9.0, source=source)


def test_each_piece_has_a_key_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    keys: list[bytes] = []
    real = os.urandom
    monkeypatch.setattr(os, "urandom", lambda size: keys.append(real(size)) or keys[-1])
    SecureRandom().rounded_normal(2 * noise._PIECE, 1e9)
    noise._words(3 * noise._PIECE)
    assert len(keys) == len(set(keys)) >= 4
    assert {len(key) for key in keys} == {32}


@pytest.mark.parametrize("p", [0.0, 0.01, 0.5, 1.0])
def test_bernoulli_at_its_rate(p: float) -> None:
    found = SecureRandom().bernoulli(MANY, p)
    assert found.dtype == np.bool_
    assert abs(found.mean() - p) <= 5.5 * math.sqrt(p * (1 - p) / MANY)


def test_integers_each_as_likely() -> None:
    counts = np.bincount(SecureRandom().integers(MANY, 7), minlength=7)
    assert counts.size == 7 and stats.chisquare(counts).pvalue > RARE


def test_words_that_favour_small_numbers_are_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    given = [np.array([2**64 - 1, 5], np.uint64), np.array([8], np.uint64)]
    monkeypatch.setattr(noise, "_words", lambda n: given.pop(0))
    assert SecureRandom().integers(2, 7).tolist() == [1, 5]
    assert not given


def test_permutation_and_choice() -> None:
    source = SecureRandom()
    assert sorted(source.permutation(50).tolist()) == list(range(50))
    orders = [tuple(source.choice(4, 2).tolist()) for _ in range(12_000)]
    counts = [orders.count((a, b)) for a in range(4) for b in range(4) if a != b]
    assert sum(counts) == 12_000 and stats.chisquare(counts).pvalue > RARE
    assert source.choice(3, 0).size == 0


@pytest.mark.parametrize(
    ("drawing", "arguments"),
    [
        ("rounded_normal", (-1, 9.0)),
        ("rounded_normal", (1, 0.5)),
        ("rounded_normal", (1, 1e12)),
        ("rounded_normal", (1, math.nan)),
        ("bernoulli", (1, 1.5)),
        ("bernoulli", (1, math.nan)),
        ("integers", (1, 0)),
        ("choice", (2, 3)),
    ],
)
def test_what_cannot_be_drawn(drawing: str, arguments: tuple) -> None:
    with pytest.raises(ValueError, match=drawing):
        getattr(SecureRandom(), drawing)(*arguments)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("multiplier", [1e-3, 1.0, 50.0])
def test_added_noise_has_the_promised_spread(dtype: str, multiplier: float) -> None:
    update = {"w": np.full((200, 500), 0.25, dtype), "b": np.array(0.25, dtype), "none": np.zeros((0, 3), dtype)}
    noise = {"noise_multiplier": multiplier, "norm_l2": 100.0, "source": SecureRandom()}
    std, noised = 100.0 * multiplier, add_noise(update, **noise)
    measured = noised["w"].astype(np.float64) - 0.25
    assert measured.std() / std == pytest.approx(1.0, abs=0.015)
    assert abs(measured.mean()) < 6 * std / math.sqrt(measured.size) + 1e-5
    for name, array in update.items():
        assert (noised[name].dtype, noised[name].shape) == (array.dtype, array.shape)
    assert (update["w"] == 0.25).all()
    assert list(noised) == ["b", "none", "w"]
    assert any(add_noise(update, **noise)["b"] != 0.25 for _ in range(30))


def test_a_noised_float64_is_a_whole_number_of_units() -> None:
    """Floating point has nothing to disclose: the result is one of few, equally spaced numbers, whatever was noised."""
    update = {"w": np.random.default_rng(0).normal(size=1000) / 40.0}
    noised = add_noise(update, noise_multiplier=1.0, norm_l2=1.0, source=SecureRandom())["w"] * FINE
    assert (noised == np.rint(noised)).all()


def test_two_tensors_share_no_noise() -> None:
    zero = np.zeros(1000)
    noised = add_noise({"a": zero, "b": zero}, noise_multiplier=64.0, norm_l2=1.0, source=SecureRandom())
    assert len(set(noised["a"].tolist()) & set(noised["b"].tolist())) < 3


@pytest.mark.parametrize("wrong", [0.0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize("setting", ["noise_multiplier", "norm_l2"])
def test_noise_of_no_spread_is_refused(wrong: float, setting: str) -> None:
    settings = {"noise_multiplier": 1.0, "norm_l2": 1.0, setting: wrong}
    with pytest.raises(GateError, match="noise needs a multiplier and a clip > 0"):
        add_noise({"w": np.ones(3, np.float32)}, **settings, source=SecureRandom())


@pytest.mark.parametrize("odd", [np.array(3), np.array([True])])
def test_integers_cannot_be_noised(odd: np.ndarray) -> None:
    with pytest.raises(GateError, match=r"tensor bn\.count cannot be noised"):
        add_noise({"bn.count": odd}, noise_multiplier=1.0, norm_l2=1.0, source=SecureRandom())


@pytest.mark.parametrize("odd", [np.float32([math.nan]), np.float32([math.inf]), np.float32([2.5])])
def test_what_is_not_clipped_is_refused(odd: np.ndarray) -> None:
    with pytest.raises(GateError, match="tensor w is beyond its clip or not finite"):
        add_noise({"w": odd}, noise_multiplier=1.0, norm_l2=1.0, source=SecureRandom())


def test_what_is_not_finite_once_noised_is_refused() -> None:
    with pytest.raises(GateError, match="tensor w is not finite once noised"):
        add_noise({"w": np.float16([65504.0] * 99)}, noise_multiplier=1.0, norm_l2=1e6, source=SecureRandom())
