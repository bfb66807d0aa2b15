"""Word the faults that pydantic found in settings: key, what to write, and the value that is there."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from fedward.errors import brief
from fedward.settings.changed import hint, meant, renamed_within

_PLAIN = {
    "missing": "is missing",
    "bool_type": "is true or false, without quotes",
    "int_type": "is a whole number, without quotes",
    "int_parsing": "is a whole number, without quotes",
    "int_from_float": "is a whole number",
    "float_type": "is a number, without quotes",
    "float_parsing": "is a number, without quotes",
    "dict_type": "is a table, with settings of its own",
    "model_type": "is a table, with settings of its own",
}
"""Kind of fault -> words for it in place of pydantic's."""
_MOST, _LONGEST = 20, 200
"""Faults that are listed, and characters of a key or a value in one."""
_IN_QUOTES = frozenset({"string_type", "path_type"})
_IN_BRACKETS = frozenset({"tuple_type", "list_type"})


def faults(error: ValidationError, model: type[BaseModel]) -> str:
    """Return the faults, one after the other in one line; a key that is explained once is not named again."""
    found = []
    details = error.errors(include_url=False)
    places = [fault["loc"] for fault in details]
    for fault in details:
        own = fault["loc"]
        if fault["type"] == "too_short" and any(place[: len(own)] == own != place for place in places):
            continue  # none of its items is right, and each is named itself
        key = ".".join(str(part)[:_LONGEST] for part in own if part != "[key]")
        if fault["type"] == "extra_forbidden":
            instead = hint(own, model=error.title)
            found.append(f"{key}: {meant(own, model=model) if instead is None else instead}")
            continue
        if fault["type"] == "missing" and renamed_within(own, fault["input"], model=error.title):
            continue
        shown = (
            ""
            if fault["type"] == "missing" or isinstance(fault["input"], dict)
            else f" (found {brief(fault['input'], longest=_LONGEST)})"
        )
        found.append(f"{key}: {_words(fault)}{shown}" if key else f"{_words(fault)}")
    more = [f"and {len(found) - _MOST} more"] if len(found) > _MOST else []
    return " | ".join([*found[:_MOST], *more])


def _words(fault: ErrorDetails) -> str:
    kind, value = fault["type"], fault["input"]
    if kind in _IN_QUOTES and (read := _read_as(value)) is not None:
        return f"is read as {read}, not as text: put it in quotes"
    if kind in _IN_BRACKETS:
        return (
            f"is a list: write [{_in_toml(value)}]"
            if isinstance(value, str | int | float)
            else "is a list, in brackets"
        )
    return _PLAIN.get(kind, fault["msg"]).removeprefix("Value error, ")


def _read_as(value: Any) -> str | None:
    """Return words for a value that TOML or YAML reads from letters without quotes, such as YAML's NO and 2024."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "yes or no"
    if isinstance(value, int | float):
        return "a number"
    return None if isinstance(value, str | list | tuple | dict) else "a date"


def _in_toml(value: str | int | float) -> str:
    """Return a value as a file has it: a text in double quotes, cut if it is long."""
    if isinstance(value, str):
        return json.dumps(value if len(value) <= _LONGEST else f"{value[:_LONGEST]}…", ensure_ascii=False)
    return str(value).lower() if isinstance(value, bool) else brief(value)
