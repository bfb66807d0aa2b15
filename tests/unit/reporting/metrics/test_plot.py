"""The drawing of the scores by site."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from fedward.reporting.metrics.plot import draw_rounds
from fedward.reporting.metrics.table import rows_of
from tests.support.report_events import SITES, made_events, made_job

SVG = "{http://www.w3.org/2000/svg}"


def test_each_site_has_a_line_through_its_rounds() -> None:
    job = made_job()
    rows = [row for row in rows_of(job, made_events(job)) if row.site in SITES]
    drawing = ET.fromstring(draw_rounds(rows, measure="auc", name="AUC").svg)
    steps = {site: sum((row.site, row.measure) == (site, "auc") for row in rows) for site in SITES}
    paths = [path.attrib["d"].count("L") + 1 for path in drawing.findall(f"{SVG}path")]
    assert sorted(paths) == sorted(steps.values())
    words = [text.text or "" for text in drawing.findall(f"{SVG}text")]
    assert all(any(word == f"{site} {value:.3f}" for word in words) for site, value in SITES.items())
    assert len(drawing.findall(f"{SVG}line[@class='s0']")) == 1, "one interval, of the last round"


def test_nothing_measured_draws_no_line() -> None:
    drawing = ET.fromstring(draw_rounds((), measure="auc", name="AUC").svg)
    assert drawing.findall(f"{SVG}path") == [] and "no value" in drawing.attrib["aria-label"]
