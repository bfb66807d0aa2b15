"""Quantise a model's weights to integers whose sum over sites cannot overflow; decode the sum to the weighted mean."""

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
    """Quantisation of one site's weights, with the site's share of the range of a sum.

    A site of weight w sends ``weight_code = w · limit`` and ``code_i ≈ value_i / clipping_range · weight_code``; the
    sites' sums of both give ``mean_i = clipping_range · sum(code_i) / sum(weight_code)``.

    Guarantees: ``|code| <= weight_code <= limit``, so the sum of ``max_sites`` sites fits in ``bits`` bits and never
    wraps. Rounding is stochastic and unbiased: before float32 rounds it, the expectation of a mean over S sites is the
    weighted mean of the values within ±clipping_range; the two differ by less than
    ``S · clipping_range / sum(weight_code)``, which is ``step`` where every site has weight 1.

    Attributes:
        clipping_range: largest absolute value of a weight of the model; larger values are clipped and counted.
        bits: of one number of the sum, its sign included.
        max_sites: largest number of sites in a sum.

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
        """Value of one code at weight 1, in the unit of the model's weights."""
        return self.clipping_range / self.limit

    def weight_code(self, weight: float) -> int:
        """Return a site's weight as an integer from 1 to ``limit``.

        Args:
            weight: in (0, 1]: the site's patients divided by the most that a site may count for, or 1.

        Raises:
            EncryptionError: the weight is outside (0, 1] or NaN; a larger one would overflow the sum.
        """
        if not 0.0 < weight <= 1.0:
            raise EncryptionError(
                "weight of a site is not in (0, 1]: the sum could overflow", remedy="raise max_patients"
            )
        return max(1, round(weight * self.limit))

    def encode(self, values: NDArray[np.floating[Any]], *, weight_code: int) -> tuple[NDArray[np.int64], int]:
        """Return one site's codes, int64 of shape (n,), and the number of values that were clipped.

        A code is ``floor(x)`` or the next integer, for ``x = value · weight_code / clipping_range``. The fraction of
        ``x`` is the probability of the next integer, so that the expectation is ``x``. SFC64 draws from the system's
        entropy. The draw protects nothing; without it, small updates would be rounded to zero in every round.

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
        """Return the weighted mean, float32 of shape (n,), from the sites' sums.

        Args:
            codes: sum of the sites' codes, int64 of shape (n,).
            weight_code: sum of the sites' weight codes.
            sites: number of sites.

        Raises:
            EncryptionError: there are no sites or more than ``max_sites``, this number of sites cannot have this sum of
                weights, or a sum of codes is larger than the sum of weights.
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
