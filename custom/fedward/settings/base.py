"""Define the base of every settings model: immutable, no unknown key, names of one form."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

SiteId = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$", max_length=48)]
"""Site's id in lower-case kebab: the same in certificate, folder, label and dashboard."""
Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$", max_length=64)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


class Settings(BaseModel):
    """Base of every settings model: immutable, no unknown key, no infinity and no NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
