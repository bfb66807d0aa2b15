"""Measure what a start brings: a job from a checkpoint beside the same job from scratch, on images that you give.

    PYTHONPATH=custom python bench/start.py DATA --split shenzhen-cn=3 --public shenzhen-cn-1 [--keys 3] [--rounds 2 5]

DATA is what ``fedward demo --data`` takes. The hospital of ``--public`` takes no part in the job: the checkpoint is the
job's network, trained at this hospital alone with the passes of the job's own rounds. It becomes a start as in
``fedward job start``, and each job differs from its neighbour in its start alone. The federation runs in this one
process, by ``fedward.demo.simulate``. The table goes into bench/results/start.md.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from machine import machine

from fedward.dataset.manifest import Manifest
from fedward.demo.compare import score_everywhere
from fedward.demo.prepare import gather
from fedward.demo.simulate import run_rounds, take_part, trainers
from fedward.settings import JobSpec, changed_job, plain, read_job
from fedward.training.trainer import Trainer
from fedward.weights import Weights, save_weights

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "results" / "start.md"
Row = tuple[float, dict[str, float]]
"""AUC over all images together, and at each site."""


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("data", type=Path, help="folder of hospitals, as for fedward demo --data")
    ask.add_argument("--job", type=Path, default=ROOT / "jobs" / "cxr_classification")
    ask.add_argument("--public", required=True, help="hospital that the checkpoint is trained at; it is in no job")
    ask.add_argument("--split", action="append", default=[], help="SITE=PARTS: deal one hospital to several sites")
    ask.add_argument("--keys", type=int, default=3, help="how many splits of the patients, each with its own seed")
    ask.add_argument("--rounds", type=int, nargs="+", default=[2, 5])
    asked = ask.parse_args()
    named = {site: int(parts) for site, _, parts in (text.partition("=") for text in asked.split)}
    job, started, found = read_job(asked.job), time.process_time(), dict[str, list[Row]]()
    counts: dict[str, tuple[int, int]] = {}
    for key in range(asked.keys):
        with tempfile.TemporaryDirectory(prefix="fedward-bench-") as folder:
            cohorts = gather(job, asked.data, Path(folder), named=named, workers=1, seed=key).cohorts
            rows, counts = measured(seeded(job, key), dict(cohorts), asked, Path(folder))
        for name, row in rows.items():
            found.setdefault(name, []).append(row)
            print(key, name, f"{row[0]:.3f}", {site: round(value, 3) for site, value in row[1].items()}, flush=True)
    RESULTS.write_text(page(job, asked, found, counts, cpu_s=time.process_time() - started), encoding="utf-8")
    print(RESULTS.read_text(encoding="utf-8"))


def measured(
    job: JobSpec, cohorts: dict[str, Manifest], asked: argparse.Namespace, folder: Path
) -> tuple[dict[str, Row], dict[str, tuple[int, int]]]:
    """Train the checkpoint, then each job from it and from scratch; return the scores, and the sites' patients."""
    public = Trainer(job, [cohorts.pop(asked.public)], site=asked.public)
    checkpoint = public.train_alone()
    parts, aside = take_part(job, cohorts)
    print("aside:", aside or "none", flush=True)
    sites = trainers(job, parts)
    rows = {"the checkpoint itself": scored(job, sites, checkpoint)}
    for rounds in asked.rounds:
        scratch = with_rounds(job, rounds)
        for name, made in (
            ("from scratch", scratch),
            ("from the checkpoint", from_checkpoint(scratch, checkpoint, folder)),
        ):
            weights, _ = run_rounds(made, trainers(made, parts))
            rows[f"{rounds} rounds, {name}"] = scored(made, sites, weights)
    counts = {site: (one.support.train_patients, one.support.validation_patients) for site, one in sites.items()}
    return rows, {f"{asked.public} (public)": (public.support.train_patients, 0), **counts}


def seeded(job: JobSpec, key: int) -> JobSpec:
    return job.model_copy(update={"job": job.job.model_copy(update={"seed": job.job.seed + key})})


def with_rounds(job: JobSpec, rounds: int) -> JobSpec:
    return job.model_copy(update={"federation": job.federation.model_copy(update={"rounds": rounds})})


def from_checkpoint(job: JobSpec, checkpoint: Weights, folder: Path) -> JobSpec:
    """Return the job with the checkpoint as its start, as a job's folder gives it."""
    save_weights(checkpoint, folder / "public.npz")
    content = (folder / "public.npz").read_bytes()
    spec = plain(job)
    spec["model"] |= {"start": "public.npz", "start_sha256": hashlib.sha256(content).hexdigest()}
    made = changed_job(job, spec, where="bench")
    return made.model_copy(update={"model": made.model.with_start(content)})


def scored(job: JobSpec, sites: Mapping[str, Trainer], weights: Weights) -> Row:
    at, together = score_everywhere(job, sites, weights)
    known = {site: value for site, value in at.items() if value is not None}
    return (float("nan") if together is None else together), known


def page(
    job: JobSpec,
    asked: argparse.Namespace,
    found: Mapping[str, list[Row]],
    counts: Mapping[str, tuple[int, int]],
    *,
    cpu_s: float,
) -> str:
    people = "; ".join(f"{site} {train} + {held}" for site, (train, held) in counts.items())
    split = "".join(f" --split {one}" for one in asked.split)
    lines = [
        "# What a start brings",
        "",
        f"Written by `python bench/start.py DATA{split} --public {asked.public} --keys {asked.keys}` on "
        f"{time.strftime('%Y-%m-%d')}: {job.job.name} on real radiographs. The hospital of the checkpoint is in no "
        "job, and no number is of its patients.",
        f"Patients, training + validation, last split: {people}.",
        f"{machine()}; {cpu_s:.0f} CPU seconds.",
        "",
        "| model | all images together, each split | mean | mean of sites | lowest site |",
        "|---|---|---:|---:|---:|",
    ]
    for name, rows in found.items():
        each = " ".join(f"{together:.3f}" for together, _ in rows)
        mean = statistics.mean(together for together, _ in rows)
        sites = statistics.mean(statistics.mean(at.values()) for _, at in rows)
        lowest = statistics.mean(min(at.values()) for _, at in rows)
        lines.append(f"| {name} | {each} | {mean:.3f} | {sites:.3f} | {lowest:.3f} |")
    for rounds in asked.rounds:
        pairs = zip(
            found[f"{rounds} rounds, from the checkpoint"], found[f"{rounds} rounds, from scratch"], strict=True
        )
        gains = [one[0] - other[0] for one, other in pairs]
        won = sum(gain > 0 for gain in gains)
        better = f"{won} of {len(gains)} splits, by {statistics.mean(gains):+.3f} in the mean"
        lines += ["", f"After {rounds} rounds the job from the checkpoint is better in {better}."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
