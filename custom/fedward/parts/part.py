"""Define the description of one part that a job may name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal

from fedward.toml_text import toml_value

Kind = Literal["networks", "losses", "transforms", "optimizers"]

REQUIRED = "must be given"
"""Default of an argument that has none."""
NONE = "none"
"""Default of an argument that is left out unless the job gives it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A network, a loss, a transform or an optimizer.

    Attributes:
        kind: its table.
        name: its name in ``job.toml``.
        about: a phrase for what it is.
        facts: column -> value, as in the table of its kind.
        arguments: argument that a job may give -> its default as ``job.toml`` has it, ``NONE`` or ``REQUIRED``.
        set_here: arguments that Fedward sets, and a job may not give.
        example: lines for ``job.toml``.
    """

    kind: Kind
    name: str
    about: str
    facts: Mapping[str, str]
    arguments: Mapping[str, str]
    set_here: tuple[str, ...]
    example: str


def default_text(value: Any) -> str:
    """Return a default as ``job.toml`` has it; ``NONE`` for None, and a name for what TOML does not have."""
    if value is None:
        return NONE
    try:
        return toml_value(plain_value(value))
    except ValueError:
        return str(getattr(value, "__name__", value))


def plain_value(value: Any) -> Any:
    """Return a default with its enumerations as texts, and its tuples as lists."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, list | tuple):
        return [plain_value(one) for one in value]
    return {key: plain_value(one) for key, one in value.items()} if isinstance(value, dict) else value
