"""Make the demo's report: the federation's results, with measures that are possible only in a demo."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from fedward.demo.run import Demonstrated, store_of
from fedward.measures import TITLES
from fedward.reporting.data.from_events import report_of
from fedward.reporting.data.report import TOGETHER, Contribution, Report, Score, SiteResult
from fedward.reporting.data.score import score_of
from fedward.reporting.data.summary import summary
from fedward.reporting.terminal import show_participation, show_worth
from fedward.reporting.write import write_report

SUMMARY_FILE = "summary.json"
_UNPROTECTED = (
    "Models trained alone and the centralised model were trained without noise, to compare with: the first never leave"
    " their hospital, the second only a demo can make. Models trained alone at the same ε were made by the demo,"
    " outside the ledgers."
)
_SHOWN = ("fedward", "nvflare", "torch", "monai", "pydicom", "numpy")


def demo_report(done: Demonstrated) -> Report:
    """Return the federation's report with the centralised and cross-tested numbers added."""
    report = report_of(done.job, done.outcome.events, wall_s=done.outcome.wall_s)
    comparison = done.comparison
    alone = {site: score_of(done.job, scores) for site, scores in done.outcome.alone.items()}
    sites = tuple(
        _as_withheld(site)
        if site.federated.suppressed
        else replace(
            site,
            centralised=_known(comparison.centralised, site.site),
            local_only=alone.get(site.site, site.local_only),
            private_alone=_known(comparison.private_alone, site.site),
            pooled_private=_known(comparison.pooled_private, site.site),
        )
        for site in report.sites
    )
    withheld = {site.site for site in sites if site.federated.suppressed}
    notes = [f"{site} was not indexed: {reason}" for site, reason in sorted(done.refused.items())]
    if done.synthetic:
        made_up = "Hospitals, patients and images are made up; a positive label or a mask stands for a made-up lesion"
        report = replace(report, job=replace(report.job, description=made_up))
        notes.append(f"{made_up}.")
    if done.job.privacy.mechanism != "none":
        notes.append(_UNPROTECTED)
    if comparison.centralised:
        notes.append(
            "A centralised model is trained on all hospitals' images in one place, which only a demo on one machine "
            "may do."
        )
    measured = comparison.federated_pooled
    if report.pooled_sites and measured.value is not None:
        notes.append(
            f"The value over all hospitals' images comes from the hospitals' encrypted sum; from the images "
            f"themselves, which only a demo may bring together, it is {measured.value:.3f}."
        )
    brought = {
        site: Contribution(leave_one_out=one.leave_one_out, shapley=one.shapley)
        for site, one in done.contributions.items()
    }
    return replace(
        report,
        sites=sites,
        participation=tuple(replace(one, contribution=brought.get(one.site)) for one in report.participation),
        pooled=report.pooled if report.pooled_sites else measured,
        centralised_pooled=comparison.centralised_pooled,
        pooled_private=comparison.pooled_private_pooled,
        matrix={
            site: {place: value for place, value in at.items() if place not in withheld}
            | dict.fromkeys(withheld & set(at))
            | {TOGETHER: comparison.local_only_pooled[site]}
            for site, at in comparison.local_only.items()
        },
        versions={name: version(name) for name in _SHOWN},
        hashes={**report.hashes, "final model": comparison.model_sha256},
        notes=tuple(notes),
    )


def _as_withheld(site: SiteResult) -> SiteResult:
    """Return a site whose federated value covers too few patients: as little is shown of the other models there."""
    few = Score(suppressed=True, why=site.federated.why)
    return replace(site, local_only=few, private_alone=few, centralised=few, pooled_private=few)


def write_demo_report(done: Demonstrated, out: Path, console: Console) -> None:
    """Write ``report.json``, ``report.html`` and ``summary.json`` into ``out``, and print the main table."""
    report = demo_report(done)
    page = write_report(out, report)
    content = summary(report)
    (out / SUMMARY_FILE).write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    show_worth(report, console)
    show_participation(report, console)
    console.print(_table(report))
    lines = (f"report     {page}", f"summary    {out / SUMMARY_FILE}", f"dashboard  fedward dashboard {store_of(out)}")
    console.print("\n".join(lines), soft_wrap=True)


def _table(report: Report) -> Table:
    measure = TITLES[report.measure]
    table = Table(
        box=SIMPLE,
        padding=(0, 0),
        title=f"{report.job.name}: {measure} on each hospital's own validation patients, lowest first",
    )
    table.add_column("hospital", no_wrap=True)
    private = ("alone,\nsame ε", "central-\nised,\nsame ε", "central-\nised, no\nnoise")
    beside = ("alone", "central-\nised") if report.privacy == "none" else private
    counted = "patients" if report.measure == "dice" else "posi-\ntive /\nall"
    if report.privacy != "none":
        table.add_column("ε", justify="right", no_wrap=True)
    for column in ("feder-\nated", "95 %\ninterval", *beside, counted):
        table.add_column(column, justify="right", no_wrap=True)
    for site in report.worst_first:
        score = site.federated
        interval = "none\ngiven" if score.low is None or score.high is None else f"{score.low:.2f}–{score.high:.2f}"
        counts = "with-\nheld" if score.n is None else str(score.n)
        if score.positives is not None:
            counts = f"{score.positives}/{counts}"
        epsilon = None if site.privacy is None else site.privacy.epsilon
        own = [site.local_only] if report.privacy == "none" else [site.private_alone, site.pooled_private]
        table.add_row(
            site.site,
            *([] if report.privacy == "none" else ["none" if epsilon is None else f"{epsilon:.2f}"]),
            _shown(score),
            interval,
            *map(_shown, own),
            _shown(site.centralised),
            counts,
        )
    return table


def _shown(score: Score) -> str:
    if score.value is None:
        return "too few" if score.suppressed else "not measured"
    return f"{score.value:.3f}"


def _known(values: Mapping[str, Any], site: str) -> Score:
    return _score(values.get(site)) if values else Score(why="not asked for")


def _score(value: float | None) -> Score:
    return Score(value=value, why="" if value is not None else "not asked for or not possible")
