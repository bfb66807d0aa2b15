"""Draw noise that nobody can predict or repeat: ChaCha20 keyed by the operating system, never a seeded generator."""

from __future__ import annotations

import math
import os

import numpy as np
from numpy.typing import NDArray

from fedward.errors import GateError
from fedward.privacy.clipping import require_floating
from fedward.weights import Weights

_CHUNK = 1 << 13
"""Pairs of normals made at a time: small enough for the processor's cache."""
_TERMS = 4
"""Independent normals that are summed into each returned number."""
_UNIT = 2.0**-53


class SecureRandom:
    """Random numbers from ChaCha20 (RFC 8439), each piece of at most 1 MiB under its own 256-bit key of ``os.urandom``.

    Nothing is kept between calls. So no seed can be given, and a fork, a thread or a pickled copy cannot repeat a
    stream. Not even the hospital can draw the same numbers again. Where ``os.urandom`` fails, the call fails: nothing
    falls back to a seeded generator.
    """

    __slots__ = ()

    def normal(self, size: int, std: float = 1.0) -> NDArray[np.float64]:
        """Draw independent normals of mean 0.

        Box and Muller (1958) in float64, on uniforms of 53 bits in (0, 1]. A float64 normal made of one pair of
        uniforms takes few of the values around it, and the gaps can disclose the value that it was added to (Mironov
        2012). Each number here is therefore the sum of four such normals, halved, so that an observer would have to
        solve for eight uniforms (Holohan and Braghin 2021, section 4). That makes the attack infeasible; it is not a
        proof, and a discrete Gaussian is not used.

        Args:
            size: number of values, >= 0.
            std: their standard deviation, >= 0.

        Returns:
            float64, shape ``(size,)``.

        Raises:
            ValueError: size or std is negative, or std not finite.
        """
        if size < 0 or not (math.isfinite(std) and std >= 0):
            raise ValueError(f"normal() takes size >= 0 and a finite std >= 0, not {size} and {std}")
        out = np.empty(size, dtype=np.float64)
        for start in range(0, size, 2 * _CHUNK):
            piece = out[start : start + 2 * _CHUNK]
            pairs = -(-piece.size // 2)
            piece[:] = _normals(pairs)[: piece.size]
        return np.multiply(out, std, out=out)

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


def add_gaussian(update: Weights, *, std: float, source: SecureRandom) -> Weights:
    """Add independent normals of standard deviation ``std`` to every value (Dwork and Roth 2014, appendix A).

    The sum is taken in float64 and rounded once to the tensor's dtype. Calibrate ``std`` to the sensitivity of a
    clipped update, never to the data.

    Args:
        update: floating arrays of any shape by name; not changed.
        std: > 0, in the update's own units.
        source: generator of the noise.

    Returns:
        New arrays, names sorted, dtypes and shapes kept.

    Raises:
        GateError: std is not > 0 and finite, a tensor is not floating, a value is not finite before or after.
    """
    if not (math.isfinite(std) and std > 0):
        raise GateError("noise must have a standard deviation > 0", where="update", value=std, remedy=_MULTIPLIER)
    require_floating(update, to="noised")
    return {name: _noised(name, update[name], std, source) for name in sorted(update)}


def _noised(name: str, array: NDArray[np.floating], std: float, source: SecureRandom) -> NDArray[np.floating]:
    noise = source.normal(array.size, std).reshape(array.shape)
    with np.errstate(over="ignore", invalid="ignore"):
        noised = np.asarray(array + noise, dtype=np.float64).astype(array.dtype)
    if not np.isfinite(noised).all():
        raise GateError(f"tensor {name} is not finite once noised", where="update", remedy=_MULTIPLIER)
    return noised


def _words(n: int) -> NDArray[np.uint64]:
    """Return ``n`` random 64-bit words, under keys that are used for nothing else."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

    out = np.empty(n, dtype=np.uint64)
    for start in range(0, n, 16 * _CHUNK):
        piece = out[start : start + 16 * _CHUNK]
        stream = Cipher(algorithms.ChaCha20(os.urandom(32), bytes(16)), mode=None).encryptor()
        piece[:] = np.frombuffer(stream.update(bytes(piece.nbytes)), dtype=np.uint64)
    return out


def _uniforms(n: int) -> NDArray[np.float64]:
    """Return ``n`` multiples of 2^-53 in [0, 1)."""
    words = _words(n)
    words >>= np.uint64(11)
    uniforms = words.view(np.int64).astype(np.float64)
    uniforms *= _UNIT
    return uniforms


def _normals(pairs: int) -> NDArray[np.float64]:
    """Return ``2 * pairs`` standard normals. torch's log, sine and cosine are several times as fast as NumPy's."""
    import torch

    uniforms = torch.from_numpy(_uniforms(2 * _TERMS * pairs)).view(2, _TERMS, pairs)
    radius = uniforms[0].neg_().add_(1.0).log_().mul_(-2.0 / _TERMS).sqrt_()
    angle = uniforms[1].mul_(2.0 * math.pi)
    both = torch.stack([(angle.cos() * radius).sum(0), (angle.sin_() * radius).sum(0)])
    return np.asarray(both.view(-1).numpy(), dtype=np.float64)


_MULTIPLIER = "correct noise_multiplier or clip_norm_l2"
