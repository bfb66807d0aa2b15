"""Draw ε over time as a separate SVG file: a step curve for each cohort, its cap as a dashed line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from html import escape

from fedward.privacy.ledger.statement import Curve
from fedward.reporting.charts.svg import LETTER, Scale, spread

WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 760, 340, 48, 56, 40
_STEPS = (1, 2, 5)
_STYLE = """
:root { --paper: #fcfbf8; --ink: #1c2226; --soft: #5b6469; --grid: #e7e3d9;
  --s0: #0b6e69; --s1: #a2541c; --s2: #4a5fa5; --s3: #8c3d6b; --s4: #5d7a1f; --s5: #6b5b95; }
@media (prefers-color-scheme: dark) { :root { --paper: #14181a; --ink: #e6e4de; --soft: #a3abae; --grid: #283034;
  --s0: #5cc4bb; --s1: #e39a63; --s2: #93a8ec; --s3: #dd8fbb; --s4: #aecb6a; --s5: #b7a6e3; } }
text { font: 12.5px system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; fill: var(--ink); }
.paper { fill: var(--paper); } .grid { stroke: var(--grid); } .tick { fill: var(--soft); } .title { font-weight: 600; }
.end { text-anchor: end; } .mid { text-anchor: middle; } .name { font-weight: 600; }
.series { fill: none; } .cap { stroke-width: 1.4; stroke-dasharray: 6 4; } .leader { opacity: .45; }
"""


def spend_chart(curves: Sequence[Curve], *, site: str) -> str:
    """Draw the ε that each cohort had spent at each time.

    A cohort that a job without protection used has no finite ε: its curve leaves at the top, marked ∞. The last value
    is beside the cohort's name; a curve continues level from its last step to the newest time of all.

    Returns:
        SVG text of a complete file, or "" if nothing was spent.
    """
    drawn = [curve for curve in curves if curve.points]
    if not drawn:
        return ""
    times = [datetime.fromisoformat(at) for curve in drawn for at, _ in curve.points]
    first, last = min(times), max(times)
    span = max(last - first, timedelta(minutes=1))
    first, last = first - 0.04 * span, last + 0.04 * span
    finite = [value for curve in drawn for value in (*(e for _, e in curve.points), curve.cap or 0.0)]
    top = 1.08 * max([value for value in finite if math.isfinite(value)]) or 1.0
    right = WIDTH - LETTER * min(max(len(curve.cohort) for curve in drawn) + 8, 30) - 28
    x, y = Scale(0.0, (last - first).total_seconds(), LEFT, right), Scale(0.0, top, HEIGHT - BOTTOM, TOP)
    parts = [*_value_axis(y, right), *_time_axis(first, x)]
    ends = _ends(drawn, y)
    for number, curve in enumerate(drawn):
        wide = min(2.0 + 2.5 * (len(drawn) - 1 - number), 9.5)  # a curve below another one stays visible
        parts += _curve(curve, f"s{number % 6}", x, y, first, label=ends[str(number)], wide=wide)
    parts.append(_text("title", 8, 22, f"ε of the patient who has spent most, {site}"))
    parts.append(_text("tick", 8, 40, "dashed: the cohort's cap"))
    label = escape("; ".join(f"cohort {curve.cohort}: {_value(curve.points[-1][1])}" for curve in drawn))
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'role="img" aria-label="{label}">\n<style>{_STYLE}</style>\n'
        f'<rect class="paper" width="{WIDTH}" height="{HEIGHT}"/>\n{body}\n</svg>'
    )


def _curve(curve: Curve, colour: str, x: Scale, y: Scale, first: datetime, *, label: float, wide: float) -> list[str]:
    """Draw a step at each time, level to the right edge, and the name with the last value beside it."""
    places = [
        (x((datetime.fromisoformat(at) - first).total_seconds()), _height(value, y)) for at, value in curve.points
    ]
    path = f"M{places[0][0]:.1f} {y(0.0):.1f}" + "".join(f"V{high:.1f}H{at:.1f}" for at, high in _corners(places, x))
    stroke = f'style="stroke: var(--{colour})"'
    parts = [f'<path class="series" stroke-width="{wide:g}" {stroke} d="{path}"/>']
    if curve.cap is not None:
        parts.append(_line("cap", LEFT, y(curve.cap), x.end, y(curve.cap), stroke))
    parts.append(_line("leader", x.end + 2, places[-1][1], x.end + 14, label, stroke))
    words = f"{curve.cohort[:20]} {_value(curve.points[-1][1])}"
    parts.append(_text("name", x.end + 18, label + 4, words, f'style="fill: var(--{colour})"'))
    return parts


def _corners(places: Sequence[tuple[float, float]], x: Scale) -> list[tuple[float, float]]:
    """Return the end and the height of each level."""
    until = [at for at, _ in places[1:]] + [x.end]
    return [(end, high) for end, (_, high) in zip(until, places, strict=True)]


def _height(value: float, y: Scale) -> float:
    return y(value) if math.isfinite(value) else y.end - 10


def _value(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else "∞"


def _ends(curves: Sequence[Curve], y: Scale) -> dict[str, float]:
    places = {str(number): _height(curve.points[-1][1], y) for number, curve in enumerate(curves)}
    return spread(places, gap=17, low=TOP - 12, high=HEIGHT - BOTTOM)


def _value_axis(y: Scale, right: float) -> list[str]:
    """Draw ticks at steps of 1, 2 or 5 times a power of ten, at most eight steps."""
    scale = 10.0 ** math.floor(math.log10(y.high) - 1)
    step = next(s * scale * ten for ten in (1, 10, 100) for s in _STEPS if y.high / (s * scale * ten) <= 8)
    ticks = [step * number for number in range(int(y.high / step) + 1)]
    lines = [_line("grid", LEFT, y(tick), right, y(tick)) for tick in ticks]
    return lines + [_text("tick end", LEFT - 8, y(tick) + 4, f"{tick:g}") for tick in ticks]


def _time_axis(first: datetime, x: Scale) -> list[str]:
    """Draw four times, as days, or as minutes if the axis spans at most two days; all UTC."""
    form = "%Y-%m-%d" if x.high > 2 * 86_400 else "%m-%d %H:%M"
    parts = []
    for quarter in (0.08, 0.36, 0.64, 0.92):
        seconds = quarter * x.high
        words = (first + timedelta(seconds=seconds)).strftime(form)
        parts.append(_text("tick mid", x(seconds), HEIGHT - BOTTOM + 20, words))
    return parts


def _line(kind: str, x1: float, y1: float, x2: float, y2: float, style: str = "") -> str:
    return f'<line class="{kind}" {style} x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(kind: str, x: float, y: float, words: str, style: str = "") -> str:
    return f'<text class="{kind}" {style} x="{x:.1f}" y="{y:.1f}">{escape(words)}</text>'
