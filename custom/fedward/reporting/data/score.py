"""Define a number with its support, as every part of a report uses it.

None means "not measured". A score that is withheld because it covers too few patients has ``suppressed`` set and is
shown as "insufficient support". Neither is ever shown as 0.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One number with its support.

    Attributes:
        value: the number, or None if it was not measured or is withheld.
        low, high: ends of its 95 % interval, or None.
        n: number of patients it was measured on.
        images: number of these patients' images; None for a part, such as a label or a subgroup, for which no hospital
            reports it.
        positives: number of the ``n`` patients with the finding in an image; None for a segmentation.
        suppressed: True if withheld because it covers too few patients.
        why: reason why there is no value; "" if there is one.
    """

    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    images: int | None = None
    positives: int | None = None
    suppressed: bool = False
    why: str = ""


NOT_MEASURED = Score()


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One number of a line over the rounds, with the ends of its 95 % interval; None if there is none."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
