"""Measure a rare structure: the shipped recipe and the one for large organs, together, alone and pooled, by hospital.

    PYTHONPATH=custom python bench/rare.py [--seeds 1]

Five synthetic hospitals have slices of MRI of the head; a tumour is in about a third of them, and the last hospital has
one patient and takes no part. Each recipe is ``jobs/<name>/job.toml``; the one for large organs gets the other's data,
rounds and network size, and keeps its loss and its draws. The tables go into ``bench/results/rare.md``.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from machine import machine

from fedward.demo.prepare import gather
from fedward.demo.simulate import simulate, take_part
from fedward.dicom.synthetic.mri import MR_HOSPITALS, write_mri
from fedward.settings import JobSpec, parse, plain, read_job
from fedward.training.trainer import Trainer
from fedward.validation.comparison.model_worth import ModelScores, SiteScores, model_worth

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "results" / "rare.md"
PATIENTS = {
    "city-hospital": (34, 0.95),
    "coast-institute": (22, 0.9),
    "hill-hospital": (16, 1.0),
    "north-clinic": (12, 0.9),
    "valley-practice": (1, 1.0),
}
"""Hospital -> its patients, and the share of them with a tumour: small hospitals, and healthy patients too."""
COHORT = tuple(replace(one, patients=PATIENTS[one.site][0], ill=PATIENTS[one.site][1]) for one in MR_HOSPITALS)
AIM = 0.05
"""Largest Dice by which the federation may be below pooled training at a hospital."""


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--seeds", type=int, default=1)
    ask.add_argument("--only", choices=("rare", "large"))
    given = ask.parse_args()
    lines = ["# A rare structure", "", f"`python bench/rare.py --seeds {given.seeds}`, {machine()}.", ""]
    for name in [given.only] if given.only else ["rare", "large"]:
        for seed in range(given.seeds):
            started = time.perf_counter()
            rows = measured(recipe(name, seed=seed), seed=seed)
            lines += table(name, seed, rows, time.perf_counter() - started)
            print("\n".join(lines[-len(rows) - 6 :]), flush=True)
    if given.only is None:
        RESULTS.write_text("\n".join(lines) + "\n", encoding="utf-8")


def recipe(name: str, *, seed: int) -> JobSpec:
    """Return the recipe for rare structures, or that for large organs on the same data."""
    rare = read_job(ROOT / "jobs" / "tumour_segmentation")
    content = plain(rare)
    if name == "large":
        large = plain(read_job(ROOT / "jobs" / "lung_segmentation"))
        content |= {part: large[part] for part in ("training", "transforms", "model")}
    content["job"] = content["job"] | {"seed": seed}
    return parse(JobSpec, content, where=ROOT)


def measured(job: JobSpec, *, seed: int) -> list[dict[str, Any]]:
    """Return for each hospital its Dice together, pooled and alone."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "hospitals"
        write_mri(data, structures=job.data.structures, sequences=("FLAIR",), seed=seed, hospitals=COHORT)
        cohorts = gather(job, data, Path(folder), named={}, seed=seed, workers=0).cohorts
        parts, aside = take_part(job, cohorts)
        together = simulate(job, parts)
        everyone = Trainer(job, [part.manifest for part in parts.values()], site="pooled").train_alone()
        rows = []
        for site, part in parts.items():
            trainer = Trainer(job, [part.manifest], site=site)
            alone = trainer.train_alone()
            found = {"together": together.weights, "pooled": everyone, "alone": alone}
            scores = {name: trainer.validate(weights) for name, weights in found.items()}
            patients = trainer.support.train_patients + trainer.support.validation_patients
            dices = {name: getattr(score, "dice", None) for name, score in scores.items()}
            rows.append({"site": site, "patients": patients} | dices)
        return rows + [{"site": site, "reason": reason} for site, reason in aside.items()]


def scores_of(rows: list[dict[str, Any]]) -> ModelScores:
    """Return the scores as the report's verdict takes them."""
    names = {"value": "together", "alone": "alone", "pooled": "pooled"}
    sites = [SiteScores(site=row["site"], **{to: row[name] for to, name in names.items()}) for row in rows]
    return ModelScores(measure="dice", private=False, sites=sites)


def table(name: str, seed: int, rows: list[dict[str, Any]], seconds: float) -> list[str]:
    """Return the table of one run, and whether the aim was met."""
    there = [row for row in rows if "reason" not in row]
    gaps = [(row["pooled"] or 0.0) - (row["together"] or 0.0) for row in there]
    met = "met" if max(gaps) <= AIM else "NOT met"
    lines = [f"## Recipe for {'rare structures' if name == 'rare' else 'large organs'}, seed {seed}", ""]
    lines += ["| hospital | patients | together | pooled | alone |", "|---|---|---|---|---|"]
    for row in there:
        shown = " | ".join("–" if row[key] is None else f"{row[key]:.3f}" for key in ("together", "pooled", "alone"))
        lines.append(f"| {row['site']} | {row['patients']} | {shown} |")
    lines += [f"| {row['site']} | {row['reason']} | – | – | – |" for row in rows if "reason" in row]
    for verdict in model_worth(scores_of(there)):
        lines += ["", f"Verdict: {verdict.words}"]
    words = f"{max(gaps):.3f} below pooled at most (aim {AIM}: {met}), {statistics.mean(gaps):.3f} in the mean"
    return [*lines, "", f"{words}; {seconds:.0f} s.", ""]


if __name__ == "__main__":
    main()
