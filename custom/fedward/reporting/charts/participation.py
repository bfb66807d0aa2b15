"""Draw as a grid which site took part in which round: a row for each site, a column for each round."""

from __future__ import annotations

from html import escape
from math import ceil

from fedward.metrics.values import LEFT_OUT
from fedward.reporting.charts.svg import LETTER, NARROW, line, svg, text
from fedward.reporting.data.ending import interruption_words
from fedward.reporting.data.report import Report

ROW, LARGEST, MOST_ROUNDS = 24, 18.0, 240


def participation_chart(report: Report, *, measure: str, width: int) -> str:
    """Draw a filled square where a site's update counted, a crossed one where it is missing, a line where the server
    paused or was resumed.

    Args:
        report: report to draw.
        measure: not used; all drawings of a report have the same arguments.
        width: width of the drawing, in the units of its text; 760 for a page, 380 for a phone.

    Returns:
        SVG text, or "" if there is no round, or more rounds than can be distinguished.
    """
    ledger = report.ledger
    if not ledger or len(ledger) > MOST_ROUNDS:
        return ""
    above = width < NARROW
    letters = min(max(len(one.site) for one in report.participation), 24)
    left, row = (0.0, ROW + 20) if above else (letters * LETTER + 12, ROW)
    cell = min(LARGEST, (width - left) / len(ledger))
    parts, spoken = [], []
    for place, one in enumerate(report.participation):
        top = place * row + (20 if above else 0)
        parts.append(text("name", 0, place * row + 14, one.site))
        if one.declined is not None:
            parts.append(text("tick", left, top + 14, "took no part"))
        for column, entry in enumerate(ledger):
            part = entry.sites.get(one.site)
            if part is not None:
                message = part.outcome if part.reason is None else f"{part.outcome}: {part.reason}"
                title = f"{one.site}, round {entry.number + 1}: {message}"
                parts += _cell(part.outcome, title, left + column * cell, top, cell)
        chosen = f", not chosen in {len(one.left_out)}" if one.left_out else ""
        spoken.append(
            f"{one.site}: {len(one.rounds)} of {len(ledger)} rounds counted{chosen}, {len(one.missed)} missed"
        )
    height = row * len(report.participation) + 22
    parts = _breaks(report, left=left, cell=cell, height=height - 20) + parts  # below the squares and words
    step = max(1, ceil(28 / cell), ceil(len(ledger) / 12))
    if cell * len(ledger) + 48 < width - left:
        parts.append(text("tick", left + cell * len(ledger) + 6, height - 6, "round"))
    for column in range(0, len(ledger), step):
        parts.append(text("tick mid", left + (column + 0.5) * cell, height - 6, str(ledger[column].number + 1)))
    return svg(width, height, "Rounds in which each site took part", "; ".join(spoken), parts)


def _breaks(report: Report, *, left: float, cell: float, height: float) -> list[str]:
    """Draw a line before the round that came after each pause and resumption of the server."""
    numbers = [entry.number for entry in report.ledger]
    drawn = []
    for one in report.interruptions:
        if one.kind != "returned":
            x = max(left + sum(number < one.after for number in numbers) * cell - 1, 1.0)
            words = escape(interruption_words(one))
            drawn.append(f"<g><title>{words}</title>{line('break', x, 0, x, height)}</g>")
    return drawn


def _cell(outcome: str, title: str, x: float, y: float, cell: float) -> list[str]:
    side, high = max(cell - 2, 0.6), 16.0
    reported = f"<title>{escape(title)}</title>"
    kind = {"accepted": "took", LEFT_OUT: "unchosen"}.get(outcome, "missed")
    box = (
        f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{side:.1f}" height="{high:.0f}" rx="2">{reported}</rect>'
    )
    if kind != "missed" or cell < 8:
        return [box]
    return [
        box,
        line("cross", x + 4, y + 4, x + side - 4, y + high - 4),
        line("cross", x + side - 4, y + 4, x + 4, y + high - 4),
    ]
