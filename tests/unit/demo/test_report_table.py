"""The demo's last table on a terminal of 80 columns."""

from __future__ import annotations

from dataclasses import replace

import pytest
from rich.console import Console

from fedward.demo.report import _table
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
