"""Define the base of every settings model: immutable, no unknown key; and the values that several of them have."""

from __future__ import annotations

import re
import types
import typing
from functools import cache
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator


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


@cache
def _kinds_of(model: type[BaseModel], name: str) -> frozenset[Any]:
    return _kinds(model.model_fields[name].annotation) if name in model.model_fields else frozenset()


def _kinds(annotation: Any) -> frozenset[Any]:
    """Return the plain types in a field's annotation."""
    if typing.get_origin(annotation) is Annotated:
        return _kinds(typing.get_args(annotation)[0])
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is not None:
        return frozenset().union(*map(_kinds, typing.get_args(annotation)))
    return frozenset({annotation})


class Settings(BaseModel):
    """Base of every settings model: immutable, no unknown key, no infinity and no NaN, a number only without quotes."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _numbers_are_numbers(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse text and true or false for a number: pydantic alone would take "6" and true for 6 and 1."""
        kinds = _kinds_of(cls, info.field_name or "")
        if not kinds & {int, float} or kinds & {str, bool, Any}:
            return value
        for one in value if isinstance(value, list | tuple) else [value]:
            if isinstance(one, str | bool):
                raise ValueError(f"is a {'number' if float in kinds else 'whole number'}, without quotes")
        return value
