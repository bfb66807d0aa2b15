"""Check the dashboard's page in real Chromium, with a real service over a made-up store."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Request, expect, sync_playwright

from fedward.dashboard.background import start_background
from fedward.metrics.store import SiteSeen, Store
from tests.conftest import ROOT
from tests.support import metrics_store as made_store
from tests.support.packages import needs

pytestmark = pytest.mark.integration

STATIC = ROOT / "custom" / "fedward" / "dashboard" / "static"
ROUNDS = 6
SITES = ("north", "river", "small", "coast")
SUPPRESSED, DECLINES = SITES[made_store.SUPPRESSED], "hill"
PHONE = {"width": 360, "height": 740}
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
NAMELESS = "<img src=x onerror=alert(1)>"
WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => window.violations.push(event.violatedDirective));
"""
# every text on the page with its colour and the colour behind it, as relative luminance (WCAG 2.2, "contrast ratio")
CONTRASTS = """() => {
  const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const linear = (one) => (one / 255 <= 0.04045 ? one / 255 / 12.92 : ((one / 255 + 0.055) / 1.055) ** 2.4);
  const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const behind = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const [r, g, b, a = 1] = parts(getComputedStyle(one).backgroundColor);
      if (a === 1) return [r, g, b];
    }
    return [255, 255, 255];
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const found = {};
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const words = walker.currentNode.data.trim();
    if (!words || !element.checkVisibility() || element.closest(".unseen, .skip, noscript, option")) continue;
    const style = getComputedStyle(element);
    const colour = parts(element instanceof SVGElement ? style.fill : style.color);
    const [one, two] = [colour, behind(element)].map(luminance);
    const ratio = (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05);
    found[`${element.tagName}.${element.getAttribute("class")} "${words.slice(0, 20)}"`] = ratio;
  }
  return found;
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    needs("chromium")
    with sync_playwright() as play:
        started = play.chromium.launch(executable_path="/usr/bin/chromium", args=ARGUMENTS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A store: one finished job, one that runs, one that failed and has a name that is markup; five sites."""
    path = tmp_path_factory.mktemp("store") / "metrics.db"
    store = Store.open(path, create=True)
    ids = made_store.fill(store, sites=5, jobs=2, rounds=ROUNDS, finished=False)
    at = time.time()
    started = {"job": NAMELESS, "task": "classification", "rounds": 9, "sites": [], "coverage": None, "threshold": None}
    store.write("failed-job", {"event": "started", "at": at, **started})
    store.write("failed-job", {"event": "failed", "at": at, "reason": "round 1 has 1 of the 2 sites asked for"})
    store.close()
    return path, ids


@pytest.fixture(scope="module")
def url(browser: Browser, jobs: tuple[Path, list[str]]) -> Iterator[str]:
    with start_background(jobs[0]) as up:
        yield up.url


class Watched:
    """Requests and complaints of a page."""

    def __init__(self, page: Page) -> None:
        self.requests: list[str] = []
        self.complaints: list[str] = []
        page.on("request", self._request)
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _request(self, request: Request) -> None:
        self.requests.append(request.url)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)


CONNECTED = re.compile(r"^(live|up to date; no hospital is heard)$")


