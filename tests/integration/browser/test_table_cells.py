"""Tables on a phone and on a desk, in real Chromium: no cell is cut, none is blank, and a box that scrolls shows it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from fedward.dashboard.background import start_background
from fedward.metrics.store import Store
from fedward.reporting.data.from_events import report_of
from fedward.reporting.dossier.dossier import dossier_of
from fedward.reporting.dossier.page import write_dossier
from fedward.reporting.write import write_report
from tests.support import metrics_store as made_store
from tests.support.packages import needs
from tests.support.report_events import made_events, made_job

pytestmark = pytest.mark.integration

WIDTHS = (420, 1280)
PAGES = ("report", "dossier", "federation", "job", "segmentation", "site")
# Cells whose words are cut: inside the cell, by the page's edge, or wider than what a box that scrolls can ever show
# beside its fixed first column
CUT = """() => [...document.querySelectorAll('th, td')].filter(one => one.checkVisibility()).flatMap(cell => {
  const box = cell.closest('.scroll'), first = cell.closest('tr').cells[0];
  const words = document.createRange();
  words.selectNodeContents(cell);
  const wide = words.getBoundingClientRect().width, where = `${cell.closest('table').innerText.slice(0, 20)}: `;
  const found = [];
  if (cell.scrollWidth > cell.clientWidth + 1) found.push('in itself');
  if (!box && cell.getBoundingClientRect().right > innerWidth + 1) found.push('by the page');
  if (box) {
    const moves = ['auto', 'scroll'].includes(getComputedStyle(box).overflowX);
    const fixed = first !== cell && getComputedStyle(first).position === 'sticky' ? first.offsetWidth : 0;
    if (box.scrollWidth > box.clientWidth + 1 && !moves) found.push('by a box that does not scroll');
    if (wide > box.clientWidth - fixed + 1) found.push(`${wide} wide, of ${box.clientWidth - fixed}`);
  }
  return found.map(how => `${where}${cell.innerText.slice(0, 40)} is cut ${how}`);
})"""
# A box with columns beyond its edge, which neither shades the edge nor keeps the row's name in sight
SILENT = """() => [...document.querySelectorAll('.scroll')].filter(box => box.scrollWidth > box.clientWidth + 1)
  .filter(box => box.querySelector('table'))
  .filter(box => !getComputedStyle(box).backgroundImage.includes('gradient')
    || [...box.querySelectorAll('tbody tr:not(:has(td:first-child)) > th:first-child')]
        .some(one => getComputedStyle(one).position !== 'sticky'))
  .map(box => box.innerText.slice(0, 60))"""
# Squares of the grid of rounds are drawn by the style sheet, and have their words for a screen reader
BLANK = """() => [...document.querySelectorAll('th, td')].filter(one => one.checkVisibility() && !one.innerText.trim())
  .filter(one => !one.querySelector('svg') && !one.querySelector('.unseen'))
  .map(one => one.closest('tr').innerText.slice(0, 80))"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    needs("chromium")
    with sync_playwright() as play:
        started = play.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def addresses(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    folder, job = tmp_path_factory.mktemp("pages"), made_job()
    done = report_of(job, made_events(job))
    (folder / "model.pt").write_bytes(b"weights")
    files: dict[str, Path] = {
        "report": write_report(folder, done),
        "dossier": write_dossier(folder, dossier_of(done, folder / "model.pt"))[0],
    }
    store = Store.open(folder / "metrics.db", create=True)
    (first,) = made_store.fill(store, sites=5, rounds=6)
    (second,) = made_store.fill(store, sites=5, rounds=3, first=1, task="segmentation", private=False)
    store.close()
    with start_background(folder / "metrics.db") as up:
        yield {name: file.as_uri() for name, file in files.items()} | {
            "federation": f"{up.url}/#/",
            "job": f"{up.url}/#/jobs/{first}",
            "segmentation": f"{up.url}/#/jobs/{second}",
            "site": f"{up.url}/#/sites/{made_store.site_name(made_store.SUPPRESSED)}",
        }


@pytest.fixture
def opened(browser: Browser, addresses: dict[str, str], request: pytest.FixtureRequest) -> Iterator[Page]:
    name, width = request.param
    page = browser.new_page(viewport={"width": width, "height": 900}, reduced_motion="reduce")
    page.goto(addresses[name])
    page.wait_for_selector("table")
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    page.wait_for_selector("table tbody th")
    yield page
    page.close()


CASES: Any = pytest.mark.parametrize("opened", [(name, width) for name in PAGES for width in WIDTHS], indirect=True)


@CASES
def test_no_cell_is_cut(opened: Page) -> None:
    assert opened.evaluate(CUT) == []
    assert opened.evaluate("document.documentElement.scrollWidth <= innerWidth")


@CASES
def test_a_box_that_scrolls_shows_it_and_keeps_the_rows_name(opened: Page) -> None:
    if opened.viewport_size == {"width": WIDTHS[0], "height": 900}:
        assert opened.evaluate(SILENT) == []


@CASES
def test_no_cell_is_blank(opened: Page) -> None:
    assert opened.evaluate(BLANK) == []
