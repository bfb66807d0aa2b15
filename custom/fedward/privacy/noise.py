"""Draw noise that nobody can predict or repeat: ChaCha20 keyed by the operating system, never a seeded generator."""

from __future__ import annotations

import math
import os

import numpy as np
from numpy.typing import NDArray

from fedward.errors import GateError
from fedward.privacy.clipping import require_floating
from fedward.privacy.grid import Grid
from fedward.privacy.rounded_normal import rounded_normal
from fedward.weights import Weights

_PIECE = 1 << 17
"""Words under one key."""
_ZEROS = memoryview(bytes(8 * _PIECE))
"""Enciphered, they are the stream of a key."""
_UNIT = 2.0**-53


class SecureRandom:
    """Random numbers from ChaCha20 (RFC 8439), each piece of at most 1 MiB under its own 256-bit key of ``os.urandom``.

    Nothing is kept between calls. So no seed can be given, and a fork, a thread or a pickled copy cannot repeat a
    stream. Not even the hospital can draw the same numbers again. Where ``os.urandom`` fails, the call fails: nothing
    falls back to a seeded generator.
    """

    __slots__ = ()

    def rounded_normal(self, size: int, std: float) -> NDArray[np.int64]:
        """Draw independent normal numbers of mean 0, rounded to whole ones; see ``fedward.privacy.rounded_normal``.

        Args:
            size: number of values, >= 0.
            std: their standard deviation before rounding, from 1 to 2^36.

        Returns:
            int64, shape ``(size,)``.

        Raises:
            ValueError: size or std is out of its range.
        """
        return rounded_normal(size, std, words=_words)

    def bernoulli(self, n: int, p: float) -> NDArray[np.bool_]:
        """Draw ``n`` independent values, each True with probability ``p`` (to within 2^-53); bool, shape ``(n,)``.

        Raises:
            ValueError: p is not within [0, 1].
        """
        if not 0.0 <= p <= 1.0:
            raise ValueError(f"bernoulli() takes a probability, not {p}")
        return _uniforms(n) < p

    def integers(self, n: int, high: int) -> NDArray[np.int64]:
        """Draw ``n`` independent whole numbers, uniformly from 0 … ``high - 1``; int64, shape ``(n,)``.

        Raises:
            ValueError: high is not within 1 … 2^53.
        """
        if not 1 <= high <= 1 << 53:
            raise ValueError(f"integers() takes 1 <= high <= 2^53, not {high}")
        top = np.uint64((1 << 64) - (1 << 64) % high - 1)
        drawn = _words(n)
        while (over := drawn > top).any():  # Draw again 64-bit words that would favour small numbers.
            drawn[over] = _words(int(over.sum()))
        return (drawn % np.uint64(high)).astype(np.int64)

    def permutation(self, n: int) -> NDArray[np.int64]:
        """Return 0 … ``n - 1`` in random order, by sorting 64-bit keys; int64, shape ``(n,)``."""
        return np.argsort(_words(n), kind="stable").astype(np.int64)

    def choice(self, n: int, size: int) -> NDArray[np.int64]:
        """Draw ``size`` different numbers from 0 … ``n - 1``, in random order; int64, shape ``(size,)``.

        Raises:
            ValueError: size is not within 0 … n.
        """
        if not 0 <= size <= n:
            raise ValueError(f"choice() takes 0 <= size <= n, not {size} of {n}")
        return self.permutation(n)[:size]


def add_noise(update: Weights, *, noise_multiplier: float, norm_l2: float, source: SecureRandom) -> Weights:
    """Add Gaussian noise to a clipped update (Dwork and Roth 2014, appendix A), in whole numbers.

    The update is rounded to a grid of 2^24 units in ``norm_l2``. Each coordinate gets a rounded normal number; its
    standard deviation is ``noise_multiplier`` times the bound on the rounded update's norm, ``Grid.most_l2``. Only then
    is the result converted to the tensors' dtypes. One patient moves the rounded update by twice that bound at most.

    Args:
        update: floating arrays of any shape by name, of an L2 norm of ``norm_l2`` or less; not changed.
        noise_multiplier: > 0.
        norm_l2: the clip's bound, in the update's own units.
        source: generator of the noise.

    Returns:
        New arrays, names sorted, dtypes and shapes kept.

    Raises:
        GateError: the noise is not > 0 and finite, a tensor is not floating, a value is not finite before or after.
    """
    if not (math.isfinite(noise_multiplier) and noise_multiplier > 0 and math.isfinite(norm_l2) and norm_l2 > 0):
        value = f"{noise_multiplier} and {norm_l2}"
        raise GateError("noise needs a multiplier and a clip > 0", where="update", value=value, remedy=_MULTIPLIER)
    require_floating(update, to="noised")
    grid = Grid(norm_l2=norm_l2, values=sum(array.size for array in update.values()))
    return {name: _noised(name, update[name], grid, noise_multiplier, source) for name in sorted(update)}


def _noised(
    name: str, array: NDArray[np.floating], grid: Grid, noise_multiplier: float, source: SecureRandom
) -> NDArray[np.floating]:
    units = np.rint(array.astype(np.float64) / grid.unit)
    if not (np.abs(units) <= 2 * grid.steps).all():
        raise GateError(f"tensor {name} is beyond its clip or not finite", where="update", remedy=_MULTIPLIER)
    noise = source.rounded_normal(array.size, grid.std(noise_multiplier)).reshape(array.shape)
    with np.errstate(over="ignore", invalid="ignore"):
        noised = np.asarray((units + noise) * grid.unit, dtype=np.float64).astype(array.dtype)
    if not np.isfinite(noised).all():
        raise GateError(f"tensor {name} is not finite once noised", where="update", remedy=_MULTIPLIER)
    return noised


def _words(n: int) -> NDArray[np.uint64]:
    """Return ``n`` random 64-bit words, under keys that are used for nothing else."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

    out = np.empty(n, dtype=np.uint64)
    for start in range(0, n, _PIECE):
        piece = out[start : start + _PIECE]
        stream = Cipher(algorithms.ChaCha20(os.urandom(32), bytes(16)), mode=None).encryptor()
        stream.update_into(_ZEROS[: piece.nbytes], piece.data.cast("B"))
    return out


def _uniforms(n: int) -> NDArray[np.float64]:
    """Return ``n`` multiples of 2^-53 in [0, 1)."""
    words = _words(n)
    words >>= np.uint64(11)
    uniforms = words.view(np.int64).astype(np.float64)
    uniforms *= _UNIT
    return uniforms


_MULTIPLIER = "correct noise_multiplier or clip_norm_l2"
