"""Rounds of a job with noise for the sum: where the milliseconds go that are no training.

    PYTHONPATH=custom python bench/sum_rounds.py [--rounds 60]

Three hospitals of 24 images as real processes over mutual TLS, a network of about 100,000 parameters, masked sums.
A round's overhead is the time from one whole round to the next, less what the slowest hospital's step took. Prints the
table and writes ``bench/results/sum_rounds.md`` with the machine, its load and the versions.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from itertools import pairwise
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
from fedward.training.networks import initial_weights

RESULTS = Path(__file__).resolve().parent / "results" / "sum_rounds.md"
IMAGES, AIM_S = 24, 0.25


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--rounds", type=int, default=60)
    asked = ask.parse_args()
    load, job = os.getloadavg()[0], sum_job(asked.rounds)
    with tempfile.TemporaryDirectory(prefix="fedward-bench-") as name:
        events, steps = run(job, Path(name))
    table = page(job, events, steps, load)
    print(table)
    RESULTS.write_text(table + "\n", encoding="utf-8")


def sum_job(rounds: int) -> JobSpec:
    """A job of small steps, with a network of about 100,000 parameters."""
    content: dict[str, Any] = {
        "job": {"name": "sum_rounds", "task": "classification", "seed": 7},
        "federation": {
            "rounds": rounds,
            "min_sites": 3,
            "round_timeout_s": 600.0,
            "grace_s": 60.0,
            "local_baseline": False,
            "weighting": "equal",
            "validate_every": rounds,
        },
        "data": {"cohort": "chest", "labels": ["lesion"], "target": "binary", "size": [16, 16]},
        "model": {
            "network": "Classifier",
            "args": {"channels": [16, 32, 64], "strides": [2, 2, 2], "norm": ["instance", {"affine": True}]},
        },
        "training": {
            "loss": {"name": "BCEWithLogitsLoss"},
            "optimizer": "AdamW",
            "lr": 0.003,
            "batch_size": 8,
            "local_steps": 1,
            "threads": 1,
        },
        "privacy": {
            "mechanism": "dp-sgd",
            "dp_sgd": {
                "noise": "sum",
                "noise_multiplier": 8.0,
                "delta": 1e-4,
                "clip_norm_l2": 1.0,
                "sampling_rate": 0.2,
                "patients_per_step": 10.0,
            },
        },
        "encryption": {"statistics": False},
    }
    return parse(JobSpec, content, where="sum_rounds")


def run(job: JobSpec, folder: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Run the job once and return the server's events, and the hospitals' own."""
    hospitals = gather(job, write_hospitals(folder / "data", images=IMAGES, label="lesion"), folder, named={}).hospitals
    spec = federation_of([hospital.site for hospital in hospitals], port=free_port())
    kits = provision(spec, folder / "fl")
    for hospital in hospitals:
        (kits.sites[hospital.site] / "local" / SITE_FILE).write_bytes(hospital.config.read_bytes())
    exported = export_job(job, folder / "jobs")
    with interruptible(), LocalFederation(spec, kits, threads=1) as federation, console(kits.people[LEAD]) as session:
        await_sites(federation, session, kits, spec)
        time.sleep(2.0)
        job_id = session.submit(exported)
        status = session.wait(job_id, each=federation.check, poll_s=0.1)
        events = list(EventReader(session.download(job_id, folder / "results") / EVENTS_FILE))
        steps = [event for kit in kits.sites.values() for event in EventReader(kit / job_id / EVENTS_FILE)]
    if "COMPLETED" not in status:
        raise SystemExit(f"the job ended as {status}")
    return events, steps


def page(job: JobSpec, events: list[dict[str, Any]], steps: list[dict[str, Any]], load: float) -> str:
    rounds = [event for event in events if event["event"] == "round"]
    # a hospital tells nobody how long its step took: these are its own notes
    slowest = {
        number: max(one["seconds"] for one in steps if one["event"] == "progress" and one["round"] == number)
        for number in range(len(rounds))
    }
    periods = [after["at"] - before["at"] for before, after in pairwise(rounds)]
    overheads = [period - slowest[one["round"]] for period, one in zip(periods, rounds[1:], strict=True)]
    parts = {
        "from round to round": periods,
        "slowest hospital's step": [slowest[one["round"]] for one in rounds[1:]],
        "**all but training**": overheads,
        "of it: until all have answered, less the step": [
            one["stages"]["wait_s"] - slowest[one["round"]] for one in rounds[1:]
        ],
        "of it: adding at the server": [one["stages"]["add_s"] for one in rounds[1:]],
        "of it: opening the masked sum": [one["stages"]["unmask_s"] for one in rounds[1:]],
        "of it: between rounds": [p - one["wall_s"] for p, one in zip(periods, rounds[1:], strict=True)],
    }
    parameters = sum(array.size for array in initial_weights(job).values())
    middle = statistics.median(overheads)
    verdict = "met" if middle <= AIM_S else "not met"
    return "\n".join(
        [
            "# A round with noise for the sum, without its training",
            "",
            f"Written by `python bench/sum_rounds.py --rounds {len(rounds)}`: three hospitals as real processes on one "
            f"machine, {parameters:,} parameters, masked.",
            f"{machine()}; load average {load:.1f} at the start.",
            "",
            "| seconds a round | median | first tenth | last tenth |",
            "|---|---:|---:|---:|",
            *(f"| {name} | {row(values)} |" for name, values in parts.items()),
            "",
            f"Aim: at most {AIM_S} s a round without training: {verdict}, {middle:.2f} s.",
        ]
    )


def row(values: list[float]) -> str:
    tenth = max(1, len(values) // 10)
    return " | ".join(f"{statistics.median(part):.3f}" for part in (values, values[:tenth], values[-tenth:]))


if __name__ == "__main__":
    main()
