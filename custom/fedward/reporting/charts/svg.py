"""Provide the parts of drawings as SVG text: scales, lines, labels.

Colours come from the page's style sheet through class names, so that a drawing follows light and dark mode. Text from
outside is always escaped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10

LETTER, NARROW = 8.6, 500
"""Width of one letter of a label, and the width below which a drawing is for a phone."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Linear scale from ``low``..``high`` to ``start``..``end`` in pixels, with round ticks."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Return three to eight round numbers within the scale."""
        power = 10.0 ** floor(log10((self.high - self.low) / 7))
        step = next(s * power for s in (1, 2, 5, 10) if (self.high - self.low) / (s * power) <= 7 + 1e-9)
        first = ceil(self.low / step - 1e-9)
        return [round(step * k, 4) for k in range(first, floor(self.high / step + 1e-9) + 1)]


def value_scale(values: Sequence[float], start: float, end: float) -> Scale:
    """Return a scale around ``values`` that ends on multiples of 0.05 and stays within 0 to 1."""
    low = max(0.0, floor(min(values) * 20 - 0.2) / 20)
    high = min(1.0, max(ceil(max(values) * 20 + 0.2) / 20, low + 0.1))
    return Scale(min(low, high - 0.1), high, start, end)


def loss_scale(values: Sequence[float], start: float, end: float) -> Scale:
    """Return a scale from 0, or from the lowest value if that is negative, to the highest."""
    low, high = min(0.0, *values), max(values)
    return Scale(low, high if high > low else low + 1.0, start, end)


def spread(places: Mapping[str, float], *, gap: float, low: float, high: float) -> dict[str, float]:
    """Move labels at least ``gap`` apart, in the same order and, if possible, within the range."""
    order = sorted(places, key=lambda name: places[name])
    moved: list[float] = []
    for name in order:
        moved.append(max(places[name], low, moved[-1] + gap if moved else low))
    limit = high
    for index in range(len(moved) - 1, -1, -1):
        moved[index] = min(moved[index], limit)
        limit = moved[index] - gap
    return dict(zip(order, moved, strict=True))


def line(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
    """Return a straight line with a class of the style sheet."""
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def text(kind: str, x: float, y: float, words: str) -> str:
    """Return a text element, escaped."""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(words)}</text>'


def svg(width: int, height: int, title: str, spoken: str, parts: Sequence[str]) -> str:
    """Return a drawing of ``parts``, with a description of its content for screen readers."""
    label = escape(f"{title}. {spoken}.")
    body = "\n".join(parts)
    return f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{label}">\n{body}\n</svg>'
