"""Ten trivial rounds from submit to finish, by stage: this tree and an earlier commit, in turns in one run.

    python bench/ten_rounds.py [--base f64c6c9] [--times 2]

Three hospitals of 24 images as real processes over mutual TLS; each round is one local step. The earlier commit is
checked out beside this tree, and both run with the same libraries. Prints the table and writes
``bench/results/ten_rounds.md`` with the machine, its load and the versions.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from federated import write_hospitals
from machine import machine

from fedward.demo.federate import LEAD, await_sites, federation_of
from fedward.demo.prepare import gather
from fedward.flare.admin_session import console
from fedward.flare.export import export_job
from fedward.flare.job_context import SITE_FILE
from fedward.flare.kits.central import provision
from fedward.flare.local_federation import LocalFederation, free_port, interruptible
from fedward.metrics.events import EVENTS_FILE, EventReader
from fedward.settings import JobSpec, parse

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "results" / "ten_rounds.md"
ROUNDS, IMAGES, AIM_S = 10, 24, 14.0
STAGES = ("submit to run", "admission", "first round", "nine rounds", "end")
OTHERS = "stock FLARE 34 to 39 s, stock FLARE with short polls 16 s, Flower 55 s (with less load on the machine)"


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--base", default="f64c6c9", help="earlier commit")
    ask.add_argument("--times", type=int, default=2, help="runs of each")
    ask.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    asked = ask.parse_args()
    if asked.one is not None:
        print(json.dumps(measured(asked.one)))
        return
    load, runs = os.getloadavg()[0], {"base": list[dict[str, float]](), "now": list[dict[str, float]]()}
    with checked_out(asked.base) as base:
        for _ in range(asked.times):
            for name, tree in (("base", base), ("now", ROOT)):
                runs[name].append(run_of(tree))
                print(name, runs[name][-1], flush=True)
    table = _table(runs, asked.base, asked.times, load)
    print(table)
    RESULTS.write_text(table + "\n", encoding="utf-8")


def trivial_job(*, rounds: int = ROUNDS, min_sites: int = 3) -> JobSpec:
    """A job whose round is one step of a tiny network."""
    content: dict[str, Any] = {
        "job": {"name": "trivial", "task": "classification", "seed": 7},
        "federation": {
            "rounds": rounds,
            "min_sites": min_sites,
            "round_timeout_s": 1800.0,
            "grace_s": 900.0,
            "local_baseline": False,
            "weighting": "equal",
        },
        "data": {"cohort": "chest", "labels": ["lesion"], "target": "binary", "size": [24, 24]},
        "model": {
            "network": "DenseNet",
            "args": {"init_features": 8, "growth_rate": 4, "block_config": [2, 2], "bn_size": 2},
        },
        "training": {
            "loss": {"name": "BCEWithLogitsLoss"},
            "optimizer": "AdamW",
            "lr": 0.003,
            "batch_size": 8,
            "local_steps": 1,
            "threads": 1,
        },
        "privacy": {"mechanism": "none"},
    }
    return parse(JobSpec, content, where="trivial")


def measured(folder: Path) -> dict[str, float]:
    """Run the job once with the package that Python imports; return the seconds of each stage."""
    job = trivial_job()
    hospitals = gather(job, write_hospitals(folder / "data", images=IMAGES, label="lesion"), folder, named={}).hospitals
    spec = federation_of([hospital.site for hospital in hospitals], port=free_port())
    kits = provision(spec, folder / "fl")
    for hospital in hospitals:
        (kits.sites[hospital.site] / "local" / SITE_FILE).write_bytes(hospital.config.read_bytes())
    exported = export_job(job, folder / "jobs")
    with (
        interruptible(),
        LocalFederation(spec, kits, threads=1) as federation,
        console(kits.people[LEAD]) as session,
    ):
        await_sites(federation, session, kits, spec)
        time.sleep(2.0)
        submitted = time.time()
        job_id = session.submit(exported)
        status = session.wait(job_id, each=federation.check, poll_s=0.1)
        ended = time.time()
        events = list(EventReader(session.download(job_id, folder / "results") / EVENTS_FILE))
    if "COMPLETED" not in status:
        raise SystemExit(f"the job ended as {status}")
    return stages(events, submitted, ended)


def stages(events: list[dict[str, Any]], submitted: float, ended: float) -> dict[str, float]:
    """Return the seconds of each stage, from the times of the server's events."""

    def last(kind: str, **fields: Any) -> float:
        return max(e["at"] for e in events if e["event"] == kind and fields.items() <= e.items())

    marks = [
        submitted,
        last("started"),
        last("admitted"),
        last("round", round=0),
        last("round", round=ROUNDS - 1),
        ended,
    ]
    found = {stage: marks[place + 1] - marks[place] for place, stage in enumerate(STAGES)}
    return {stage: round(seconds, 2) for stage, seconds in found.items()} | {"all": round(ended - submitted, 2)}


def run_of(tree: Path) -> dict[str, float]:
    """Measure a tree in a process of its own, whose federation runs that tree too."""
    environment = {**os.environ, "PYTHONPATH": str(tree / "custom"), "PYTHONWARNINGS": "ignore"}
    with tempfile.TemporaryDirectory(prefix="fedward-bench-") as name:
        command = [sys.executable, str(Path(__file__).resolve()), "--one", name]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


@contextmanager
def checked_out(commit: str) -> Iterator[Path]:
    """Check an earlier commit out beside this tree for a while."""
    with tempfile.TemporaryDirectory(prefix="fedward-base-") as name:
        tree = Path(name) / "tree"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", str(tree), commit], check=True)
        try:
            yield tree
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], check=True)


def _table(runs: dict[str, list[dict[str, float]]], base: str, times: int, load: float) -> str:
    def middle(name: str, stage: str) -> float:
        return statistics.median(run[stage] for run in runs[name])

    def row(stage: str) -> str:
        each = [", ".join(f"{run[stage]:.1f}" for run in runs[name]) for name in ("base", "now")]
        return f"| {stage} | {each[0]} | {each[1]} | {middle('now', stage) / middle('base', stage):.2f} |"

    return "\n".join(
        [
            "# Ten trivial rounds from submit to finish",
            "",
            f"Written by `python bench/ten_rounds.py --base {base} --times {times}`: three hospitals of",
            f"{IMAGES} images, real processes, mutual TLS, one local step a round; each tree in turns, in the",
            "order of the figures.",
            f"{machine()}; load average {load:.1f} before and {os.getloadavg()[0]:.1f} after.",
            "",
            f"| seconds | {base} | now | ratio of the medians |",
            "|---|---:|---:|---:|",
            *(row(stage) for stage in (*STAGES, "all")),
            "",
            f"The aim is {AIM_S:.0f} s on a quiet machine. Others, on the same machine: {OTHERS}.",
        ]
    )


if __name__ == "__main__":
    main()
