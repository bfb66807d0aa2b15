"""The demo's last table on a terminal of 80 columns."""

from __future__ import annotations

from dataclasses import replace

import pytest
from rich.console import Console

from fedward.demo.report import _as_withheld, _table
from fedward.reporting.data.from_events import report_of
from fedward.reporting.data.report import Score
from tests.support.report_events import made_events, made_job


@pytest.mark.parametrize("privacy", ["none", "DP-SGD"])
def test_no_cell_is_cut_off(privacy: str) -> None:
    job, beside = made_job(), Score(value=0.999)
    done = report_of(job, made_events(job))
    sites = tuple(
        replace(
            site,
            site=f"{site.site:-<23}"[:23],
            private_alone=beside,
            pooled_private=beside,
            local_only=beside,
            centralised=beside,
        )
        for site in done.sites
    )
    console = Console(width=80, record=True)
    console.print(_table(replace(done, sites=sites, privacy=privacy)))
    said = console.export_text()
    assert "…" not in said and "0.57–0.85" in said and ("5.31" in said) == (privacy != "none")


def test_nothing_else_is_shown_of_a_hospital_whose_value_is_withheld() -> None:
    (site, *_) = report_of(made_job(), made_events(made_job())).sites
    measured = replace(site, local_only=Score(value=0.9), centralised=Score(value=0.95))
    shown = _as_withheld(replace(measured, federated=Score(suppressed=True, why="3 patients")))
    others = (shown.local_only, shown.private_alone, shown.centralised, shown.pooled_private)
    assert all(one.value is None and one.suppressed for one in others)
