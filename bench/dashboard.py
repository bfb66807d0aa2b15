"""The metrics service at 100 sites, 10 jobs and 200 rounds: a scrape, a page's first paint, memory, and writing.

    python bench/dashboard.py [--sites 100] [--jobs 10] [--rounds 200]

Fills a store as the server does, starts the service as a person does, asks it over HTTP and looks at it in Chromium.
Prints the table and writes ``bench/results/dashboard.md`` with the machine and the versions.
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import httpx
import psutil
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from fedward.metrics.store import STORE_FILE, SiteSeen, Store  # noqa: E402
from tests.support.metrics_store import events, site_name  # noqa: E402 - the tests' own made-up jobs

RESULTS = ROOT / "bench" / "results" / "dashboard.md"
CHROMIUM, REPEATS = "/usr/bin/chromium", 7
DRAWN = "() => document.querySelector('.uplot canvas') && performance.now()"
PAINT = "() => performance.getEntriesByName('first-contentful-paint')[0].startTime"
Row = tuple[str, str, str]


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--sites", type=int, default=100)
    ask.add_argument("--jobs", type=int, default=10)
    ask.add_argument("--rounds", type=int, default=200)
    asked = ask.parse_args()
    with tempfile.TemporaryDirectory(prefix="fedward-bench-") as name:
        with Store.open(Path(name) / STORE_FILE, create=True) as store:
            ids, rows = _filled(store, asked.sites, asked.jobs, asked.rounds)
        with _service(Path(name)) as (process, url):
            rows += [("memory of the service at its start", f"{_rss(process):.0f} MB", "")]
            rows += _scraped(url, Path(name), ids[-1]) + _read(url, ids[-1]) + _painted(url, ids[-1])
            rows += [
                ("memory of the service after all of it", f"{_rss(process):.0f} MB", "150 MB"),
                ("the most that it took meanwhile", f"{_most(process):.0f} MB", "150 MB"),
            ]
    table = _table(rows, asked)
    print(table)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(table + "\n", encoding="utf-8")


def _filled(store: Store, sites: int, jobs: int, rounds: int) -> tuple[list[str], list[Row]]:
    """Every event of every job, the last job's end now."""
    names, now, spent, written = [site_name(number) for number in range(sites)], time.time(), 0.0, 0
    ids = [f"{number:08d}-bench" for number in range(jobs)]
    for number, job in enumerate(ids):
        made = list(events(names, rounds=rounds, start=now - (jobs - number) * (rounds + 1) * 60.0, job=job))
        start = time.perf_counter()
        for event in made:
            store.write(job, event)
        spent, written = spent + time.perf_counter() - start, written + len(made)
    store.seen(SiteSeen(site=name, last_seen=now, connected=True, certificate_until=now + 9e6) for name in names)
    return ids, [
        ("writing an event, each its own transaction", f"{spent / written * 1e6:.0f} µs", ""),
        (f"store of {written} events", f"{store.bytes() / 1e6:.0f} MB", ""),
    ]


@contextmanager
def _service(kit: Path) -> Iterator[tuple[psutil.Process, str]]:
    command = [sys.executable, "-c", "from fedward.cli import main; main()", "dashboard", str(kit), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline() if process.stdout is not None else ""
            yield psutil.Process(process.pid), line.removeprefix("dashboard ").strip()
        finally:
            process.send_signal(signal.SIGINT)


def _scraped(url: str, kit: Path, job: str) -> list[Row]:
    first = _seconds(lambda: httpx.get(f"{url}/metrics").raise_for_status())
    warm = statistics.median(_seconds(lambda: httpx.get(f"{url}/metrics").raise_for_status()) for _ in range(REPEATS))
    after = []
    with Store.open(kit / STORE_FILE) as store:
        for _ in range(REPEATS):
            store.write(job, {"event": "progress", "at": time.time()})
            after.append(_seconds(lambda: httpx.get(f"{url}/metrics").raise_for_status()))
    text = httpx.get(f"{url}/metrics").text
    samples = sum(not line.startswith("#") for line in text.splitlines())
    return [
        (f"first scrape of /metrics, {samples} samples, {len(text) / 1e6:.1f} MB", f"{first:.2f} s", "0.3 s"),
        (f"scrape, median of {REPEATS}", f"{warm:.2f} s", "0.3 s"),
        (f"scrape right after a write, median of {REPEATS}", f"{statistics.median(after):.2f} s", "0.3 s"),
    ]


def _read(url: str, job: str) -> list[Row]:
    rows = []
    for what, path in (("the federation's data", "/api/federation"), ("one job's data", f"/api/jobs/{job}")):
        size = len(httpx.get(f"{url}{path}").raise_for_status().content)
        spent = statistics.median(_seconds(lambda path=path: httpx.get(f"{url}{path}")) for _ in range(REPEATS))
        rows.append((f"{what}, {size / 1e6:.2f} MB, median of {REPEATS}", f"{spent:.2f} s", ""))
    return rows


def _painted(url: str, job: str) -> list[Row]:
    paints, lines = [], []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        for _ in range(REPEATS):
            with browser.new_context() as context:  # nothing in its cache
                page = context.new_page()
                page.goto(f"{url}/#/jobs/{job}", wait_until="commit")
                lines.append(page.wait_for_function(DRAWN, polling="raf", timeout=60_000).json_value() / 1000)
                paints.append(page.evaluate(PAINT) / 1000)
        chromium = browser.version
        browser.close()
    return [
        (f"first paint of the job's page, Chromium {chromium}, median of {REPEATS}", _median(paints), "1 s"),
        (f"until its lines are drawn, median of {REPEATS}", _median(lines), "1 s"),
    ]


def _median(seconds: list[float]) -> str:
    return f"{statistics.median(seconds):.2f} s"


def _seconds(what: Callable[[], object]) -> float:
    start = time.perf_counter()
    what()
    return time.perf_counter() - start


def _rss(process: psutil.Process) -> float:
    return float(process.memory_info().rss) / 1e6


def _most(process: psutil.Process) -> float:
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6


def _table(rows: list[Row], asked: argparse.Namespace) -> str:
    shape = f"--sites {asked.sites} --jobs {asked.jobs} --rounds {asked.rounds}"
    lines = [
        "# The metrics service and its pages",
        "",
        f"Written by `python bench/dashboard.py {shape}`: every event written as the server writes it, the service as",
        f"its own process, asked over HTTP; {os.cpu_count()} cores, {platform.machine()}, "
        f"Python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in ("starlette", "uvicorn", "prometheus-client"))
        + ".",
        "",
        "| measured | what | aim |",
        "|---:|---|---:|",
        *(f"| {value} | {what} | {aim} |" for what, value, aim in rows),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
