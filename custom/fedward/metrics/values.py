"""Read the values of an event for the metrics store: a value that is none of the kind is None."""

from __future__ import annotations

import math
from typing import Any

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
