"""Draw each site's score over the rounds, for a notebook: one line a site, with its 95 % interval at the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fedward.reporting.charts.svg import Scale, line, spread, svg, text, value_scale
from fedward.reporting.metrics.table import FEDERATED, Row

WIDTH, HEIGHT, LABELS = 720, 300, 260
COLOURS = ("#0b6e69", "#a2541c", "#4a5fa5", "#8c3d6b", "#5d7a1f", "#6b5b95")
_RULES = {
    "text": "font:12.5px sans-serif;fill:#1c2226",
    ".end": "text-anchor:end",
    ".mid": "text-anchor:middle",
    ".grid": "stroke:#e7e3d9",
    "path": "fill:none;stroke-width:2",
    **{f".s{number}": f"stroke:{colour}" for number, colour in enumerate(COLOURS)},
    **{f"text.s{number}": f"stroke:none;fill:{colour}" for number, colour in enumerate(COLOURS)},
}
_STYLE = f"<style>{''.join(f'.fedward-plot {name}{{{rule}}}' for name, rule in _RULES.items())}</style>"
"""Style of this drawing alone: a notebook shows it in one page with others."""
_PAPER = '<rect width="100%" height="100%" fill="#fcfbf8"/>'


@dataclass(frozen=True, slots=True)
class Drawing:
    """Drawing that a notebook shows.

    Attributes:
        svg: the drawing as SVG text, to be written into a file of its own.
    """

    svg: str

    def _repr_svg_(self) -> str:
        return self.svg


def draw_rounds(rows: Sequence[Row], *, measure: str, name: str) -> Drawing:
    """Draw the federated model's scores of one measure; a site without a value has no line.

    Args:
        rows: the table.
        measure: measure of the rows that are drawn.
        name: its name as shown.
    """
    series: dict[str, list[Row]] = {}
    for row in rows:
        if (row.model, row.label, row.measure) == (FEDERATED, "", measure) and row.round is not None:
            series.setdefault(row.site, []).append(row)
    drawn = {site: sorted(points, key=_round) for site, points in series.items()}
    ends = [value for points in drawn.values() for value in (*(p.value for p in points), *_interval(points[-1]))]
    numbers = [_round(point) for points in drawn.values() for point in points] or [0]
    x = Scale(min(numbers), max(*numbers, min(numbers) + 1), 46, WIDTH - LABELS)
    y = value_scale(ends or [0.5], HEIGHT - 40, 24)
    parts = [_STYLE, _PAPER]
    for tick in y.ticks():
        parts += [line("grid", x.start, y(tick), x.end, y(tick)), text("end", x.start - 8, y(tick) + 4, f"{tick:g}")]
    parts += [text("mid", x(number), HEIGHT - 20, f"{number:g}") for number in x.ticks() if number == int(number)]
    parts += [text("", x.start, 14, name), text("mid", (x.start + x.end) / 2, HEIGHT - 4, "rounds")]
    places = spread({site: y(points[-1].value) for site, points in drawn.items()}, gap=15, low=24, high=HEIGHT - 30)
    for place, (site, points) in enumerate(drawn.items()):
        kind, last = f"s{place % len(COLOURS)}", points[-1]
        path = " ".join(f"{'L' if i else 'M'}{x(_round(p)):.1f} {y(p.value):.1f}" for i, p in enumerate(points))
        parts.append(f'<path class="{kind}" d="{path}"/>')
        if bounds := _interval(last):
            beside = x(_round(last)) + 4 + 4 * place
            parts.append(line(kind, beside, y(bounds[0]), beside, y(bounds[1])))
        parts.append(text(kind, x.end + 12 + 4 * len(drawn), places[site] + 4, f"{site} {last.value:.3f}"))
    spoken = ", ".join(f"{site} {points[-1].value:.3f}" for site, points in drawn.items()) or "no value"
    made = svg(WIDTH, HEIGHT, f"{name} over the rounds", spoken, parts)
    return Drawing(made.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" class="fedward-plot" ', 1))


def _round(row: Row) -> int:
    return row.round or 0


def _interval(row: Row) -> tuple[float, ...]:
    return () if row.low is None or row.high is None else (row.low, row.high)
