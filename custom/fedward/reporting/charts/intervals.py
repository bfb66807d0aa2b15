"""Draw the report's charts as SVG text: lines over the rounds, points with intervals. No script, no outside request.

Colours come from the page's style sheet through class names, so that a drawing follows light and dark mode. Text from
outside is always escaped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from math import ceil

from fedward.reporting.charts.svg import LETTER, NARROW, Scale, line, loss_scale, spread, svg, text, value_scale
from fedward.reporting.data.report import Report, Score


def rounds_chart(report: Report, *, measure: str, width: int) -> str:
    """Draw each site's value before every round and after the last; the site's name is at the end of its line.

    Args:
        report: report to draw.
        measure: name of the job's measure, as shown.
        width: width of the drawing, in the units of its text; 760 for a page, 380 for a phone.

    Returns:
        SVG text, or "" if every site has fewer than two measured points.
    """
    lines = {
        site.site: [(number, one.value) for number, one in enumerate(site.history) if one.value is not None]
        for site in report.sites
    }
    return _lines(lines, value_scale, what=measure, axis="rounds the model has been through", width=width)


def losses_chart(report: Report, *, measure: str, width: int) -> str:
    """Draw each site's training loss in every round, as ``rounds_chart`` draws the measure."""
    lines = {
        site.site: [(number + 1, loss) for number, loss in enumerate(site.losses) if loss is not None]
        for site in report.sites
    }
    return _lines(lines, loss_scale, what="Training loss", axis="round", width=width)


def _lines(
    lines: Mapping[str, Sequence[tuple[int, float]]],
    scale: Callable[[Sequence[float], float, float], Scale],
    *,
    what: str,
    axis: str,
    width: int,
) -> str:
    drawn = {site: points for site, points in lines.items() if len(points) >= 2}
    if not drawn:
        return ""
    height, left, top, bottom = 300, 36, 14, 38
    letters = min(max(len(site) for site in drawn), int(0.4 * width / LETTER) - 6)
    right = width - (letters + 6) * LETTER - 24
    last = max(number for points in drawn.values() for number, _ in points)
    x = Scale(0, last, left, right)
    y = scale([value for points in drawn.values() for _, value in points], height - bottom, top)
    parts = [line("grid", left, y(tick), right, y(tick)) for tick in y.ticks()]
    parts += [text("tick end", left - 8, y(tick) + 4, f"{tick:g}") for tick in y.ticks()]
    parts += [text("tick mid", x(number), height - bottom + 20, str(number)) for number in _whole_ticks(last)]
    parts.append(text("tick mid", (left + right) / 2, height - 2, axis))
    ends = spread({site: y(points[-1][1]) for site, points in drawn.items()}, gap=17, low=top + 4, high=height - bottom)
    for number, (site, points) in enumerate(drawn.items()):
        colour = f"s{number % 6}"
        parts += _series(site, points, colour, x, y)
        parts.append(line(f"leader {colour}", x(points[-1][0]) + 5, y(points[-1][1]), right + 14, ends[site]))
        parts.append(text(f"name {colour}", right + 18, ends[site] + 4, f"{_short(site, letters)} {points[-1][1]:.3f}"))
    spoken = "; ".join(f"{site} from {points[0][1]:.3f} to {points[-1][1]:.3f}" for site, points in drawn.items())
    return svg(width, height, f"{what} at each site over the rounds", spoken, parts)


