"""Check that noise has its stated distribution, and that no noise comes twice."""

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
from fedward.privacy.noise import SecureRandom, add_gaussian

MANY = 1_000_000
RARE = 1e-6
"""A test by chance fails once in so many runs."""


@pytest.fixture(scope="module")
def drawn() -> np.ndarray:
    return SecureRandom().normal(MANY)


def test_normal_by_kolmogorov_and_smirnov(drawn: np.ndarray) -> None:
    assert stats.kstest(drawn, "norm").pvalue > RARE
    assert drawn.dtype == np.float64 and drawn.shape == (MANY,)


def test_spread_mean_and_tails(drawn: np.ndarray) -> None:
    assert drawn.std() == pytest.approx(1.0, abs=5 / math.sqrt(2 * MANY))
    assert abs(drawn.mean()) < 5 / math.sqrt(MANY)
    assert abs(stats.kurtosis(drawn)) < 5 * math.sqrt(24 / MANY)
    assert 4.0 < np.abs(drawn).max() < 7.0


def test_values_near_one_another_are_unrelated(drawn: np.ndarray) -> None:
    """Pairs of one sine and cosine lie a chunk apart; their squares must be unrelated too."""
    for lag in (1, 2, noise._CHUNK - 1, noise._CHUNK, 2 * noise._CHUNK):
        for values in (drawn, drawn**2):
            assert abs(np.corrcoef(values[:-lag], values[lag:])[0, 1]) < 5.5 / math.sqrt(MANY - lag)


@pytest.mark.parametrize("size", [0, 1, 2, 3, 2 * noise._CHUNK - 1, 2 * noise._CHUNK + 1])
def test_any_size(size: int) -> None:
    values = SecureRandom().normal(size, 2.0)
    assert values.shape == (size,) and np.isfinite(values).all()
    assert len(set(values.tolist())) == size


def seeded() -> None:
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    set_determinism(0)


def test_no_seed_repeats_it() -> None:
    draws = []
    for _ in range(2):
        seeded()
        draws.append(SecureRandom().normal(100))
    set_determinism(None)
    assert not set(draws[0].tolist()) & set(draws[1].tolist())


def test_no_fork_repeats_it() -> None:
    source = SecureRandom()
    source.normal(10)
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
    assert not set(source.normal(100).tolist()) & set(copy.normal(100).tolist())


def test_no_seed_can_be_given() -> None:
    with pytest.raises(TypeError):
        SecureRandom(7)  # type: ignore[call-arg]


@pytest.mark.parametrize("drawing", [("normal", 5), ("bernoulli", 5, 0.5), ("integers", 5, 9), ("permutation", 5)])
def test_without_the_systems_entropy_nothing_is_drawn(drawing: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(size: int) -> bytes:
        raise OSError("no entropy")

    source = SecureRandom()
    monkeypatch.setattr(os, "urandom", fail)
    with pytest.raises(OSError, match="no entropy"):
        getattr(source, drawing[0])(*drawing[1:])
    with pytest.raises(OSError, match="no entropy"):
        add_gaussian({"w": np.ones(3, np.float32)}, std=1.0, source=source)


def test_each_piece_has_a_key_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    keys: list[bytes] = []
    real = os.urandom
    monkeypatch.setattr(os, "urandom", lambda size: keys.append(real(size)) or keys[-1])
    SecureRandom().normal(8 * noise._CHUNK)
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
        ("normal", (-1,)),
        ("normal", (1, -1.0)),
        ("normal", (1, math.nan)),
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
@pytest.mark.parametrize("std", [1e-3, 1.0, 50.0])
def test_added_noise_has_the_promised_spread(dtype: str, std: float) -> None:
    update = {"w": np.full((200, 500), 0.25, dtype), "b": np.array(0.25, dtype), "none": np.zeros((0, 3), dtype)}
    noised = add_gaussian(update, std=std, source=SecureRandom())
    measured = noised["w"].astype(np.float64) - 0.25
    assert measured.std() / std == pytest.approx(1.0, abs=0.015)
    assert abs(measured.mean()) < 6 * std / math.sqrt(measured.size) + 1e-5
    for name, array in update.items():
        assert (noised[name].dtype, noised[name].shape) == (array.dtype, array.shape)
    assert (update["w"] == 0.25).all()
    assert list(noised) == ["b", "none", "w"]
    # one number of float16 stays where it was in a tenth of all draws of so little noise
    assert any(add_gaussian(update, std=std, source=SecureRandom())["b"] != 0.25 for _ in range(30))


def test_two_tensors_share_no_noise() -> None:
    zero = np.zeros(1000)
    noised = add_gaussian({"a": zero, "b": zero}, std=1.0, source=SecureRandom())
    assert not set(noised["a"].tolist()) & set(noised["b"].tolist())


@pytest.mark.parametrize("std", [0.0, -1.0, math.nan, math.inf])
def test_noise_of_no_spread_is_refused(std: float) -> None:
    with pytest.raises(GateError, match="standard deviation"):
        add_gaussian({"w": np.ones(3, np.float32)}, std=std, source=SecureRandom())


@pytest.mark.parametrize("odd", [np.array(3), np.array([True])])
def test_integers_cannot_be_noised(odd: np.ndarray) -> None:
    with pytest.raises(GateError, match=r"tensor bn\.count cannot be noised"):
        add_gaussian({"bn.count": odd}, std=1.0, source=SecureRandom())


@pytest.mark.parametrize("odd", [np.float32([math.nan]), np.float32([math.inf]), np.float16([65504.0] * 99)])
def test_what_is_not_finite_is_refused(odd: np.ndarray) -> None:
    with pytest.raises(GateError, match="tensor w is not finite"):
        add_gaussian({"w": odd}, std=1e4, source=SecureRandom())
