"""Draw the federation's grey values: one bar for each bin. No script, no outside request."""

from __future__ import annotations

from collections.abc import Mapping

from fedward.reporting.charts.svg import Scale, svg
from fedward.reporting.data.report import Report

HEIGHT, TOP, BOTTOM, EDGE = 150, 10, 40, 8


def intensity_chart(report: Report, *, measure: str, width: int) -> str:
    """Draw the shares of grey values over all hospitals' images, from dark to bright.

    Args:
        report: report to draw.
        measure: not used; all drawings of a report have the same arguments.
        width: width of the drawing, in the units of its text; 760 for a page, 380 for a phone.

    Returns:
        SVG text, or "" if a share is withheld or there are none.
    """
    shares = _known(report)
    if not shares or not any(shares.values()):
        return ""
    floor, step = HEIGHT - BOTTOM, (width - 2 * EDGE) / len(shares)
    y = Scale(0.0, max(shares.values()), floor, TOP)
    parts = [f'<line class="rule" x1="0" y1="{floor}" x2="{width}" y2="{floor}"/>']
    for number, (low, share) in enumerate(shares.items()):
        x, top = EDGE + number * step, y(share)
        parts.append(
            f'<rect class="bar" x="{x + 0.5:.1f}" y="{top:.1f}" width="{step - 1:.1f}" height="{floor - top:.1f}">'
            f"<title>from {_signed(low)}: {share:.1%}</title></rect>"
        )
        if float(low).is_integer() and int(float(low)) % 2 == 0:
            parts.append(f'<text class="tick mid" x="{x:.1f}" y="{floor + 18}">{_signed(low)}</text>')
    words = "standard deviations from an image’s mean grey"
    parts.append(f'<text class="tick mid" x="{width / 2:.1f}" y="{HEIGHT - 2}">{words}</text>')
    fullest = max(shares, key=lambda name: shares[name])
    spoken = f"most grey values, {shares[fullest]:.1%}, lie from {_signed(fullest)} upwards"
    return svg(width, HEIGHT, "Grey values of the images as the network sees them", spoken, parts)


def _signed(low: str) -> str:
    return f"{float(low):g}".replace("-", "−")


def _known(report: Report) -> Mapping[str, float]:
    shares = {} if report.population is None else report.population.intensity
    known = {name: share for name, share in shares.items() if share is not None}
    return known if len(known) == len(shares) else {}
