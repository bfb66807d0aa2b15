"""Return the released metrics, or the refusal, of one decision of ``release``, in the form that its tests use."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from fedward.privacy.disclosure import release as room
from fedward.privacy.disclosure.rule import Rule
from fedward.settings import Disclosure


def _decided(
    metrics: object,
    disclosure: Disclosure,
    *,
    private: bool,
    alone: bool = False,
    names: Collection[str] | None = None,
    exclusive: bool = True,
) -> room.Release:
    return room.release(
        metrics, Rule(disclosure, private, alone, None if names is None else frozenset(names), exclusive)
    )


def release(metrics: Mapping[str, Any], disclosure: Disclosure, **how: Any) -> dict[str, Any]:
    """The metrics that may leave."""
    return _decided(metrics, disclosure, **how).metrics


def refused(metrics: object, disclosure: Disclosure, **how: Any) -> list[str]:
    """Why metrics may not leave as they are."""
    return list(_decided(metrics, disclosure, **how).refused)
