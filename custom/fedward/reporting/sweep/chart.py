"""Draw a measure against ε as SVG text: one panel a class, one line a site, an interval at each point. No script.

Colours come from the page's style sheet through class names, as in ``fedward.reporting.charts.svg``; a line based on
few patients has hollow points and states their number.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from fedward.reporting.charts.svg import LETTER, NARROW, Scale, spread, value_scale

INFINITY = "∞"
_STEP = 0.75
"""Distance of the run without noise beyond the largest ε, in octaves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """One point: ε (inf: no noise), value, and the ends of its interval if it has one."""

    epsilon: float
    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One site's values for one class.

    Attributes:
        site: site whose validation patients were measured.
        name: the class, label or structure; "" for the mean over them.
        note: numbers of patients on which the line is based.
        few: note on small numbers, such as "24 patients"; "" if there are enough.
        marks: points in the order of ε, without those that could not be measured.
    """

    site: str
    name: str
    note: str
    few: str
    marks: tuple[Mark, ...]


def sweep_chart(lines: Sequence[Line], *, epsilons: Sequence[float], measure: str, width: int) -> str:
    """Draw every class in a separate panel, with the same axes.

    Args:
        lines: lines to draw.
        epsilons: values of the axis, in order; inf is drawn apart at its end.
        measure: name of the measure, as shown.
        width: width of the drawing, in the units of its text; 760 for a page, 380 for a phone.

    Returns:
        SVG text, or "" if no value was measured.
    """
    drawn = [line for line in lines if line.marks]
    if not drawn:
        return ""
    sites = list(dict.fromkeys(line.site for line in drawn))
    names = list(dict.fromkeys(line.name for line in drawn))
    frame = _Frame(drawn, epsilons, width=width, sites=len(sites))
    parts, top = [], 0.0
    for name in names:
        own = [line for line in drawn if line.name == name]
        body = _panel(own, frame, title=_title(name, measure, alone=len(names) == 1), sites=sites)
        parts += [f'<g transform="translate(0 {top:g})">', *body, "</g>"]
        top += frame.height
    parts.append(
        _text("tick mid", (frame.left + frame.right) / 2, top + 14, f"ε of the whole job; {INFINITY}: no noise")
    )
    spoken = "; ".join(f"{line.site} {line.name or 'mean'} {_spoken(line)}" for line in drawn)
    label = escape(f"{measure} at each site against ε. {spoken}.")
    body_text = "\n".join(parts)
    return f'<svg viewBox="0 0 {width} {top + 22:g}" role="img" aria-label="{label}">\n{body_text}\n</svg>'


def shown(epsilon: float) -> str:
    """Format ε for reading."""
    return INFINITY if math.isinf(epsilon) else f"{epsilon:g}"


class _Frame:
    """Layout that all panels share: the axes, and the space for the sites' names at the right."""

    def __init__(self, lines: Sequence[Line], epsilons: Sequence[float], *, width: int, sites: int) -> None:
        few = any(line.few for line in lines)
        self.gap, self.epsilons = 30 if few else 17, tuple(epsilons)
        share = 0.42 if width < NARROW else 0.34
        self.letters = min(max(len(line.site) for line in lines) + 6, int(share * width / LETTER))
        self.top, self.left, self.right = 30.0, 36.0, width - self.letters * LETTER - 24
        self.bottom = self.top + max(190.0, self.gap * sites)
        self.height = self.bottom + 34
        ends = [end for line in lines for mark in line.marks for end in _ends(mark)]
        self.y = value_scale(ends, self.bottom, self.top)
        self._places = _places(epsilons)
        widest = max(self._places.values())
        inset = 14.0
        self._x = Scale(0.0, widest or 1.0, self.left + inset, self.right - inset)

    def x(self, epsilon: float) -> float:
        return self._x(self._places[epsilon])


