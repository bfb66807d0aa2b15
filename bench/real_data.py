"""Measure a job on real images: federated beside each hospital alone and beside pooled data, over several splits.

    python bench/real_data.py jobs/cxr_classification DATA --split shenzhen-cn=2 --keys 3

The federation runs in this one process, by ``fedward.demo.simulate``. DATA is what ``fedward demo --data`` takes. The
table is printed and put into bench/results/real_data.md, in place of the job's earlier one.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from fedward.dataset.manifest import Manifest
from fedward.demo.compare import score_everywhere
from fedward.demo.prepare import gather
from fedward.demo.simulate import run_rounds, take_part, trainers
from fedward.settings import JobSpec, read_job
from fedward.training.trainer import Trainer
from fedward.weights import Weights

RESULTS = Path(__file__).resolve().parent / "results" / "real_data.md"
ALL = "all together"
Row = dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One split: model -> site tested at, and ``ALL`` -> AUC or Dice; what took part; CPU seconds of the federation."""

    tested: dict[str, Row]
    support: dict[str, tuple[int, int]]
    aside: dict[str, str]
    cpu_s: float


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("job", type=Path, help="the job's folder")
    ask.add_argument("data", type=Path, help="folder of hospitals, as for fedward demo --data")
    ask.add_argument("--keys", type=int, default=3, help="how many different splits of the patients")
    ask.add_argument("--split", action="append", default=[], help="SITE=PARTS: deal one hospital to several sites")
    ask.add_argument("--split-sites", type=int, help="deal the only hospital to this many sites")
    args = ask.parse_args()
    job = read_job(args.job)
    named = {site: int(parts) for site, _, parts in (text.partition("=") for text in args.split)}
    outcomes = []
    for key in range(args.keys):
        with tempfile.TemporaryDirectory() as folder:
            gathered = gather(job, args.data, Path(folder), named=named, every=args.split_sites, seed=key)
            outcomes.append(measure(job, gathered.cohorts, gathered.refused))
        print(table(job, outcomes[-1:]), flush=True)
    text = section(job, outcomes)
    print(text)
    keep(job, text)


def measure(job: JobSpec, cohorts: Mapping[str, Manifest], refused: Mapping[str, str]) -> Outcome:
    """Train federated, alone and pooled; test every model at every site."""
    parts, aside = take_part(job, cohorts)
    sites = trainers(job, parts)
    started = time.process_time()
    models = {"federated": run_rounds(job, sites)[0]}
    cpu_s = time.process_time() - started
    pooled = Trainer(job, [cohorts[site] for site in sites], site="centralised")
    models["centralised"] = pooled.train_alone()
    models |= {f"{site} alone": trainer.train_alone() for site, trainer in sites.items()}
    support = {site: (t.support.train_patients, t.support.validation_patients) for site, t in sites.items()}
    tested = {name: everywhere(job, sites, weights) for name, weights in models.items()}
    return Outcome(tested=tested, support=support, aside={**refused, **aside}, cpu_s=cpu_s)


def everywhere(job: JobSpec, sites: Mapping[str, Trainer], weights: Weights) -> Row:
    at, together = score_everywhere(job, sites, weights)
    values = {**at, ALL: together}
    return {name: float("nan") if value is None else value for name, value in values.items()}


def table(job: JobSpec, outcomes: list[Outcome]) -> str:
    """Markdown: a row a model, a column a site; means over the splits, and each split's value over all sites."""
    columns = list(next(iter(outcomes[0].tested.values())))
    lines = ["| model \\ tested at | " + " | ".join([*columns, "each split"]) + " |", "|---" * (len(columns) + 2) + "|"]
    for model in outcomes[0].tested:
        means = [f"{np.mean([outcome.tested[model][column] for outcome in outcomes]):.3f}" for column in columns]
        each = " ".join(f"{outcome.tested[model][ALL]:.3f}" for outcome in outcomes)
        lines.append(f"| {model} | " + " | ".join([*means, each]) + " |")
    return "\n".join(lines)


def section(job: JobSpec, outcomes: list[Outcome]) -> str:
    """The job's part of the results file."""
    measure_name = "Dice" if job.job.task == "segmentation" else "AUC"
    first, training = outcomes[0], job.training
    people = "; ".join(f"{site} {train} + {held}" for site, (train, held) in first.support.items())
    budget = f"{training.local_epochs} local epochs" if training.local_epochs else f"{training.local_steps} local steps"
    versions = ", ".join(f"{name} {version(name)}" for name in ("fedward", "monai", "torch", "numpy"))
    return "\n".join(
        [
            f"## {job.job.name}",
            "",
            f"{measure_name}, mean of {len(outcomes)} splits. {job.model.network} at {list(job.data.size)}, "
            f"{job.federation.rounds} rounds of {budget}, weighting {job.federation.weighting}, seed {job.job.seed}.",
            f"Patients, training + validation, first split: {people}.",
            *[f"Takes no part: {reason}." for reason in first.aside.values()],
            f"CPU seconds of the federated training, one thread, all sites: "
            f"{', '.join(f'{outcome.cpu_s:.0f}' for outcome in outcomes)}.",
            f"Python {platform.python_version()}, {versions}, {platform.machine()}.",
            "",
            table(job, outcomes),
            "",
        ]
    )


def keep(job: JobSpec, text: str) -> None:
    """Put the section into the results file in place of the job's earlier one."""
    RESULTS.parent.mkdir(exist_ok=True)
    before = RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else ""
    parts = {part.split("\n", 1)[0].strip(): part for part in before.split("## ")[1:]}
    parts[job.job.name] = text.removeprefix("## ")
    head = "# Jobs on real images\n\nWritten by `python bench/real_data.py`; see there for what is measured.\n\n"
    body = "\n".join(f"## {parts[name].rstrip()}\n" for name in sorted(parts))
    RESULTS.write_text(head + body, encoding="utf-8")


if __name__ == "__main__":
    main()
