"""Define the base of every settings model: immutable, no unknown key; and the values that several of them have."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field


def form(pattern: str, rule: str) -> AfterValidator:
    """Return a check of a text's form that refuses another one with ``rule``, which says in words what to write."""
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        if compiled.fullmatch(value) is None:
            raise ValueError(rule)
        return value

    return AfterValidator(check)


def _no_text(value: Any) -> Any:
    if isinstance(value, str):
        raise ValueError("is text: write true or false, without quotes")
    return value


Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Flag = Annotated[bool, BeforeValidator(_no_text)]
"""True or false. A text is refused: pydantic alone would take "yes", "on" and "t" for true."""


class Settings(BaseModel):
    """Base of every settings model: immutable, no unknown key, no infinity and no NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
