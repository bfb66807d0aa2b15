"""Write ``sweep.json``, ``sweep.html`` and ``sweep.svg``; the first is the source of the others."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from fedward.errors import FedwardError
from fedward.files import write_atomic
from fedward.measures import TITLES
from fedward.reporting.page import WIDTHS, resource, template
from fedward.reporting.sweep.chart import Line, Mark, shown, sweep_chart
from fedward.reporting.sweep.sweep import NOTE, Sweep, lines_of, plain_sweep

JSON_FILE, HTML_FILE, SVG_FILE = "sweep.json", "sweep.html", "sweep.svg"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """Value as shown, and its interval or ""."""

    value: str
    interval: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRow:
    """One site and class: a cell for each ε, None where no value was measured."""

    site: str
    name: str
    note: str
    few: str
    cells: tuple[Cell | None, ...]


def write_sweep(folder: Path, sweep: Sweep) -> Path:
    """Write the three files into ``folder``, each whole or not at all; return the path of ``sweep.html``.

    Raises:
        FedwardError: the folder cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(plain_sweep(sweep), indent=2, ensure_ascii=False, allow_nan=False)
        write_atomic(folder / JSON_FILE, text + "\n")
        write_atomic(folder / HTML_FILE, render(sweep))
        write_atomic(folder / SVG_FILE, standing_alone(sweep))
    except OSError as error:
        raise FedwardError("sweep cannot be written", where=folder, value=error.strerror) from None
    return folder / HTML_FILE


def render(sweep: Sweep) -> str:
    """Return the page as text; the same sweep gives the same text."""
    rows = table(sweep)
    return template("sweep.html").render(
        sweep=sweep,
        measure=TITLES[sweep.measure],
        style=Markup(_style()),
        note=NOTE,
        reading=reading(sweep),
        chart=Markup("\n").join(
            Markup('<figure class="chart {}">{}</figure>').format(name, Markup(_chart(sweep, width)))
            for name, width in WIDTHS.items()
        ),
        heads=[shown(epsilon) for epsilon in sweep.epsilons],
        classes=len({row.name for row in rows}) > 1,
        rows=rows,
    )


def standing_alone(sweep: Sweep) -> str:
    """Return the page's drawing as a separate file, with the style sheet inside."""
    drawing = _chart(sweep, WIDTHS["wide"])
    if not drawing:
        return '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"/>\n'
    opening, rest = drawing.split(">", 1)
    opening = opening.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    paper = '<rect width="100%" height="100%" style="fill:var(--paper)"/>'
    return f"{opening}>\n<style>\n{_style()}</style>\n{paper}{rest}\n"


def table(sweep: Sweep) -> tuple[TableRow, ...]:
    """Return a row for each site and class, with a cell for each ε."""
    return tuple(_row(line, sweep) for line in lines_of(sweep))


def reading(sweep: Sweep) -> str:
    """Return a note that explains the intervals."""
    if len(sweep.seeds) > 1:
        ends = (
            f"Points are means over {len(sweep.seeds)} seeds, lines through them reach from the lowest to the highest"
        )
    else:
        ends = "Lines through the points are 95 % intervals over validation patients"
    return f"{ends}. Hollow points rest on few patients or few positive ones. Every site’s own validation patients."


def _row(line: Line, sweep: Sweep) -> TableRow:
    found = {mark.epsilon: mark for mark in line.marks}
    cells = tuple(_cell(found.get(epsilon)) for epsilon in sweep.epsilons)
    return TableRow(site=line.site, name=line.name, note=line.note, few=line.few, cells=cells)


def _cell(mark: Mark | None) -> Cell | None:
    if mark is None:
        return None
    interval = "" if mark.low is None or mark.high is None else f"{mark.low:.3f} to {mark.high:.3f}"
    return Cell(value=f"{mark.value:.3f}", interval=interval)


def _chart(sweep: Sweep, width: int) -> str:
    return sweep_chart(lines_of(sweep), epsilons=sweep.epsilons, measure=TITLES[sweep.measure], width=width)


def _style() -> str:
    """Return the report's style sheet with the additions for this drawing."""
    return resource("report.css") + resource("sweep.css")