def _places(epsilons: Sequence[float]) -> Mapping[float, float]:
    """Return ε -> place in octaves from the smallest; the run without noise is a step beyond the largest."""
    finite = [epsilon for epsilon in epsilons if math.isfinite(epsilon)]
    places = {epsilon: math.log2(epsilon / min(finite)) for epsilon in finite}
    beyond = max(places.values(), default=0.0) + max(_STEP, 0.2 * max(places.values(), default=0.0))
    return {epsilon: places.get(epsilon, beyond) for epsilon in epsilons}


def _panel(lines: Sequence[Line], frame: _Frame, *, title: str, sites: Sequence[str]) -> list[str]:
    parts = [_text("name", 0, 14, title)]
    parts += [_rule("grid", frame.left, frame.y(tick), frame.right, frame.y(tick)) for tick in frame.y.ticks()]
    parts += [_text("tick end", frame.left - 8, frame.y(tick) + 4, f"{tick:g}") for tick in frame.y.ticks()]
    parts += [_text("tick mid", frame.x(at), frame.bottom + 20, shown(at)) for at in frame.epsilons]
    ends = {line.site: frame.y(line.marks[-1].value) for line in lines}
    low, high = frame.top + 4, frame.bottom - (frame.gap - 17)
    ends = spread(ends, gap=frame.gap, low=low, high=high)
    for line in lines:
        number = sites.index(line.site)
        shift = 5.0 * (number - (len(sites) - 1) / 2)
        parts += _series(line, frame, colour=f"s{number % 6}", dash=number // 6, shift=shift)
        parts += _name(line, frame, colour=f"s{number % 6}", y=ends[line.site], shift=shift)
    return parts


def _series(line: Line, frame: _Frame, *, colour: str, dash: int, shift: float) -> list[str]:
    """Draw points with their intervals; the line to ∞ is dotted, because it has no length on the axis."""
    at = [(frame.x(mark.epsilon) + shift, frame.y(mark.value), mark) for mark in line.marks]
    parts = []
    for (x1, y1, _), (x2, y2, second) in pairwise(at):
        pattern = "2 5" if math.isinf(second.epsilon) else ("6 4" if dash else "")
        style = f' stroke-dasharray="{pattern}"' if pattern else ""
        parts.append(f'<path class="series {colour}" d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}"{style}/>')
    for x, y, mark in at:
        if mark.low is not None and mark.high is not None:
            parts.append(_rule(f"interval {colour}", x, frame.y(mark.low), x, frame.y(mark.high)))
        title = escape(f"{line.site} {line.name}, ε {shown(mark.epsilon)}: {_value(mark)}; {line.note}")
        kind = f"hollow {colour}" if line.few else f"dot {colour}"
        parts.append(f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="4"><title>{title}</title></circle>')
    return parts


def _name(line: Line, frame: _Frame, *, colour: str, y: float, shift: float) -> list[str]:
    last, start = line.marks[-1], frame.right + 6
    place = frame.x(last.epsilon) + shift
    value = f"{last.value:.3f}"
    words = f"{_short(line.site, frame.letters - 6)} {value}"
    parts = [_rule(f"leader {colour}", place + 6, frame.y(last.value), start + 10, y)]
    parts.append(_text(f"name {colour}", start + 14, y + 4, words))
    if line.few:
        parts.append(_text("tick", start + 14, y + 18, _short(line.few, frame.letters)))
    return parts


def _title(name: str, measure: str, *, alone: bool) -> str:
    if name:
        return f"{measure}, {name}"
    return measure if alone else f"{measure}, mean"


def _ends(mark: Mark) -> list[float]:
    return [end for end in (mark.value, mark.low, mark.high) if end is not None]


def _value(mark: Mark) -> str:
    interval = "" if mark.low is None or mark.high is None else f" ({mark.low:.3f} to {mark.high:.3f})"
    return f"{mark.value:.3f}{interval}"


def _spoken(line: Line) -> str:
    return ", ".join(f"{mark.value:.3f} at ε {shown(mark.epsilon)}" for mark in line.marks)


def _short(text: str, letters: int) -> str:
    return text if len(text) <= letters else text[: max(letters - 1, 1)] + "…"


def _rule(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(kind: str, x: float, y: float, words: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(words)}</text>'
