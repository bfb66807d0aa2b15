"""Weights of a model as integers whose sum over sites cannot overflow, and that sum as the sites' weighted mean."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedward.encryption.stream import blocks
from fedward.errors import EncryptionError


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedPoint:
    """One site's share of the range of a sum.

    A site of weight w sends ``weight_code = w · limit`` and ``code_i ≈ value_i / clipping_range · weight_code``; the
    sites' sums of both give ``mean_i = clipping_range · sum(code_i) / sum(weight_code)``.

    Guarantees: ``|code| <= weight_code <= limit``, so the sum of ``max_sites`` sites has ``bits`` bits and never wraps.
    Rounding is stochastic and unbiased: a mean over S sites has, before float32 rounds it, the expectation of the
    weighted mean of the values within ±clipping_range, and differs from that by less than
    ``S · clipping_range / sum(weight_code)``, which is ``step`` where every site has weight 1.

    Attributes:
        clipping_range: largest absolute value of a weight of the model; what is beyond is clipped and counted.
        bits: of one number of the sum, its sign included.
        max_sites: most sites in a sum.

    Raises:
        EncryptionError: ``clipping_range`` is not positive and finite, or the bits leave no room for the sites.
    """

    clipping_range: float
    bits: int
    max_sites: int

    def __post_init__(self) -> None:
        if not (math.isfinite(self.clipping_range) and self.clipping_range > 0):
            raise EncryptionError("clipping range is not positive and finite", value=self.clipping_range)
        if not 2 <= self.bits <= 48:
            raise EncryptionError("bits of a number are not from 2 to 48", value=self.bits)
        if self.max_sites < 1 or self.limit < 1:
            raise EncryptionError(f"{self.bits} bits leave no room for so many sites", value=self.max_sites)

    @property
    def limit(self) -> int:
        """Largest absolute code of one site."""
        return int((2 ** (self.bits - 1) - 1) // self.max_sites)

    @property
    def step(self) -> float:
        """What one code stands for at weight 1, in the unit of the model's weights."""
        return self.clipping_range / self.limit

    def weight_code(self, weight: float) -> int:
        """A site's weight as an integer from 1 to ``limit``.

        Args:
            weight: in (0, 1]: the site's patients over the most a site may count for, or 1.

        Raises:
            EncryptionError: it is outside, or not a number; a larger one would overflow the sum.
        """
        if not 0.0 < weight <= 1.0:
            raise EncryptionError(
                "weight of a site is not in (0, 1]: the sum could overflow", remedy="raise max_patients"
            )
        return max(1, round(weight * self.limit))

    def encode(self, values: NDArray[np.floating[Any]], *, weight_code: int) -> tuple[NDArray[np.int64], int]:
        """One site's codes, int64 of shape (n,), and how many values were clipped.

        ``floor(x)`` or the next integer, the latter with the probability of the fraction of
        ``x = value · weight_code / clipping_range``, drawn by SFC64 from the system's entropy: the expectation is
        ``x``. The draw protects nothing; it keeps small updates from being rounded away round after round.

        Raises:
            EncryptionError: a value is not finite, ``values`` is not a vector, or ``weight_code`` is not from 1 to
                ``limit``.
        """
        if values.ndim != 1 or values.dtype.kind != "f":
            raise EncryptionError("values are not a vector of floating numbers", value=f"{values.dtype} {values.shape}")
        if not 1 <= weight_code <= self.limit:
            raise EncryptionError(f"weight of a site is not from 1 to {self.limit}: the sum could overflow")
        codes = np.empty(values.size, np.int64)
        random = np.random.Generator(np.random.SFC64())
        clipped = 0
        for block in blocks(values.size):
            exact = values[block].astype(np.float64)
            extent = np.maximum(exact.max(), -exact.min())
            if not np.isfinite(extent):
                raise EncryptionError("a value is not finite")
            if extent > self.clipping_range:
                clipped += int(np.count_nonzero(np.abs(exact) > self.clipping_range))
                np.clip(exact, -self.clipping_range, self.clipping_range, out=exact)
            exact *= weight_code / self.clipping_range
            whole = np.floor(exact)
            exact -= whole
            whole += random.random(exact.size) < exact
            np.clip(whole, -weight_code, weight_code, out=whole)
            codes[block] = whole
        return codes, clipped

    def decode(self, codes: NDArray[np.int64], *, weight_code: int, sites: int) -> NDArray[np.float32]:
        """The weighted mean, float32 of shape (n,), from the sites' sums.

        Args:
            codes: sum of their codes, int64 of shape (n,).
            weight_code: sum of their weight codes.
            sites: how many.

        Raises:
            EncryptionError: more sites than there is room for, a sum of weights that so many sites cannot have, or a
                sum of codes larger than that of the weights.
        """
        if not 1 <= sites <= self.max_sites:
            raise EncryptionError(f"sum is not of 1 to {self.max_sites} sites", value=sites)
        if not sites <= weight_code <= sites * self.limit:
            raise EncryptionError(f"sum of weights is not one that {sites} sites can have")
        mean = np.empty(codes.size, np.float32)
        for block in blocks(codes.size):
            part = codes[block]
            if part.max() > weight_code or part.min() < -weight_code:
                raise EncryptionError("sum holds a number larger than its weights allow")
            mean[block] = part * (self.clipping_range / weight_code)
        return mean