@pytest.fixture
def tab(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Opens pages whose complaints, foreign requests and violations of the policy fail the test at its end."""
    opened: list[tuple[Page, Watched, str]] = []

    def open_at(address: str, *, quiet: bool = True, **context: Any) -> Page:
        page = browser.new_context(**context).new_page()
        page.add_init_script(WATCH)
        if quiet:
            opened.append((page, Watched(page), address))
        page.goto(address)
        expect(page.locator("#link")).to_have_text(CONNECTED)
        return page

    yield open_at
    for page, watched, address in opened:
        assert {urlsplit(one).netloc for one in watched.requests} == {urlsplit(address).netloc}
        assert watched.complaints == []
        assert page.evaluate("window.violations") == []
    for context in browser.contexts:
        context.close()


def row(page: Page, label: str, name: str) -> Locator:
    return page.get_by_role("table", name=label).get_by_role("row").filter(has=page.get_by_role("rowheader", name=name))


def values(cells: Locator) -> list[float]:
    """The numbers of a row with all their digits."""
    return [
        float(one) for one in cells.locator("data").evaluate_all("all => all.map(one => one.getAttribute('value'))")
    ]


def test_what_the_page_shows_of_a_job_is_what_the_store_holds(
    tab: Callable[..., Page], url: str, jobs: tuple[Path, list[str]]
) -> None:
    page = tab(f"{url}/#/jobs/{jobs[1][0]}")
    expect(page.get_by_role("heading", level=1)).to_have_text("made-up-0")
    order = page.get_by_role("table", name="AUC at each site").locator("tbody th a").all_inner_texts()
    told = {name: made_store.scores(k, ROUNDS, ROUNDS, task="classification") for k, name in enumerate(SITES)}
    assert order == sorted(SITES, key=lambda name: (told[name]["auc"] is None, told[name]["auc"]))
    for k, name in enumerate(SITES):
        found = row(page, "AUC at each site", name)
        if name == SUPPRESSED:
            continue
        scores = told[name]
        support = [scores["patients"], scores["positives"], scores["images"]]
        assert values(found) == [scores["auc"], scores["auc_low"], scores["auc_high"], *support, 3.0]
        for shown in (f"{scores['auc']:.3f}", f"{scores['auc_low']:.3f} to {scores['auc_high']:.3f}"):
            assert shown in found.inner_text()
        assert values(row(page, "Epsilon by site", name)) == [3.0, 2.5 + k / 100, 8.0, pytest.approx(5.5 - k / 100)]
        assert page.get_by_role("button", name=f"{name}, after {ROUNDS} rounds {scores['auc']:.3f}").count() == 1
    assert "below the others" in row(page, "AUC at each site", "north").inner_text()
    assert "below the others" not in row(page, "AUC at each site", "coast").inner_text()
    outcome = page.get_by_role("region", name="AUC of the federated model")
    known = [one["auc"] for one in told.values() if one["auc"] is not None]
    mean = pytest.approx(sum(known) / len(known))
    assert values(outcome) == [*(told["north"][key] for key in ("auc", "auc_low", "auc_high")), mean, 0.861, 0.84, 0.88]
    assert f"{DECLINES} (job is not approved here)" in page.get_by_role("region", name="Who took part").inner_text()


def test_a_suppressed_site_has_words_and_no_number(
    tab: Callable[..., Page], url: str, jobs: tuple[Path, list[str]]
) -> None:
    page = tab(f"{url}/#/jobs/{jobs[1][0]}")
    cells = row(page, "AUC at each site", SUPPRESSED).locator("td").all_inner_texts()
    assert cells[0] == "insufficient support"
    assert cells[2] == "withheld", "its positives"
    assert not re.search(r"\d", cells[0] + cells[2])
    assert page.locator(f'[data-chart="rounds"] [data-name="{SUPPRESSED}"]').count() == 0, "no line of no number"
    page.get_by_role("link", name=SUPPRESSED).click()
    found = row(page, f"Numbers of {SUPPRESSED}", "made-up-0")
    expect(found).to_contain_text("insufficient support")
    assert "0.000" not in found.inner_text()


def test_federation_and_site_say_the_same(tab: Callable[..., Page], url: str, jobs: tuple[Path, list[str]]) -> None:
    page = tab(f"{url}/#/")
    first = page.get_by_role("table", name="Jobs, newest first").locator("tbody tr").first
    expect(first).to_contain_text("round 1 has 1 of the 2 sites asked for")
    expect(first.get_by_role("link")).to_have_text(NAMELESS)  # a name is text, whatever stands in it
    lowest = made_store.scores(0, ROUNDS, ROUNDS, task="classification")
    found = row(page, "Jobs, newest first", "made-up-0")
    assert values(found) == [lowest["auc"]]
    expect(found).to_contain_text(f"{ROUNDS} of {ROUNDS}")
    expect(row(page, "Sites", "north")).to_contain_text("connected")
    expect(row(page, "Sites", "river")).to_contain_text("stale")
    expect(row(page, "Sites", "north")).to_contain_text("days, renew")
    page.get_by_role("link", name="north").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("north")
    ends = [
        lowest["auc"],
        lowest["auc_low"],
        lowest["auc_high"],
        lowest["patients"],
        lowest["positives"],
        lowest["images"],
        3.0,
    ]
    assert values(row(page, "Numbers of north", "made-up-0")) == ends
    page.goto(f"{url}/#/jobs/failed-job")
    expect(page.get_by_role("region", name="The job failed")).to_contain_text("round 1 has 1 of the 2 sites")


def test_an_event_moves_line_and_table_without_a_reload(
    tab: Callable[..., Page], url: str, jobs: tuple[Path, list[str]]
) -> None:
    path, (_, running) = jobs
    page = tab(f"{url}/#/jobs/{running}")
    page.evaluate("window.sameDocument = true")
    canvas = page.locator('[data-chart="rounds"] canvas')
    expect(canvas).to_be_visible()
    before = canvas.evaluate("one => one.toDataURL()")
    page.get_by_role("link", name="river").first.focus()
    scores = {**made_store.scores(1, ROUNDS, ROUNDS, task="classification"), "auc": 0.612, "auc_low": 0.58}
    answer = {"site": "river", "task": "final", "round": -1, "metrics": {"scores": scores}, "seconds": 1.0}
    store = Store.open(path)
    store.write(running, {"event": "answered", "at": time.time(), **answer, "sent_bytes": 1, "received_bytes": 1})
    store.close()
    expect(row(page, "AUC at each site", "river")).to_contain_text("0.612", timeout=4000)
    expect(page.get_by_role("button", name=f"river, after {ROUNDS} rounds 0.612")).to_be_visible()
    assert canvas.evaluate("one => one.toDataURL()") != before
    assert page.evaluate("window.sameDocument") is True
    first = page.get_by_role("table", name="AUC at each site").locator("tbody tr").first
    assert "river" in first.inner_text(), "lowest first, at once"
    expect(page.get_by_role("link", name="river").first).to_be_focused()  # although its row moved


def test_a_dead_site_turns_stale_by_itself(tab: Callable[..., Page], tmp_path: Path) -> None:
    path, now = tmp_path / "metrics.db", time.time()
    store = Store.open(path, create=True)
    made_store.fill(store, sites=3, rounds=2, now=now - 54.0)
    seen = {"river": now, "small": now}
    store.seen(SiteSeen(site=site, last_seen=at, connected=True, certificate_until=None) for site, at in seen.items())
    store.close()
    with start_background(path) as up:
        page = tab(f"{up.url}/#/", quiet=False)
        expect(row(page, "Sites", "north")).to_contain_text("connected")
        page.route("**/api/**", lambda route: route.abort())  # from here on no answer repairs it
        expect(row(page, "Sites", "north")).to_contain_text("stale", timeout=15000)
        shapes = page.locator(".state[data-site] svg").evaluate_all("all => all.map(one => one.innerHTML)")
        assert shapes[0] != shapes[1] == shapes[2], "told by its shape, not by colour alone"
        expect(row(page, "Sites", "river")).to_contain_text("connected")


def test_long_after_a_job_it_does_not_say_live(tab: Callable[..., Page], tmp_path: Path) -> None:
    """Opened when every hospital has been silent for days: the data is as it should be, and nobody is there."""
    path, long_ago = tmp_path / "metrics.db", time.time() - 3 * 86_400
    store = Store.open(path, create=True)
    made_store.fill(store, sites=3, rounds=2, now=long_ago)
    store.close()
    with start_background(path) as up:
        page = tab(f"{up.url}/#/")
        expect(page.locator("#link")).to_have_text("up to date; no hospital is heard")
        expect(page.get_by_text("stale")).to_have_count(3)


def test_a_lost_service_is_said_and_found_again(tab: Callable[..., Page], tmp_path: Path) -> None:
    path = tmp_path / "metrics.db"
    store = Store.open(path, create=True)
    (job,) = made_store.fill(store, sites=3, rounds=2)
    store.close()
    with start_background(path) as up:
        page = tab(f"{up.url}/#/jobs/{job}", quiet=False)
        port = urlsplit(up.url).port
        assert port is not None
    expect(page.locator("#link")).to_have_text(re.compile(r"^not connected, showing data of \d\d:\d\d:\d\d$"))
    assert "0.6" in row(page, "AUC at each site", "north").inner_text(), "what was known stays"
    with start_background(path, port=port):
        expect(page.locator("#link")).to_have_text(CONNECTED, timeout=15000)


def test_before_there_is_a_store(tab: Callable[..., Page], tmp_path: Path) -> None:
    with start_background(tmp_path / "later.db") as up:
        page = tab(f"{up.url}/")
        expect(page.get_by_role("region", name="Jobs, newest first")).to_contain_text("No job has started")
        expect(page.get_by_role("region", name="Sites")).to_contain_text("No site has been seen")


def test_many_sites_are_small_drawings_of_the_lowest(tab: Callable[..., Page], tmp_path: Path) -> None:
    path = tmp_path / "metrics.db"
    store = Store.open(path, create=True)
    (job,) = made_store.fill(store, sites=12, rounds=4)
    store.close()
    with start_background(path) as up:
        page = tab(f"{up.url}/#/jobs/{job}")
        lowest = page.get_by_role("table", name="AUC at each site").locator("tbody th a").all_inner_texts()
        assert page.locator(".panel figcaption a").all_inner_texts() == lowest[:8]
        page.get_by_label("Show also").select_option(lowest[9])
        expect(page.locator(".panel")).to_have_count(9)
        assert page.locator(".panel figcaption a").last.inner_text() == lowest[9]
        page.get_by_role("button", name=f"{lowest[9]} take away").click()
        expect(page.locator(".panel")).to_have_count(8)


def test_by_keyboard_alone(tab: Callable[..., Page], url: str, jobs: tuple[Path, list[str]]) -> None:
    page = tab(f"{url}/#/")
    wanted = set(page.locator("main a").evaluate_all("all => all.map(one => one.getAttribute('href'))"))
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    reached = set()
    for _ in range(len(wanted) + 6):
        page.keyboard.press("Tab")
        at = page.evaluate(
            "[document.activeElement.getAttribute('href'), getComputedStyle(document.activeElement).outlineStyle]"
        )
        reached.add(at[0])
        assert at[1] != "none" or at[0] is None, f"focus is seen: {at[0]}"
    assert wanted <= reached
    page.locator(f'a[href="#/jobs/{jobs[1][0]}"]').focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("made-up-0")
    expect(page.get_by_role("heading", level=1)).to_be_focused()
    label = page.locator('[data-chart="rounds"] .ends button').first
    label.focus()
    page.keyboard.press("Home")
    for _ in range(2):
        page.keyboard.press("ArrowLeft")
    expect(page.locator('[data-chart="rounds"] .readout')).to_contain_text(f"after {ROUNDS - 1} rounds")
    page.get_by_role("button", name=re.compile("river, round 2: dropped")).focus()
    expect(page.locator("#why-dropped")).to_have_text("river, round 2: dropped, no answer in time")
    page.get_by_text("AUC by round as a table").focus()
    page.keyboard.press("Enter")
    table = page.get_by_role("table", name="AUC by round")
    expect(table.locator("tbody tr")).to_have_count(ROUNDS + 1)


def test_for_who_listens(tab: Callable[..., Page], url: str, jobs: tuple[Path, list[str]]) -> None:
    page = tab(f"{url}/#/jobs/{jobs[1][0]}")
    for role in ("banner", "navigation", "main", "status"):
        assert page.get_by_role(role).count() >= 1, role
    assert page.get_by_role("heading", level=1).count() == 1
    assert page.locator("#spoken").get_attribute("aria-live") == "polite"
    assert page.locator("table:not(:has(caption))").count() == 0
    assert page.locator("th:not([scope])").count() == 0
    drawing = page.get_by_role("img", name=re.compile("^AUC at each site over the rounds")).get_attribute("aria-label")
    value = made_store.scores(0, ROUNDS, ROUNDS, task="classification")["auc"]
    assert drawing is not None
    assert f"to {value:.3f}" in drawing, "the drawing in words"
    tree = page.locator("body").aria_snapshot()
    assert not re.search(r"^\s*- (button|link|img|table|region|heading)( \[|:|$)", tree, flags=re.MULTILINE), tree


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_of_every_text(tab: Callable[..., Page], url: str, jobs: tuple[Path, list[str]], scheme: Any) -> None:
    page = tab(f"{url}/#/", color_scheme=scheme)
    for where in ("#/", f"#/jobs/{jobs[1][0]}", "#/sites/river", "#/jobs/failed-job"):
        page.goto(f"{url}/{where}")
        page.wait_for_selector("main table, main .box")
        found = page.evaluate(CONTRASTS)
        assert len(found) > 10
        assert {text: round(ratio, 2) for text, ratio in found.items() if ratio < 4.5} == {}
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(252, 251, 248)") == (scheme == "light")


def test_on_a_phone_nothing_scrolls_sideways_but_tables(
    tab: Callable[..., Page], url: str, jobs: tuple[Path, list[str]]
) -> None:
    page = tab(f"{url}/#/", viewport=PHONE, reduced_motion="reduce")
    for where in ("#/", f"#/jobs/{jobs[1][0]}", "#/sites/river", "#/jobs/failed-job"):
        page.goto(f"{url}/{where}")
        page.wait_for_selector("main table, main .box")
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), where
        moving = (
            "[...document.querySelectorAll('main *')].filter(one => getComputedStyle(one).transitionDuration !== '0s')"
        )
        assert page.evaluate(f"{moving}.length") == 0


def test_the_policy_forbids_what_the_page_does_not_need(tab: Callable[..., Page], url: str) -> None:
    page = tab(f"{url}/")
    answer = page.request.get(f"{url}/")
    policy = answer.headers["content-security-policy"]
    for part in ("default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'"):
        assert part in policy
    assert "unsafe" not in policy
    for file in STATIC.rglob("*"):
        if file.suffix in (".html", ".js", ".css", ".svg") and "vendor" not in file.parts:
            text = file.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
            assert "://" not in text, f"{file.name} names another host"
            assert not re.search(r"innerHTML|insertAdjacentHTML|\beval\(|new Function|\sstyle=|\son\w+=\"", text), (
                file.name
            )


def test_uplot_is_the_published_one_byte_by_byte() -> None:
    folder = STATIC / "vendor" / "uplot"
    told = dict(
        re.findall(r"^\| (\S+) \| `([0-9a-f]{64})` \|$", (folder / "README.md").read_text(), flags=re.MULTILINE)
    )
    assert set(told) == {"uPlot.iife.min.js", "uPlot.min.css"}
    assert {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in told} == told
    assert "MIT" in (folder / "LICENSE.txt").read_text(encoding="utf-8")
