"""Draw small panels of equal size, one for each site: its line with interval, its ROC and its reliability curve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

from fedward.reporting.charts.svg import Scale, line, svg, text, value_scale
from fedward.reporting.data.curves import Bin, Curves, RocPoint
from fedward.reporting.data.report import Point, Report

WIDTH, HEIGHT, SIDE = 260, 170, 128
"""Width and height of a panel over the rounds, and side of a square of curves."""
LARGEST_DOT = 6.0


def interval_panels(report: Report, *, measure: str) -> dict[str, str]:
    """Return site -> panel, worst first: its value over the rounds with a 95 % interval band, other sites faint behind.

    All panels have the same scale.

    Args:
        report: report to draw.
        measure: name of the job's measure, as shown.

    Returns:
        SVG texts; none if no site's interval was measured at two points or more.
    """
    lines = {site.site: _known(site.history) for site in report.worst_first}
    drawn = {site: points for site, points in lines.items() if len(_banded(points)) >= 2}
    if not drawn:
        return {}
    ends = [end for points in drawn.values() for _, one in points for end in (one.value, one.low, one.high)]
    last = max(number for points in drawn.values() for number, _ in points)
    x = Scale(0, last, 34, WIDTH - 42)
    y = value_scale([end for end in ends if end is not None], HEIGHT - 32, 10)
    return {site: _interval_panel(site, lines, x, y, measure) for site in drawn}


def curve_panel(name: str, curves: Curves, together: Curves | None) -> str:
    """Draw ROC and reliability curve side by side, with the curve of all sites together faint behind each.

    Args:
        name: owner of the curves, for screen readers.
        curves: curves of this owner.
        together: curves of all sites together, or None.

    Returns:
        SVG text, or "" if the ROC has fewer than two points and no bin is known.
    """
    roc, bins = _roc(curves.roc), _shown(curves.reliability)
    if len(roc) < 2 and not bins:
        return ""
    left, gap, top = 30, 62, 18
    parts, spoken = [], []
    if len(roc) >= 2:
        x, y = Scale(0, 1, left, left + SIDE), Scale(0, 1, top + SIDE, top)
        parts += _square(x, y, "sensitivity", "1 − specificity")
        parts += [_path("behind", _roc(together.roc), x, y)] if together is not None and together.roc else []
        parts.append(_path("series federated", roc, x, y))
        spoken.append(f"ROC: sensitivity {_at(roc, 0.05):.2f} at 95 % specificity, {_at(roc, 0.2):.2f} at 80 %")
    if bins:
        start = left + SIDE + gap
        x, y = Scale(0, 1, start, start + SIDE), Scale(0, 1, top + SIDE, top)
        parts += _square(x, y, "positive, observed", "predicted score")
        behind = _shown(together.reliability) if together is not None else []
        parts += [_path("behind", [one.at for one in behind], x, y)] if len(behind) > 1 else []
        parts += _reliability(bins, x, y)
        spoken.append("reliability: " + ", ".join(one.spoken for one in bins))
    return svg(left + 2 * SIDE + gap + 10, top + SIDE + 36, name, "; ".join(spoken), parts)


def _interval_panel(
    site: str, lines: Mapping[str, Sequence[tuple[int, Point]]], x: Scale, y: Scale, measure: str
) -> str:
    points = lines[site]
    parts = [line("grid", x.start, y(tick), x.end, y(tick)) for tick in y.ticks()]
    parts += [text("tick end", x.start - 6, y(tick) + 4, f"{tick:g}") for tick in y.ticks()[::2]]
    parts += [text("tick mid", x(number), HEIGHT - 14, f"{number:g}") for number in (x.low, x.high)]
    parts.append(text("tick mid", (x.start + x.end) / 2, HEIGHT - 14, "rounds"))
    for other, behind in lines.items():
        if other != site and len(behind) >= 2:
            parts.append(_path("behind", _values(behind), x, y))
    band = _banded(points)
    edge = [(n, high) for n, _, high in band] + [(n, low) for n, low, _ in reversed(band)]
    parts.append(f'<polygon class="band" points="{" ".join(f"{x(n):.1f},{y(v):.1f}" for n, v in edge)}"/>')
    parts.append(_path("series federated", _values(points), x, y))
    number, value = _values(points)[-1]
    parts.append(f'<circle class="point federated" cx="{x(number):.1f}" cy="{y(value):.1f}" r="3.5"/>')
    parts.append(text("name federated", x(number) + 8, y(value) + 4, f"{value:.2f}"))
    low, high = band[-1][1:]
    spoken = f"{site}: {value:.3f} at the end, 95 % interval {low:.3f} to {high:.3f}"
    return svg(WIDTH, HEIGHT, f"{measure} over the rounds with its interval", spoken, parts)


def _square(x: Scale, y: Scale, up: str, along: str) -> list[str]:
    parts = [line("grid", x(tick), y.start, x(tick), y.end) for tick in (0, 0.5, 1)]
    parts += [line("grid", x.start, y(tick), x.end, y(tick)) for tick in (0, 0.5, 1)]
    parts.append(line("diagonal", x(0), y(0), x(1), y(1)))
    parts += [text("tick end", x.start - 6, y(tick) + 4, f"{tick:g}") for tick in (0, 0.5, 1)]
    parts += [text("tick mid", x(tick), y.start + 16, f"{tick:g}") for tick in (0, 1)]
    parts.append(text("tick", x.start, y.end - 7, up))
    parts.append(text("tick mid", (x.start + x.end) / 2, y.start + 32, along))
    return parts


def _reliability(bins: Sequence[_Dot], x: Scale, y: Scale) -> list[str]:
    most = max(one.patients for one in bins)
    parts = [_path("series federated", [one.at for one in bins], x, y)] if len(bins) > 1 else []
    for one in bins:
        radius, (score, seen) = max(1.5, LARGEST_DOT * sqrt(one.patients / most)), one.at
        title = f"<title>{one.title}</title>"
        parts.append(
            f'<circle class="point federated" cx="{x(score):.1f}" cy="{y(seen):.1f}" r="{radius:.1f}">{title}</circle>'
        )
    return parts


def _path(kind: str, points: Sequence[tuple[float, float]], x: Scale, y: Scale) -> str:
    steps = " ".join(f"{'L' if index else 'M'}{x(a):.1f} {y(b):.1f}" for index, (a, b) in enumerate(points))
    return f'<path class="{kind}" d="{steps}"/>'


def _known(history: Sequence[Point]) -> list[tuple[int, Point]]:
    return [(number, one) for number, one in enumerate(history) if one.value is not None]


def _values(points: Sequence[tuple[int, Point]]) -> list[tuple[int, float]]:
    return [(number, one.value) for number, one in points if one.value is not None]


def _banded(points: Sequence[tuple[int, Point]]) -> list[tuple[int, float, float]]:
    return [(n, one.low, one.high) for n, one in points if one.low is not None and one.high is not None]


def _roc(points: Sequence[RocPoint]) -> list[tuple[float, float]]:
    return [(point.fpr, point.tpr) for point in points if point.tpr is not None]


@dataclass(frozen=True, slots=True)
class _Dot:
    """Bin of the reliability table that is drawn, from ``low`` up to ``high``."""

    low: float
    high: float
    patients: int
    at: tuple[float, float]

    @property
    def spoken(self) -> str:
        return f"{self.at[1]:.2f} where {self.at[0]:.2f} is predicted"

    @property
    def title(self) -> str:
        predicted, observed = self.at
        return (
            f"{self.patients} patients with scores {self.low:g} to {self.high:g}: "
            f"{predicted:.2f} predicted, {observed:.2f} observed"
        )


def _shown(bins: Sequence[Bin]) -> list[_Dot]:
    highs = [*(one.low for one in bins[1:]), 1.0]
    return [
        _Dot(one.low, high, one.patients, (one.score, one.observed))
        for one, high in zip(bins, highs, strict=False)
        if one.score is not None and one.observed is not None and one.patients
    ]


def _at(roc: Sequence[tuple[float, float]], fpr: float) -> float:
    """Return the curve's height at the nearest point at or below a false positive rate."""
    return max((tpr for at, tpr in roc if at <= fpr + 1e-9), default=0.0)
