"""Draw lines over two logarithmic axes as SVG; a straight line of slope one is linear growth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 420, 60, 240, 40, 50
COLOURS = ("#0b6e99", "#c4551d", "#3b7d3b", "#7a4fa3")


@dataclass(frozen=True, slots=True)
class Series:
    """A named line.

    Attributes:
        points: x and y, both positive.
    """

    name: str
    points: Sequence[tuple[float, float]]


def log_log(series: Sequence[Series], *, x: str, title: str) -> str:
    """Return the drawing of all lines, with their names."""
    xs = [math.log10(point[0]) for one in series for point in one.points]
    ys = [math.log10(point[1]) for one in series for point in one.points]
    low_y, high_y = math.floor(min(ys)), math.ceil(max(ys))

    def place(point: tuple[float, float]) -> tuple[float, float]:
        across = (math.log10(point[0]) - min(xs)) / (max(xs) - min(xs))
        up = (math.log10(point[1]) - low_y) / (high_y - low_y)
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    parts = [f'<text x="{LEFT}" y="20" font-weight="bold">{escape(title)}</text>']
    for power in range(low_y, high_y + 1):
        _, y = place((10 ** min(xs), 10.0**power))
        parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{10.0**power:g}</text>')
    for value in sorted({point[0] for one in series for point in one.points}):
        at, bottom = place((value, 10.0**low_y))
        parts.append(f'<text x="{at:.1f}" y="{bottom + 18:.1f}" text-anchor="middle">{value:g}</text>')
    parts.append(
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" y="{HEIGHT - 10}" text-anchor="middle">{escape(x)}</text>'
    )
    for number, one in enumerate(series):
        places, colour = [place(point) for point in one.points], COLOURS[number % len(COLOURS)]
        path = "L".join(f"{across:.1f} {up:.1f}" for across, up in places)
        parts.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{across:.1f}" cy="{up:.1f}" r="3" fill="{colour}"/>' for across, up in places]
        across, up = places[-1]
        parts.append(f'<text x="{across + 8:.1f}" y="{up + 4:.1f}" fill="{colour}">{escape(one.name)}</text>')
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
            f'font-size="12" role="img" aria-label="{escape(title)}">',
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
            *parts,
            "</svg>",
        ]
    )


def write_svg(path: Path, drawing: str) -> None:
    """Write a drawing."""
    path.write_text(drawing + "\n", encoding="utf-8")
