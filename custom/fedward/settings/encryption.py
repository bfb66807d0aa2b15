"""Define ``[encryption]`` of a job: the server can add the updates but cannot read them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from fedward.settings.base import Flag, Settings

KeyScheme = Literal["aes-ctr", "bfv", "ckks"]
"""Encryption scheme of a key that hospitals share. See ``fedward.encryption.schemes``."""
Scheme = Literal["masked", "aes-ctr", "bfv", "ckks"]
"""Encryption scheme of a job. See ``fedward.encryption.schemes``."""
Precision = Literal["compact", "precise"]
MIN_CONTRIBUTORS = 3
"""Smallest number of hospitals in a secure sum: in a sum of two, each learns the other's part."""


class JobEncryption(Settings):
    """``[encryption]``: settings that all sites must share so that their ciphertexts can be added. None is secret."""

    scheme: Scheme = Field(
        default="masked",
        description="`masked`: keys are made in the job, and up to max_colluding hospitals with the server cannot read "
        "another's numbers. The others use a key that the hospitals share: see docs/encryption.md.",
    )
    max_colluding: int | None = Field(
        default=None,
        ge=1,
        le=254,
        description="With scheme masked: largest number of hospitals that may side with the server. If absent, a third "
        "of federation.min_sites, or as many as groups bear, and 1 at least.",
    )
    graph: Literal["complete", "ccesa"] = Field(
        default="complete",
        description="With scheme masked: each two hospitals mask with each other; or only some, by a sparse random "
        "graph, which saves time from about 30 hospitals on and bears fewer that are lost: see docs/encryption.md.",
    )
    max_lost: float = Field(
        default=0.1,
        ge=0.0,
        lt=0.5,
        description="With graph ccesa: largest share of the hospitals that a round may lose, below 0.5.",
    )
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
        description="Also sum score histograms and cohort statistics: figures over all hospitals, none of one site.",
    )

    @model_validator(mode="after")
    def _settings_fit_the_scheme(self) -> JobEncryption:
        if self.max_colluding is not None and self.scheme != "masked":
            raise ValueError(f"max_colluding is for scheme masked: with {self.scheme} one hospital is enough")
        if self.graph != "complete" and self.scheme != "masked":
            raise ValueError(f"graph is for scheme masked: with {self.scheme} hospitals have no masks")
        if self.scheme == "ckks" and self.precision == "precise":
            raise ValueError("scheme ckks has no precise mode: choose another scheme, or compact")
        return self
