"""A number with its support, as every part of a report gives it.

None is "not measured". A score that was withheld because too few patients stand behind it has ``suppressed`` set and is
shown as "insufficient support". Neither is ever shown as 0.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One number with its support.

    Attributes:
        value: the number, or None where it was not measured or is withheld.
        low, high: ends of its 95 % interval, or None.
        n: patients it was measured on.
        images: of these patients, all together; None for a part, such as a label or a subgroup, of which no hospital
            tells it.
        positives: of ``n``, how many patients have the finding in an image; None for a segmentation.
        suppressed: withheld, because too few stand behind it.
        why: why there is no value; "" where there is one.
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
    """One number of a line over the rounds, with the ends of its 95 % interval; None where there is none."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
