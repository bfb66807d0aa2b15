"""Word the faults that pydantic found in settings: key, what to write, and the value that is there.

A key that is no setting was renamed, removed, misspelt, or is in another table; the error names the right one.
"""

from __future__ import annotations

import difflib
import json
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from fedward.errors import brief

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
_LENGTHS = {"too_short": "or more", "too_long": "or fewer"}
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
    if kind in _LENGTHS:
        (limit,) = (fault["ctx"][name] for name in ("min_length", "max_length") if name in fault["ctx"])
        return f"has {fault['ctx']['actual_length']} entries, and needs {limit} {_LENGTHS[kind]}"
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


RENAMED: Mapping[str, Mapping[str, str]] = {
    "JobSpec": {"encryption.largest": "clipping_range", "federation.local_only": "local_baseline"},
    "SitePolicy": {
        "leaving": "disclosure",
        "admits": "auto_approve",
        "cohorts.*.pacs.way": "protocol",
        "cohorts.*.pacs.own_ae_title": "calling_ae_title",
        "cohorts.*.pacs.find": "query",
    },
}
"""Class of the settings -> old key, with ``*`` for the name of a cohort -> the last part of the new key."""
REMOVED: Mapping[str, Mapping[str, str]] = {
    "JobSpec": {
        "privacy.dp_sgd.unit": "ε is always for a patient; an ε of 6.6 for images may be 38 for a patient with two",
        "privacy.dp_sgd.sampler": "each patient is always drawn independently (Poisson): for no other way is ε proven",
        "privacy.update.sensitivity_l2": "the sensitivity is always 2 · clip_norm_l2: with one patient changed, the "
        "clipped update may move from one side of the ball to the other",
        "privacy.update.stages": "the order is always clip, noise, encrypt: noise is measured against the clip, and "
        "nobody can clip or add noise to a cipher",
    }
}
"""Class of the settings -> key -> reason why the setting was removed."""


def hint(location: tuple[Any, ...], *, model: str) -> str | None:
    """Return an explanation of a renamed or removed key of a class of settings; None where the key never existed."""
    key = _key(location)
    if key in RENAMED.get(model, {}):
        return f"is called {RENAMED[model][key]} now; rename it"
    if key in REMOVED.get(model, {}):
        return f"is no setting any more, {REMOVED[model][key]}; leave it out"
    return None


def meant(location: tuple[Any, ...], *, model: type[BaseModel]) -> str:
    """Return words for a key that never existed, with the settings of the class that it may stand for."""
    *above, name = (str(part) for part in location)
    table = _table(model, location[:-1])
    near = [] if table is None else difflib.get_close_matches(name, table.model_fields, n=2, cutoff=0.6)
    likely = [".".join([*above, one]) for one in near] or [key for key in _keys(model) if key.split(".")[-1] == name]
    return "is no setting here" + (f"; did you mean {' or '.join(likely[:3])}?" if likely else "")


def _table(annotation: Any, location: tuple[Any, ...]) -> type[BaseModel] | None:
    """Return the settings at a place below others; None where there are none."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if not location:
            return annotation
        field = annotation.model_fields.get(str(location[0]))
        return None if field is None else _table(field.annotation, location[1:])
    named = typing.get_origin(annotation) in (dict, tuple)  # the name in a table, or the number in a list
    inner = [_table(one, location[1:] if named else location) for one in typing.get_args(annotation)]
    return next((one for one in inner if one is not None), None)


def _keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """List a class's settings, those of its tables included, but of no table that the file gives a name."""
    for name, field in model.model_fields.items():
        yield f"{prefix}{name}"
        table = _table(field.annotation, ())
        if table is not None:
            yield from _keys(table, f"{prefix}{name}.")


def renamed_within(location: tuple[Any, ...], content: Any, *, model: str) -> bool:
    """True if a missing key is in the file under its old name, which ``hint`` explains already."""
    *above, name = location
    olds = [old.rpartition(".")[2] for old, new in RENAMED.get(model, {}).items() if new == name]
    return isinstance(content, dict) and any(old in content and hint((*above, old), model=model) for old in olds)


def _key(location: tuple[Any, ...]) -> str:
    parts = ["*" if number == 1 and location[0] == "cohorts" else str(part) for number, part in enumerate(location)]
    return ".".join(parts)
