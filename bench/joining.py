"""Measure a model at one ε: trained together with noise for the sum, alone, and on all patients in one place.

    PYTHONPATH=custom python bench/joining.py clinics [--seeds 2]
    PYTHONPATH=custom python bench/joining.py real --data DATA --split shenzhen-cn=2 [--seeds 2] [--epsilon 8 3]
    PYTHONPATH=custom python bench/joining.py ways --data DATA --split shenzhen-cn=2 [--start FILE.npz] [--freeze NAME]

``clinics`` deals the patients of three synthetic hospitals with well visible lesions to 20 clinics, and counts on the
noise of all of them (t = 0) or of 14 (t = 6). ``real`` takes a folder of hospitals, as ``fedward demo --data`` does.
``ways`` takes the same, and measures what else helps under noise, beside the same steps without noise; a start is a
file that ``public_start.py`` or ``fedward job start`` wrote, from other images.
The federation runs in this one process, by ``fedward.demo.simulate_sum``: the same whole numbers and the same noise as
in real processes, which ``tests/integration/union`` holds it against. Every table goes into
``bench/results/joining.md``, in place of an earlier one of the same name.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from machine import machine

from fedward.dataset.manifest import Manifest
from fedward.demo.compare import score_everywhere
from fedward.demo.prepare import gather
from fedward.demo.simulate import SimulatedSite, run_pooled, take_part, trainers
from fedward.demo.simulate_sum import run_sum
from fedward.dicom.synthetic.hospital import HOSPITALS, write_cohort
from fedward.settings import JobSpec, changed_job, parse, plain, read_job
from fedward.training.trainer import Trainer

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "results" / "joining.md"
VISIBLE = {"city-hospital": (720, 1.7), "north-clinic": (510, 1.7), "coast-institute": (330, 1.85)}
CLINICS = {"city-hospital": 9, "north-clinic": 7, "coast-institute": 4}
FASTER: dict[str, Any] = {"training": {"lr": 2e-2}}
LONGER: dict[str, Any] = {"federation": {"rounds": 120}}
ALMOST_NONE = 0.02
"""Noise multiplier of a training with a sixtieth of the noise at ε = 8; whole numbers have no room for much less."""
Row = tuple[str, float | None, dict[str, float]]
"""Name of a model, its AUC over all images together, and at each site."""


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("what", choices=("clinics", "real", "ways"))
    ask.add_argument("--data", type=Path)
    ask.add_argument("--split", action="append", default=[], help="SITE=PARTS: deal one hospital to several sites")
    ask.add_argument("--seeds", type=int, default=2)
    ask.add_argument("--epsilon", type=float, nargs="+", default=[8.0])
    ask.add_argument("--rounds", type=int, default=60)
    ask.add_argument("--rate", type=float, default=0.25)
    ask.add_argument("--start", type=Path, help="ways: public weights, as `fedward job start` writes them")
    ask.add_argument("--freeze", action="append", default=[], help="ways: beginning of names that keep their start")
    asked = ask.parse_args()
    job, load = read_job(ROOT / "jobs" / "cxr_private"), os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="fedward-bench-") as name:
        cohorts = clinics(job, Path(name)) if asked.what == "clinics" else real(job, asked, Path(name))
        _, aside = take_part(job, cohorts)
        print("aside:", aside or "none", flush=True)
        cohorts = {site: manifest for site, manifest in cohorts.items() if site not in aside}
        rows = []
        for epsilon in asked.epsilon:
            for seed in range(1, asked.seeds + 1):
                made = job_of(job, cohorts, epsilon=epsilon, seed=seed, rounds=asked.rounds, rate=asked.rate)
                if asked.what == "ways":
                    found = by_way(made, cohorts, asked, quiet=epsilon == asked.epsilon[0])
                else:
                    found = measured(made, cohorts, spare=(0, 6) if asked.what == "clinics" else (1,))
                for model, over_all, at in found:
                    rows.append((epsilon, seed, model, over_all, at))
                    print(epsilon, seed, model, over_all, {s: round(v, 3) for s, v in at.items()}, flush=True)
    keep(asked.what, section(asked, cohorts, rows, load))


def clinics(job: JobSpec, folder: Path) -> dict[str, Manifest]:
    """Twenty clinics, each with some of the patients of one of three hospitals."""
    like = [replace(one, images=VISIBLE[one.site][0], conspicuity=VISIBLE[one.site][1]) for one in HOSPITALS]
    write_cohort(folder / "data", label=job.data.labels[0], hospitals=like, masks=False)
    return gather(job, folder / "data", folder / "made", named=CLINICS, workers=1).cohorts


def real(job: JobSpec, asked: argparse.Namespace, folder: Path) -> dict[str, Manifest]:
    named = {site: int(parts) for site, _, parts in (text.partition("=") for text in asked.split)}
    return gather(job, asked.data, folder, named=named, workers=1).cohorts


def job_of(
    job: JobSpec, cohorts: Mapping[str, Manifest], *, epsilon: float, seed: int, rounds: int, rate: float
) -> JobSpec:
    content: dict[str, Any] = plain(job)
    patients = sum(manifest.patients("train") for manifest in cohorts.values())
    content["job"]["seed"] = seed
    content["federation"] |= {"rounds": rounds, "min_sites": max(3, min(len(cohorts), 20))}
    content["encryption"] |= {"max_sites": 32}
    content["privacy"]["dp_sgd"] |= {
        "epsilon": epsilon,
        "sampling_rate": rate,
        "patients_per_step": round(rate * patients),
        "max_colluding": None,
    }
    return parse(JobSpec, content, where="bench")


def measured(job: JobSpec, cohorts: Mapping[str, Manifest], *, spare: Sequence[int]) -> list[Row]:
    parts, _ = take_part(job, cohorts)
    tests = testers(job, parts)
    row = partial(scored, job, tests)
    found = []
    for absent in spare if len(parts) > 2 else ():
        shared = with_colluding(job, absent)
        weights, _ = run_sum(shared, trainers(shared, parts))
        found.append(row(f"together, t = {absent}", weights))
    found.append(row("pooled", run_pooled(job, parts)))
    alone = {}
    for site, part in parts.items():
        weights, _ = run_sum(job, trainers(job, {site: part}))
        value = score_everywhere(job, {site: tests[site]}, weights)[0][site]
        if value is not None:
            alone[site] = value
    found.append(("alone", None, alone))
    return found


def testers(job: JobSpec, parts: Mapping[str, SimulatedSite]) -> dict[str, Trainer]:
    return {site: Trainer(job, [part.manifest], site=site) for site, part in parts.items()}


def scored(job: JobSpec, tests: Mapping[str, Trainer], name: str, weights: Any) -> Row:
    at, over_all = score_everywhere(job, tests, weights)
    return name, over_all, {site: value for site, value in at.items() if value is not None}


def by_way(job: JobSpec, cohorts: Mapping[str, Manifest], asked: argparse.Namespace, *, quiet: bool) -> list[Row]:
    """Train together in each way at the job's ε; with ``quiet`` also in one place with almost no noise."""
    parts, _ = take_part(job, cohorts)
    tests, found = testers(job, parts), []
    content = b"" if asked.start is None else asked.start.read_bytes()
    for name, changes in ways(asked).items():
        made = changed(job, changes)
        if made.model.start is not None:
            made = made.model_copy(update={"model": made.model.with_start(content)})
        weights, _ = run_sum(made, trainers(made, parts))
        found.append(scored(made, tests, name, weights))
        if quiet:
            plain_steps = changed(made, {"privacy": {"dp_sgd": {"epsilon": None, "noise_multiplier": ALMOST_NONE}}})
            found.append(scored(made, tests, f"{name}, without noise", run_pooled(plain_steps, parts)))
    return found