def forest_chart(report: Report, *, measure: str, width: int) -> str:
    """Draw the sites, worst first, with point and 95 % interval of each of ``Report.models``.

    Args: as for ``rounds_chart``; in a narrow drawing a site's name is above its intervals instead of beside them.

    Returns:
        SVG text, or "" if no value was measured.
    """
    models = report.models
    rows = [(site.site, {name: getattr(site, name) for name in models}) for site in report.worst_first]
    values = [end for _, scores in rows for score in scores.values() for end in _ends(score)]
    if not values:
        return ""
    asked = report.job.threshold
    values += [] if asked is None else [asked]
    used = [name for name in models if any(scores[name].value is not None for _, scores in rows)]
    above = width < NARROW
    letters = min(max(len(site) for site, _ in rows), 24)
    left, top, head = (8, 22, 24) if above else (letters * LETTER + 12, 30, 0)
    row = head + 22 * len(used) + 18
    height = top + row * len(rows) + 34
    x = value_scale(values, left, width - 24)
    parts = [line("grid", x(tick), top - 6, x(tick), height - 30) for tick in x.ticks()]
    parts += [text("tick mid", x(tick), height - 12, f"{tick:g}") for tick in x.ticks()]
    if asked is not None:
        parts.append(line("threshold", x(asked), top - 8, x(asked), height - 30))
        parts.append(text("tick mid asked", x(asked), top - 14, f"asked for: {asked:g}"))
    unnamed, spoken = set(used), []
    for number, (site, scores) in enumerate(rows):
        base = top + row * number
        if number:
            parts.append(line("rule", 0, base - 8, width, base - 8))
        parts.append(text("name", 0, base + 9, site if above else _short(site, letters)))
        for place, name in enumerate(used):
            words, y = models[name], base + 5 + head + 22 * place
            parts += _interval(scores[name], name, words, x, y, label=name in unnamed)
            if scores[name].value is not None:
                unnamed.discard(name)
            spoken.append(f"{site} {_small(words)} {_spoken(scores[name])}")
    return svg(width, height, f"{measure} and 95 % interval at each site", "; ".join(spoken), parts)


def _series(site: str, points: Sequence[tuple[int, float]], colour: str, x: Scale, y: Scale) -> list[str]:
    path = " ".join(f"{'L' if index else 'M'}{x(n):.1f} {y(v):.1f}" for index, (n, v) in enumerate(points))
    dots = [
        f'<circle class="dot {colour}" cx="{x(n):.1f}" cy="{y(v):.1f}" r="3">'
        f"<title>{escape(site)}, {n} rounds: {v:.3f}</title></circle>"
        for n, v in points
    ]
    return [f'<path class="series {colour}" d="{path}"/>', *dots]


def _small(words: str) -> str:
    """Make the first letter small; the rest stays unchanged."""
    return words[:1].lower() + words[1:]


def _short(site: str, letters: int) -> str:
    return site if len(site) <= letters else site[: max(letters - 1, 1)] + "…"


def _whole_ticks(last: int) -> list[int]:
    step = max(1, ceil(last / 10))
    return list(range(0, last + 1, step))


def _ends(score: Score) -> list[float]:
    return [] if score.value is None else [end for end in (score.value, score.low, score.high) if end is not None]


def _spoken(score: Score) -> str:
    if score.value is None:
        return "insufficient support" if score.suppressed else "not measured"
    interval = "" if score.low is None or score.high is None else f" ({score.low:.3f} to {score.high:.3f})"
    return f"{score.value:.3f}{interval}"


def _interval(score: Score, name: str, words: str, x: Scale, y: float, *, label: bool) -> list[str]:
    if score.value is None:
        return [text(f"tick {name}", x.start + 6, y + 4, f"{_small(words)}: {_spoken(score)}")]
    parts = []
    if score.low is not None and score.high is not None:
        parts.append(line(f"interval {name}", x(score.low), y, x(score.high), y))
        parts += [line(f"interval {name}", x(end), y - 4, x(end), y + 4) for end in (score.low, score.high)]
    cx = x(score.value)
    title = f"<title>{words}: {_spoken(score)}</title>"
    if name == "federated":
        parts.append(f'<circle class="point {name}" cx="{cx:.1f}" cy="{y:.1f}" r="5">{title}</circle>')
    elif name == "private_alone":
        parts.append(f'<path class="point {name}" d="M{cx:.1f} {y - 5:.1f}l5 9h-10z">{title}</path>')
    elif name == "local_only":
        parts.append(f'<rect class="point {name}" x="{cx - 4:.1f}" y="{y - 4:.1f}" width="8" height="8">{title}</rect>')
    else:
        diamond = f"M{cx:.1f} {y - 5.5:.1f}l5.5 5.5l-5.5 5.5l-5.5 -5.5z"
        parts.append(f'<path class="point {name}" d="{diamond}">{title}</path>')
    if label:
        parts.append(_label_beside(name, words, x, [x(end) for end in _ends(score)], y))
    return parts


def _label_beside(name: str, words: str, x: Scale, places: Sequence[float], y: float) -> str:
    """Place the series' name left of its interval, else right of it, else above it."""
    room = len(words) * LETTER
    if min(places) - room > x.start:
        return text(f"tick {name} end", min(places) - 8, y + 4, words)
    if max(places) + room < x.end:
        return text(f"tick {name}", max(places) + 8, y + 4, words)
    return text(f"tick {name} mid", sum(places) / len(places), y - 7, words)
