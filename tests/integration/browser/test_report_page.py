"""Report and dossier in a real Chromium: from the file system, without a request, on a phone, in the dark, as PDF."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedward.reporting.data.from_events import report_of
from fedward.reporting.dossier.dossier import dossier_of
from fedward.reporting.dossier.page import write_dossier
from fedward.reporting.write import write_report
from tests.support.packages import needs
from tests.support.report_events import SITES, made_events, made_job

pytestmark = pytest.mark.integration
CHROMIUM = "/usr/bin/chromium"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder, job = tmp_path_factory.mktemp("pages"), made_job()
    done = report_of(job, made_events(job))
    (folder / "model.pt").write_bytes(b"weights")
    return {
        "report": write_report(folder, done),
        "dossier": write_dossier(folder, dossier_of(done, folder / "model.pt"))[0],
    }


@pytest.fixture(scope="module")
def browser() -> Iterator:
    needs("chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as running:
        started = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.mark.parametrize("name", ["report", "dossier"])
@pytest.mark.parametrize(("width", "scheme"), [(1180, "light"), (390, "dark")])
def test_it_opens_from_the_file_system_and_asks_for_nothing(browser, pages, name: str, width: int, scheme: str) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(pages[name].as_uri())
    assert (asked, said) == ([pages[name].as_uri()], [])
    assert page.evaluate("document.documentElement.scrollWidth") == width
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 24, 26)"
    assert dark == (scheme == "dark")
    text = page.inner_text("body")
    assert "every round counted" in text and all(site in text for site in SITES)
    page.close()


@pytest.mark.parametrize("name", ["report", "dossier"])
def test_no_words_of_a_drawing_are_cut_off_or_lie_on_others(browser, pages, name: str) -> None:
    for width in (1180, 390):
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.goto(pages[name].as_uri())
        boxes = page.evaluate(
            """() => [...document.querySelectorAll('svg')].filter(s => s.clientWidth).map(s =>
                [...s.querySelectorAll('text')].map(t => { const r = t.getBoundingClientRect();
                return [t.textContent, r.left, r.top, r.right, r.bottom]; }))"""
        )
        for drawing in boxes:
            for place, (words, left, top, right, bottom) in enumerate(drawing):
                assert left >= -1 and right <= width + 1, f"{words} is cut off"
                for other, x, y, far, low in drawing[:place]:
                    across = min(right, far) - max(left, x)
                    down = min(bottom, low) - max(top, y)
                    assert across < 2 or down < 4, f"{words} lies on {other}"
        page.close()


@pytest.mark.parametrize("name", ["report", "dossier"])
def test_it_prints_to_a_pdf_of_a4_pages(browser, pages, name: str, tmp_path: Path) -> None:
    page = browser.new_page()
    page.goto(pages[name].as_uri())
    printed = page.pdf(path=str(tmp_path / "page.pdf"), prefer_css_page_size=True, format="A4")
    page.close()
    assert printed.startswith(b"%PDF-")
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", printed)) <= 20
    boxes = {
        tuple(round(float(side)) for side in box.split()) for box in re.findall(rb"/MediaBox\s*\[([^\]]+)\]", printed)
    }
    assert {box[:2] for box in boxes} == {(0, 0)} and all(abs(box[2] - 595) <= 1 for box in boxes)
