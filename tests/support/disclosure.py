"""What leaves and what is refused, each from one decision of ``release``, as the tests of it are written."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from fedward.privacy.disclosure import release as room
from fedward.privacy.disclosure.rule import Rule
from fedward.settings import Leaving


def _decided(
    metrics: object,
    leaving: Leaving,
    *,
    private: bool,
    alone: bool = False,
    names: Collection[str] | None = None,
    exclusive: bool = True,
) -> room.Release:
    return room.release(metrics, Rule(leaving, private, alone, None if names is None else frozenset(names), exclusive))


def release(metrics: Mapping[str, Any], leaving: Leaving, **how: Any) -> dict[str, Any]:
    """The metrics that may leave."""
    return _decided(metrics, leaving, **how).metrics


def refused(metrics: object, leaving: Leaving, **how: Any) -> list[str]:
    """Why metrics may not leave as they are."""
    return list(_decided(metrics, leaving, **how).refused)
