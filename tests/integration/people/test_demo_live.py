"""Check a running demo: it shows a dashboard from its first line on, whose lines move, and nothing after it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.error import URLError

import psutil
import pytest

from fedward.dicom.synthetic.hospital import HOSPITALS, write_cohort
from tests.conftest import tiny_job_content
from tests.integration.people.test_refusals import write_toml

pytestmark = pytest.mark.integration
AT_MOST_S = 240.0


@contextmanager
def demo(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """``fedward demo`` of a small job on small hospitals."""
    hospitals = [replace(one, images=20, faults=()) for one in HOSPITALS]
    write_cohort(folder / "data", label="lesion", masks=False, hospitals=hospitals)
    (folder / "tiny").mkdir()
    content = tiny_job_content()
    content["federation"] |= {"rounds": 6, "local_baseline": False}
    write_toml(folder / "tiny" / "job.toml", content)
    program = str(Path(sys.executable).parent / "fedward")
    words = [program, "demo", "--job", "tiny", "--data", "data", "--no-centralised"]
    with subprocess.Popen(words, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as running:
        try:
            yield running
        finally:
            running.terminate()


def asked(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(url, timeout=10) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def points(url: str) -> dict[str, list[float | None]]:
    """Site -> its line, as far as it is drawn; empty before there is a job."""
    jobs = asked(f"{url}/api/federation")["jobs"]
    if not jobs:
        return {}
    series = asked(f"{url}/api/jobs/{jobs[0]['id']}")["series"]
    return {site: line["value"] for site, line in series.items()}


def test_the_first_line_is_a_dashboard_whose_lines_move_until_the_demo_ends(tmp_path: Path) -> None:
    with demo(tmp_path) as running:
        assert running.stdout is not None
        first = running.stdout.readline()
        assert first.startswith("dashboard ")
        url = first.split()[1]
        assert url.startswith("http://127.0.0.1:")
        (service,) = (
            one
            for one in psutil.Process(running.pid).children()
            if "fedward.dashboard.background_child" in one.cmdline()
        )
        seen, last, end = set[int](), dict[str, list[float | None]](), time.monotonic() + AT_MOST_S
        while "comparison" not in first and time.monotonic() < end:
            first = running.stdout.readline()
            last = points(url)
            seen.add(sum(len(line) for line in last.values()))
        assert len(seen) >= 5, "the lines grew while it trained"
        said = running.stdout.read()
        assert running.wait(AT_MOST_S) == 0, said
    assert set(last) == {hospital.site for hospital in HOSPITALS}
    assert {len(line) for line in last.values()} == {7}, "a point before each of six rounds and one after the last"
    report = json.loads((tmp_path / "build" / "demo" / "report.json").read_text())
    for site in report["sites"]:
        assert [point["value"] for point in site["history"]] == last[site["site"]]
    assert (tmp_path / "build" / "demo" / "report.html").is_file()
    assert not service.is_running()
    with pytest.raises((URLError, ConnectionError)):
        asked(f"{url}/api/federation")
