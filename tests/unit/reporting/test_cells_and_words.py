"""No cell of a table is blank, and "pooled" and "over all hospitals" are two things in everything that people read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from fedward.demo.progress import _TOLD, Show
from fedward.demo.report import _table
from fedward.reporting.data.from_events import report_of
from fedward.reporting.data.report import (
    CohortFacts,
    JobFacts,
    LabelResult,
    Participation,
    Report,
    RoundTime,
    Score,
    SitePrivacy,
    Subgroup,
)
from fedward.reporting.data.score import score_of
from fedward.reporting.dossier.dossier import dossier_of
from fedward.reporting.dossier.page import write_dossier
from fedward.reporting.page import WHY_NO_INTERVAL, render
from fedward.reporting.terminal import show_participation
from fedward.settings import JobSpec
from fedward.validation.comparison.diagnosis import diagnose
from tests.conftest import ROOT
from tests.support.report_events import made_events, made_job

ALSO = "which the literature also calls pooled"
"""The one sentence that names the other word."""
NOTHING, FEW, NO_INTERVAL = Score(), Score(suppressed=True, why="3 patients"), Score(value=0.8123, n=12)


class Cells(HTMLParser):
    """The text of each cell of a page's tables, and the text of all of it."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.cells: list[str] = []
        self.text = ""
        self._inside = self._style = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("td", "th"):
            self.cells.append("")
            self._inside = True
        self._style = tag == "style"

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if not self._style:
            self.text += data
        if self._inside:
            self.cells[-1] += data.strip()


def whole() -> Report:
    return report_of(made_job(), made_events(made_job()))


def holed(done: Report, score: Score) -> Report:
    """The report where every score is ``score``, and each optional number is absent."""
    parts = tuple(Subgroup(label="lesion", dimension="sex", value=one, score=score, gap=None) for one in "FM")
    empty = dict.fromkeys(("images", "patients", "train_patients", "validation_patients", "quarantined"))
    site = replace(
        done.sites[0],
        **dict.fromkeys(("federated", "local_only", "private_alone", "pooled_private", "centralised"), score),
        others={"sensitivity": score},
        labels={name: LabelResult(federated=score, others={"sensitivity": score}) for name in ("lesion", "nodule")},
        subgroups=parts,
        cohort=CohortFacts(**empty, content_hash=None),
        privacy=SitePrivacy(mechanism="dp-sgd", epsilon=None, delta=None, spent=None, cap=None),
        standing=None,
    )
    bare = replace(site, site="bare", others={}, labels={}, subgroups=(), cohort=None, privacy=None, curves={})
    return replace(
        done,
        sites=(site, bare),
        participation=(Participation(site=site.site), Participation(site="bare", declined="no")),
        pooled=score,
        pooled_labels={"lesion": score, "nodule": score},
        centralised_pooled=score,
        matrix={site.site: {site.site: None, "bare": 0.6}},
        time=replace(done.time, rounds=(RoundTime(wall_s=None, slowest_site=None, train_s=None),)),
        population=None,
    )


def segmentation(done: Report) -> Report:
    facts: dict[str, Any] = {name: getattr(done.job, name) for name in JobFacts.__dataclass_fields__}
    return replace(done, job=JobFacts(**{**facts, "task": "segmentation", "targets": ("Lung",)}), privacy="none")


REPORTS: dict[str, Callable[[], Report]] = {
    "whole": whole,
    "nothing measured": lambda: holed(whole(), NOTHING),
    "too few": lambda: holed(whole(), FEW),
    "without intervals": lambda: holed(whole(), NO_INTERVAL),
    "segmentation": lambda: segmentation(holed(whole(), NO_INTERVAL)),
    "without privacy": lambda: replace(holed(whole(), NO_INTERVAL), privacy="none"),
}


@pytest.mark.parametrize("name", REPORTS)
def test_every_cell_of_report_and_dossier_says_something(name: str, tmp_path: Path) -> None:
    done = REPORTS[name]()
    (tmp_path / "model.pt").write_bytes(b"weights")
    dossier, _ = write_dossier(tmp_path, dossier_of(done, tmp_path / "model.pt", unfit=True))
    for page in (render(done), dossier.read_text(encoding="utf-8")):
        found = Cells(page)
        assert len(found.cells) > 20
        assert [number for number, cell in enumerate(found.cells) if not cell] == []


def test_a_cell_without_an_interval_says_why() -> None:
    page = render(holed(whole(), NO_INTERVAL))
    assert f'<span class="absent" title="{WHY_NO_INTERVAL}">none given</span>' in page
    assert "An interval is “none given” where" in page, "for those who cannot see a title"


