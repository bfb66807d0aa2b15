"""Define ``[encryption]`` of a job: the server can add the updates but cannot read them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fedward.settings.base import Flag, Settings

Scheme = Literal["aes-ctr", "bfv", "ckks"]
"""Encryption scheme; the federation's key determines it. See ``fedward.encryption.schemes``."""
Precision = Literal["compact", "precise"]
MIN_CONTRIBUTORS = 3
"""Smallest number of hospitals in a secure sum: in a sum of two, each learns the other's part."""


class JobEncryption(Settings):
    """``[encryption]``: settings that all sites must share so that their ciphertexts can be added. None is secret."""

    precision: Precision = Field(
        default="compact", description="Fewer bytes or a smaller error of the mean: see docs/encryption.md for both."
    )
    clipping_range: float = Field(
        default=16.0,
        gt=0.0,
        le=1e6,
        description="Largest absolute value of a model's weight; a larger value is clipped and counted.",
    )
    max_sites: int = Field(default=16, ge=3, le=256, description="Largest number of sites in a sum; more do not fit.")
    max_patients: int = Field(
        default=10_000,
        ge=1,
        description="With weighting by patients: largest number of patients of one site; more is refused.",
    )
    open_final: Flag = Field(
        default=True,
        description="A hospital decrypts the final model for the data scientist; if false, it stays with hospitals.",
    )
    statistics: Flag = Field(
        default=True,
        description="Also sum score histograms and cohort statistics: pooled figures then need no figure of one site.",
    )
