"""``[encryption]`` of a job: updates leave so that the server can add them and not read them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fedward.settings.base import Settings

Scheme = Literal["aes-ctr", "bfv", "ckks"]
"""How numbers are hidden; the federation's key says which. See ``fedward.encryption.schemes``."""
Precision = Literal["compact", "precise"]
MIN_CONTRIBUTORS = 3
"""Smallest number of hospitals in a secure sum: in a sum of two, each learns the other's part."""


class JobEncryption(Settings):
    """``[encryption]``: what all sites must agree on so that what they send can be added. None of it is secret."""

    precision: Precision = Field(
        default="compact", description="Bytes against error of the mean: see docs/encryption.md for both."
    )
    clipping_range: float = Field(
        default=16.0,
        gt=0.0,
        le=1e6,
        description="Largest absolute value of a weight of the model; beyond it a value is clipped and counted.",
    )
    max_sites: int = Field(default=16, ge=3, le=256, description="Most sites in a sum; more leave no room for them.")
    max_patients: int = Field(
        default=10_000, ge=1, description="With weighting by patients: most that a site may count for; more is refused."
    )
    open_final: bool = Field(
        default=True,
        description="A hospital opens the final model for the data scientist; else it stays with the hospitals.",
    )
    statistics: bool = Field(
        default=True,
        description="Also sum score histograms and cohort statistics, so that pooled figures need no site's own.",
    )
