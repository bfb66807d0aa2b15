"""Seconds of a job that are not training: a real five-round federation of three hospitals, and where they went.

    python bench/overhead.py [--rounds 5]

Prints the split and writes ``bench/results/overhead.md`` with the machine and the versions.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from federated import run, write_hospitals

from fedward.reporting.data.report import Time
from fedward.settings import read_job

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "results" / "overhead.md"
IMAGES = 60


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--rounds", type=int, default=5)
    rounds = ask.parse_args().rounds
    job = read_job(ROOT / "jobs" / "cxr_classification")
    job = job.model_copy(update={"federation": job.federation.model_copy(update={"rounds": rounds})})
    with tempfile.TemporaryDirectory(prefix="fedward-bench-") as name:
        data = write_hospitals(Path(name) / "data", images=IMAGES, label=job.data.labels[0])
        report, outcome = run(job, data, Path(name))
    table = _table(report.time, list(outcome.events), rounds)
    print(table)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(table + "\n", encoding="utf-8")


def _table(time: Time, events: list[dict[str, Any]], rounds: int) -> str:
    first, last = events[0]["at"], events[-1]["at"]
    answered_round0 = min(event["at"] for event in events if event["event"] == "round") - time.rounds[0].wall_s
    training = sum(one.train_s for one in time.rounds)
    rows = [
        ("submit to finish", time.wall_s),
        ("slowest training of each round, summed", training),
        ("slowest training alone", time.alone_s or 0.0),
        ("**overhead: the rest**", time.overhead_s or 0.0),
        ("of it: FLARE's start and end (wall less the job's own events)", time.wall_s - (last - first)),
        ("of it: admission, the sites' libraries and images loading", answered_round0 - first),
        ("of it: rounds less their slowest training", sum(one.wall_s for one in time.rounds) - training),
    ]
    lines = [
        "# Overhead: what is not training",
        "",
        f"Written by `python bench/overhead.py --rounds {rounds}`: three hospitals of {IMAGES} images, real processes,",
        f"mutual TLS; {os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in ("nvflare", "torch", "monai"))
        + ".",
        "",
        "| seconds | what |",
        "|---:|---|",
        *(f"| {seconds:.1f} | {what} |" for what, seconds in rows),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
