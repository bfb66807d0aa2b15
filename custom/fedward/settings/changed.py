"""Explain keys that are no setting: renamed, removed, misspelt, or in another table; the error names the right one."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

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