def ways(asked: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Name of each way -> the tables of the job that it changes."""
    found = {"as it is": {}, "twice the rate": FASTER, "twice the rate and steps": {**FASTER, **LONGER}}
    if asked.start is None:
        return found
    data = asked.start.read_bytes()
    start: dict[str, Any] = {
        "start": asked.start.name,
        "start_sha256": hashlib.sha256(data).hexdigest(),
    }
    found["public start"] = {"model": start}
    if asked.freeze:
        frozen = {"model": start | {"freeze": asked.freeze}}
        found["public start, frozen"] = frozen
        found["public start, frozen, twice the rate"] = {**frozen, **FASTER}
        found["public start, frozen, twice the rate and steps"] = {**frozen, **FASTER, **LONGER}
    return found


def changed(job: JobSpec, changes: Mapping[str, Any]) -> JobSpec:
    content = plain(job)
    for table, values in changes.items():
        inner = {name: content[table][name] | value for name, value in values.items() if isinstance(value, dict)}
        content[table] |= {**values, **inner}
    return changed_job(job, content, where="bench")


def with_colluding(job: JobSpec, colluding: int) -> JobSpec:
    return changed(job, {"privacy": {"dp_sgd": {"max_colluding": colluding}}})


def section(asked: argparse.Namespace, cohorts: Mapping[str, Manifest], rows: list[Any], load: float) -> str:
    counts = [manifest.patients("train") for manifest in cohorts.values()]
    start = ""
    if asked.what == "ways" and asked.start is not None:
        digest = hashlib.sha256(asked.start.read_bytes()).hexdigest()
        start = f" Public start {digest[:12]}…, frozen: {', '.join(asked.freeze) or 'nothing'}."
    noise = sorted({epsilon for epsilon, *_ in rows})
    lines = [
        f"## {asked.what}",
        "",
        f"Written by `python bench/joining.py {asked.what}` on {time.strftime('%Y-%m-%d')}: {len(cohorts)} sites of "
        f"{min(counts)} to {max(counts)} training patients, {sum(counts)} together; cxr_private, {asked.rounds} "
        f"rounds, sampling rate {asked.rate}, ε {', '.join(f'{one:g}' for one in noise)}, {asked.seeds} seeds.{start}",
        f"{machine()}; load average {load:.1f} at the start.",
        "",
        "| ε | model | all images together, each seed | mean of sites | lowest site |",
        "|---:|---|---|---:|---:|",
    ]
    names = dict.fromkeys((epsilon, model) for epsilon, _, model, _, _ in rows)
    for epsilon, model in names:
        mine = [(over_all, at) for e, _, m, over_all, at in rows if (e, m) == (epsilon, model)]
        together = " ".join("" if one is None else f"{one:.3f}" for one, _ in mine)
        mean = statistics.mean(statistics.mean(at.values()) for _, at in mine)
        lowest = statistics.mean(min(at.values()) for _, at in mine)
        lines.append(f"| {epsilon:g} | {model} | {together} | {mean:.3f} | {lowest:.3f} |")
    return "\n".join(lines)


def keep(name: str, text: str) -> None:
    head = "# What joining brings at one ε\n\nWritten by `python bench/joining.py`; see there for what is measured.\n"
    old = RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else head
    parts = old.split("\n## ")
    kept = [part for part in parts[1:] if not part.startswith(f"{name}\n")]
    kept.append(text.removeprefix("## ").rstrip() + "\n")
    RESULTS.write_text("\n## ".join([parts[0].rstrip() + "\n", *sorted(kept)]), encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