@pytest.mark.parametrize("name", REPORTS)
def test_no_cell_of_the_terminals_tables_is_blank(name: str) -> None:
    done = REPORTS[name]()
    (table,) = [_table(done)]
    for column in table.columns:
        assert all(str(cell).strip() for cell in column.cells), column.header
    console = Console(record=True, width=200)
    show_participation(replace(done, participation=(Participation(site="bare", declined="no"),)), console)
    assert "bare none none none took no part: no" in " ".join(console.export_text().split())


@pytest.mark.parametrize("name", REPORTS)
def test_pooled_is_no_word_for_a_measure_over_all_hospitals(name: str, tmp_path: Path) -> None:
    done = REPORTS[name]()
    (tmp_path / "model.pt").write_bytes(b"weights")
    dossier, _ = write_dossier(tmp_path, dossier_of(done, tmp_path / "model.pt", unfit=True))
    report = Cells(render(done)).text
    assert report.count(ALSO) == 1
    console = Console(record=True, width=200)
    console.print(_table(done))
    shown = [report.replace(ALSO, ""), Cells(dossier.read_text(encoding="utf-8")).text, console.export_text()]
    shown.append(_TOLD["pooled"]({"sites": ["a", "b"], "pooled": {"auc": 0.8}}))
    for words in shown:
        assert "pool" not in words.lower()
    assert all("over all hospitals" in words.lower() for words in (report, shown[1], shown[3]))


def test_nor_in_the_dashboards_words() -> None:
    static = ROOT / "custom" / "fedward" / "dashboard" / "static"
    for file in static.rglob("*.js"):
        text = file.read_text(encoding="utf-8")
        if "vendor" not in file.parts:
            assert "Pooled" not in text and '"pooled' not in text, file.name
    assert "Over all hospitals’ images" in (static / "pages" / "job.js").read_text(encoding="utf-8")


def test_a_mean_over_labels_that_is_none_says_which_number_it_lacks() -> None:
    labels = {"a": {"auc": 0.9, "patients": 40, "positives": 20}, "b": {"auc": 0.8, "patients": 40, "positives": 37}}
    found = score_of(made_job(), {"auc": None, "patients": 40, "positives": 40, "labels": labels})
    assert found.why == "no mean over labels: fewer than 5 patients have one of them, or lack it"
    labels["b"]["positives"] = 30
    assert "their policy" not in score_of(made_job(), {"auc": None, "labels": labels}).why
    labels["b"]["positives"] = None  # type: ignore[assignment]
    assert "no mean" not in score_of(made_job(), {"auc": None, "labels": labels}).why


def test_patients_of_whom_an_image_was_left_out_are_told_at_once_and_in_the_report(tiny_job: JobSpec) -> None:
    done = whole()
    assert {site.cohort.left_out for site in done.sites if site.cohort} == {12}
    page = render(done)
    assert "Patients left out in part" in page and '<td class="num"><data value="12">12</data></td>' in page
    (admitted, *_) = [one for one in made_events(made_job()) if one["event"] == "admitted"]
    console = Console(record=True, width=200)
    Show(tiny_job, console).event(None, admitted)
    assert "12 have an image without a label, mask or size that the job needs" in console.export_text()


def test_many_values_without_a_number_are_counted_and_not_listed() -> None:
    done = whole()
    makers = tuple(
        Subgroup(label="lesion", dimension="maker", value=name, score=FEW, gap=None)
        for name in ("agfa", "canon", "fujifilm", "ge", "konica", "philips", "siemens")
    )
    words = Cells(render(replace(done, sites=(replace(done.sites[0], subgroups=makers),)))).text
    assert "7 values of scanner" in words
    assert "agfa" not in words and "canon" not in words


def test_a_flag_says_what_the_hospital_reaches_alone_and_equal_spacings_are_no_evidence() -> None:
    done = whole()
    sites = tuple(replace(one, local_only=Score(value=0.0, n=42)) if one.site == "elm" else one for one in done.sites)
    words = " ".join(Cells(render(replace(done, sites=sites, privacy="none"))).text.split())
    assert (
        "Trained alone it reaches 0.000 on the same patients: what it has is hard to learn for its own model" in words
    )
    profiles = {site: {"patients": 100, "images": 100, "spacing_mm": 1.8} for site in "abc"}
    (shift,) = [one for one in diagnose("a", profiles, {}) if one.cause == "covariate-shift"]
    assert shift.strength < 0.5
    assert any(line.startswith("as elsewhere: its pixels are 1.8 mm apart") for line in shift.evidence)
