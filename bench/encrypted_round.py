"""Seconds of a round that are not training, and the server's memory, encrypted and in the clear: a real federation.

    python bench/encrypted_round.py [--rounds 6] [--scheme masked aes-ctr bfv]

Three hospitals, DenseNet121 (MONAI, 7.0 M parameters), one local step on tiny images, mutual TLS, real processes. A
round's time is the server's from question to closed round, less the slowest site's training and validation. Round 0
carries no model in an encrypted job, so it is left out of the medians. Prints the table and writes
``bench/results/encrypted_round.md``.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple, get_args

from federated import run, server_peak, write_hospitals

from fedward.settings import JobEncryption, JobSpec, Model, Scheme, read_job
from fedward.training.networks import initial_weights

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "results" / "encrypted_round.md"
IMAGES = 24
AIM_DIFFERENCE_S, AIM_ROUND_S, AIM_MEMORY = 0.5, 3.5, 1.2


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--rounds", type=int, default=6)
    ask.add_argument("--scheme", nargs="+", choices=get_args(Scheme), default=["masked", "aes-ctr", "bfv"])
    given = ask.parse_args()
    clear = job_of(given.rounds, None)
    parameters = sum(array.size for array in initial_weights(clear).values())
    found = {"in the clear": measured_job(clear)}
    for scheme in given.scheme:
        found[f"encrypted, {scheme} compact"] = measured_job(job_of(given.rounds, JobEncryption(scheme=scheme)))
    table = _table(found, parameters, given.rounds, " ".join(given.scheme))
    print(table)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(table + "\n", encoding="utf-8")


def job_of(rounds: int, encryption: JobEncryption | None) -> JobSpec:
    """A job of DenseNet121 whose training is one step."""
    job = read_job(ROOT / "jobs" / "cxr_classification")
    limits = {"rounds": rounds, "min_sites": 3, "local_baseline": False, "weighting": "equal"}
    return job.model_copy(
        update={
            "federation": job.federation.model_copy(update=limits),
            "data": job.data.model_copy(update={"size": (64, 64)}),
            "model": Model(network="DenseNet121"),
            "training": job.training.model_copy(update={"local_steps": 1, "local_epochs": None, "batch_size": 2}),
            "encryption": encryption,
        }
    )


class Measured(NamedTuple):
    """Seconds of each round after the first that are neither training nor validation; the server's peak in bytes."""

    rounds: list[float]
    peak: int


def measured_job(job: JobSpec) -> Measured:
    """Run a job in a federation of its own."""
    with tempfile.TemporaryDirectory(prefix="fedward-bench-") as name, server_peak(Path(name)) as peak:
        data = write_hospitals(Path(name) / "data", images=IMAGES, label=job.data.labels[0])
        report, _ = run(job, data, Path(name))
    rounds = [one.wall_s - (one.train_s or 0.0) - (one.validate_s or 0.0) for one in report.time.rounds[1:]]
    return Measured(rounds, peak[0])


def _table(found: dict[str, Measured], parameters: int, rounds: int, schemes: str) -> str:
    plain = found["in the clear"]
    clear = statistics.median(plain.rounds)
    lines = [
        "# A round without its training, encrypted and in the clear",
        "",
        f"Written by `python bench/encrypted_round.py --rounds {rounds} --scheme {schemes}`: DenseNet121, "
        f"{parameters:,} parameters, three hospitals, real processes, mutual TLS; {os.cpu_count()} cores, "
        f"{platform.machine()}, load {os.getloadavg()[0]:.1f} at the end, Python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in ("nvflare", "torch", "monai", "tenseal"))
        + ". Aims: at most "
        f"{AIM_DIFFERENCE_S} s more than in the clear, at most {AIM_ROUND_S} s in all, at most {AIM_MEMORY} times the "
        "memory. Memory is the largest of the server's job process in the whole job, with its libraries.",
        "",
        "| | median s | lowest | highest | more than in the clear | server's memory, MB | ratio |",
        "|---|---:|---:|---:|---:|---:|---:|",
        *(
            f"| {name} | {statistics.median(times):.2f} | {min(times):.2f} | {max(times):.2f} "
            f"| {statistics.median(times) - clear:+.2f} | {peak / 1e6:,.0f} | {peak / plain.peak:.2f} |"
            for name, (times, peak) in found.items()
        ),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
