"""Check in real Chromium that the dashboard says of every state what the report says, also while the page is open."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from fedward.dashboard.background import start_background
from fedward.metrics.store import Store
from tests.integration.browser.test_dashboard_page import CONTRASTS, browser, tab
from tests.support.metrics_store import MISSING_WORDS, STATES, fill_states

__all__ = ["browser", "tab"]

pytestmark = pytest.mark.integration

WORDS = {**{state: words for state, (_, words) in STATES.items()}, "missing": MISSING_WORDS}
HEADINGS = {
    "resuming": "The job is being resumed",
    "paused": "The job is paused",
    "missing": "The job is done, with sites missing at its end",
    "aborted": "The job was aborted",
    "failed": "The job failed",
}
WIDTHS = (1280, 400)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with Store.open(tmp_path_factory.mktemp("states") / "metrics.db", create=True) as opened:
        yield opened


@pytest.fixture(scope="module")
def ids(store: Store) -> dict[str, str]:
    return fill_states(store, now=time.time())


@pytest.fixture(scope="module")
def url(browser: Browser, store: Store, ids: dict[str, str]) -> Iterator[str]:
    with start_background(Path(store.path)) as up:
        yield up.url


def sentence(words: str) -> str:
    return f"{words[0].upper()}{words[1:]}."


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("state", sorted(WORDS))
def test_each_state_has_a_heading_and_the_reports_sentence(
    tab: Callable[..., Page], url: str, ids: dict[str, str], state: str, width: int
) -> None:
    page = tab(f"{url}/#/jobs/{ids[state]}", viewport={"width": width, "height": 900})
    box = page.get_by_role("region", name=HEADINGS[state])
    expect(box).to_contain_text(sentence(WORDS[state]))
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_federation_lists_them_and_every_text_can_be_read(
    tab: Callable[..., Page], url: str, ids: dict[str, str], width: int, scheme: Any
) -> None:
    page = tab(f"{url}/#/", viewport={"width": width, "height": 900}, color_scheme=scheme)
    for words in WORDS.values():
        expect(page.get_by_role("table", name="Jobs, newest first")).to_contain_text(sentence(words))
    expect(page.locator(".lead")).to_contain_text("1 resuming · 1 paused")
    for where in ("#/", "#/sites/river", f"#/jobs/{ids['missing']}"):
        page.goto(f"{url}/{where}")
        page.wait_for_selector("main table")
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), where
        found = page.evaluate(CONTRASTS)
        assert {text: round(ratio, 2) for text, ratio in found.items() if ratio < 4.5} == {}


def test_an_open_page_follows_a_pause_a_resumption_and_the_end(
    tab: Callable[..., Page], url: str, store: Store, ids: dict[str, str]
) -> None:
    job_id = "00000020-live"
    store.write(
        job_id,
        {
            "event": "started",
            "at": time.time(),
            "job": "live",
            "task": "classification",
            "rounds": 4,
            "sites": ["north"],
        },
    )
    page = tab(f"{url}/#/jobs/{job_id}")
    expect(page.locator("header .state")).to_have_text("running")
    turns: list[tuple[dict[str, Any], str, str | None]] = [
        (
            {"event": "round", "round": 0, "sites": ["north"], "wall_s": 1.0, "stages": {}, "patients": None},
            "running",
            None,
        ),
        ({"event": "paused", "reason": "the disk is full"}, "paused", "Paused after round 1 of 4: the disk is full."),
        ({"event": "unpaused"}, "running", None),
        (
            {"event": "resumed", "round": 1, "by": "server", "attempt": 1},
            "resuming",
            "Resuming after round 1 of 4 (attempt 1): the server was started again.",
        ),
        ({"event": "returned", "site": "north", "round": 1}, "resuming", "Resuming after round 1"),
        (
            {"event": "aborted", "by": "lead@uni.org", "reason": ""},
            "aborted",
            "Aborted by lead@uni.org after 1 of 4 rounds.",
        ),
    ]
    for event, state, words in turns:
        store.write(job_id, {"at": time.time(), **event})
        expect(page.locator("header .state")).to_have_text(state)
        box = page.locator('[data-key="standing"]')
        if words is None:
            expect(box).to_have_count(0)
        else:
            expect(box).to_contain_text(words)
    listed = page.get_by_role("table", name="What interrupted the job").locator("tbody th")
    expect(listed).to_have_text(
        [
            "The server paused: the disk is full.",
            "The server went on.",
            "The job was resumed after round 1, attempt 1: the server was started again.",
            "north answered again in round 2.",
        ]
    )
