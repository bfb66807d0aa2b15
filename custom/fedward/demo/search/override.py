"""Change settings of a job by name; the changed job is checked as a file is."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any

from fedward.errors import SettingsError
from fedward.settings import JobSpec, changed_job, plain

_EITHER = (
    ("training.local_epochs", "training.local_steps"),
    ("privacy.dp_sgd.epsilon", "privacy.dp_sgd.noise_multiplier"),
)
"""Settings of which a job has one; to set one removes the other, unless both are given."""


def override(job: JobSpec, settings: Mapping[str, Any]) -> JobSpec:
    """Return the job with other values of some settings.

    Args:
        job: the job; it stays as it is.
        settings: setting by its dotted name, such as ``training.lr`` -> value; None removes it.

    Raises:
        SettingsError: a name that is no setting, with the one that is meant, or a value that is not allowed.
    """
    content = plain(job)
    for one, other in _EITHER:
        if one in settings and other not in settings:
            _set(content, other, None)
        if other in settings and one not in settings:
            _set(content, one, None)
    for key, value in settings.items():
        _set(content, key, value)
    named = ", ".join(f"{key} = {value!r}" for key, value in settings.items())
    return changed_job(job, content, where=f"{job.job.name} with {named}")


def dotted(tables: Mapping[str, Any], *, job: JobSpec) -> dict[str, Any]:
    """Return nested tables as dotted names -> values.

    A table is merged with the job's own, key by key. A table with a ``name``, such as ``training.loss``, replaces the
    job's: arguments of one loss are not those of another.
    """
    found: dict[str, Any] = {}
    for key, value in tables.items():
        found |= _flat(key, value, plain(job).get(key), top=True)
    return found


def choices(text: str) -> tuple[str, tuple[Any, ...]]:
    """Parse ``training.lr=0.01,0.03`` into the setting's name and its values, which are TOML; a bare word is text.

    Raises:
        SettingsError: no name, no value, or one value twice.
    """
    key, equals, written = text.partition("=")
    values = _values(written)
    twice = [value for number, value in enumerate(values) if value in values[:number]]
    if not equals or not key.strip() or not values or "" in values or twice:
        remedy = "write SETTING=VALUE,VALUE, such as training.lr=0.01,0.03"
        what = "names a value twice" if twice else "is no setting with values"
        raise SettingsError(what, where="--set", value=text, remedy=remedy)
    return key.strip(), values


def _values(written: str) -> tuple[Any, ...]:
    try:
        return tuple(tomllib.loads(f"values = [{written}]")["values"])
    except tomllib.TOMLDecodeError:
        return tuple(_value(part.strip()) for part in written.split(","))


def _value(part: str) -> Any:
    try:
        return tomllib.loads(f"value = {part}")["value"]
    except tomllib.TOMLDecodeError:
        return part


def _flat(key: str, value: Any, own: Any, *, top: bool = False) -> dict[str, Any]:
    if not isinstance(value, Mapping) or not value or (not isinstance(own, dict)) or ("name" in value and not top):
        return {key: value}
    found: dict[str, Any] = {}
    for name, inner in value.items():
        found |= _flat(f"{key}.{name}", inner, own.get(name))
    return found


def _set(content: dict[str, Any], key: str, value: Any) -> None:
    *above, last = key.split(".")
    table = content
    for number, part in enumerate(above):
        if table.get(part) is None:
            if value is None:
                return
            table[part] = {}
        inner = table[part]
        if not isinstance(inner, dict):
            what = f"{'.'.join(above[: number + 1])} is no table, so it has no {'.'.join([*above, last][number + 1 :])}"
            raise SettingsError(what, where=key, remedy="name a setting of docs/reference.md")
        table = inner
    table[last] = value
