"""AUC at each hospital with encryption beside AUC without, same job, same seed, same images: real federations.

    python bench/encrypted_auc.py [--rounds 5] [--scheme masked aes-ctr bfv]

``jobs/cxr_classification`` on three synthetic hospitals. Prints the table and writes
``bench/results/encrypted_auc.md``.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import get_args

from federated import run, write_hospitals

from fedward.reporting.data.report import Report
from fedward.settings import JobEncryption, JobSpec, Scheme, read_job

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "results" / "encrypted_auc.md"
IMAGES, AIM = 240, 0.002


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--rounds", type=int, default=5)
    ask.add_argument("--scheme", nargs="+", choices=get_args(Scheme), default=["masked", "aes-ctr", "bfv"])
    given = ask.parse_args()
    clear = job_of(given.rounds, None)
    with tempfile.TemporaryDirectory(prefix="fedward-bench-") as name:
        folder = Path(name)
        data = write_hospitals(folder / "data", images=IMAGES, label=clear.data.labels[0])
        found = {"in the clear": run(clear, data, folder / "clear")[0]}
        for scheme in given.scheme:
            job = job_of(given.rounds, JobEncryption(scheme=scheme))
            found[f"{scheme}, compact"] = run(job, data, folder / scheme)[0]
    table = _table(found, given.rounds, " ".join(given.scheme))
    print(table)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(table + "\n", encoding="utf-8")


def job_of(rounds: int, encryption: JobEncryption | None) -> JobSpec:
    job = read_job(ROOT / "jobs" / "cxr_classification")
    limits = {"rounds": rounds, "min_sites": 3, "local_baseline": False}
    return job.model_copy(update={"federation": job.federation.model_copy(update=limits), "encryption": encryption})


def _table(found: dict[str, Report], rounds: int, schemes: str) -> str:
    clear = {site.site: site.federated.value or 0.0 for site in found["in the clear"].sites}
    sites = sorted(clear)
    lines = [
        "# AUC with encryption beside AUC without, same seed",
        "",
        f"Written by `python bench/encrypted_auc.py --rounds {rounds} --scheme {schemes}`: `jobs/cxr_classification`, "
        f"three synthetic hospitals of {IMAGES} images, real processes; {platform.machine()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in ("nvflare", "torch", "tenseal"))
        + f". Aim: at most {AIM} apart. Sites round what leaves them to 4 decimals.",
        "",
        f"| | {' | '.join(sites)} | largest difference | pooled, from the encrypted sum |",
        f"|---|{'---:|' * (len(sites) + 2)}",
    ]
    for name, one in found.items():
        values = {site.site: site.federated.value or 0.0 for site in one.sites}
        apart = max(abs(values[site] - clear[site]) for site in sites)
        pooled = "" if one.pooled.value is None else f"{one.pooled.value:.4f}"
        shown = " | ".join(f"{values[site]:.4f}" for site in sites)
        lines.append(f"| {name} | {shown} | {apart:.4f} | {pooled} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
