"""Read the values of an event for the metrics store: a value that is none of the kind is None."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, Literal

_LARGEST = 2**63 - 1
_REASON = 500
"""Letters kept of a reason, because it may come from a site."""


def real(value: Any) -> float | None:
    """Return a finite number, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def whole(value: Any) -> int | None:
    """Return a count from 0 that SQLite can hold, or None (also for round -1)."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _LARGEST:
        return None
    return value


def word(value: Any) -> str | None:
    """Return the value as one line of text, or None."""
    return None if value is None else " ".join(str(value).split())[:_REASON]


def stage_seconds(event: Mapping[str, Any], metrics: Mapping[str, Any]) -> dict[str, float | None]:
    """Return seconds by stage; the rest is transfer and waiting."""
    known = {name: real(metrics.get(name)) for name in ("validate_s", "train_s", "seal_s")}
    whole_s = real(event.get("seconds"))
    rest = None if whole_s is None else max(0.0, whole_s - sum(one or 0.0 for one in known.values()))
    return {**known, "rest_s": rest}


Outcome = Literal["accepted", "dropped", "left out"]
"""Outcome of a site in a round."""
LEFT_OUT: Final = "left out"
"""Nothing is wrong with the site's answer, and others were chosen."""


def outcome_of(value: object) -> Outcome:
    """Return an outcome of any origin; what is none counts as dropped."""
    return "accepted" if value == "accepted" else LEFT_OUT if value == LEFT_OUT else "dropped"
