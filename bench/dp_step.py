"""Seconds and memory of a DP-SGD step beside a plain step, Opacus's hooks and torch.func.vmap, in one run.

    python bench/dp_step.py [--repeats 3] [--patients 16]

One thread, one image a patient, on images of noise. The variants take turns, so that what else the machine does meets
all of them; medians. A DP-SGD step is all that Fedward does: gradients, clip, exact noise, optimizer. Peak
memory is that of a process of its own for each variant. Prints the table and writes ``bench/results/dp_step.md``.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from fedward.privacy.noise import SecureRandom
from fedward.settings import JobSpec, parse
from fedward.training.dp_sgd.dp_sgd import Private, PrivateSteps
from fedward.training.dp_sgd.gradient_method import choose_method
from fedward.training.dp_sgd.patient_gradients import Patient, one_by_one
from fedward.training.losses import Loss, build_loss
from fedward.training.networks import build_network, predict

RESULTS = Path(__file__).resolve().parent / "results" / "dp_step.md"
CASES = {"DenseNet121": (64, 64), "SegResNet": (64, 64), "BasicUNet": (32, 32, 32)}
Step = Callable[[], object]


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--repeats", type=int, default=3)
    ask.add_argument("--patients", type=int, default=16)
    ask.add_argument("--memory", nargs=2, metavar=("NETWORK", "VARIANT"), help=argparse.SUPPRESS)
    args = ask.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    if args.memory:
        steps_of(args.memory[0], args.patients)[args.memory[1]]()
        print(peak_of_this_process())
        return
    rows = []
    for network in CASES:
        rows += measure(network, patients=args.patients, repeats=args.repeats)
    text = page(rows, args)
    print(text)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(text + "\n", encoding="utf-8")


def measure(network: str, *, patients: int, repeats: int) -> list[str]:
    """A table row a variant."""
    steps, seconds, failed = steps_of(network, patients), {}, {}
    for name, step in steps.items():
        try:
            step()
            seconds[name] = []
        except Exception as error:  # noqa: BLE001 - which networks a variant fails on is what is asked
            failed[name] = type(error).__name__
    for _ in range(repeats):
        for name, taken in seconds.items():
            started = time.perf_counter()
            steps[name]()
            taken.append(time.perf_counter() - started)
    plain = statistics.median(seconds["plain"])
    rows = []
    for name in steps:
        if name in failed:
            rows.append(f"| {network} {list(CASES[network])} | {name} | fails: {failed[name]} | | |")
            continue
        median = statistics.median(seconds[name])
        memory = "" if "alone" in name else peak(network, name, patients)
        rows.append(f"| {network} {list(CASES[network])} | {name} | {median:.2f} | {median / plain:.2f} | {memory} |")
    return rows


def peak(network: str, variant: str, patients: int) -> str:
    """MiB of a fresh process that takes one step."""
    command = [sys.executable, __file__, "--patients", str(patients), "--memory", network, variant]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1]


def peak_of_this_process() -> int:
    """MiB; getrusage would count what the parent held when it started this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM"))


def steps_of(name: str, patients: int) -> dict[str, Step]:
    """One optimizer step of each variant on the same images."""
    job = job_for(name, patients)
    loss, size = build_loss(job), CASES[name]
    images = torch.randn(patients, 1, *size)
    truth = torch.randint(0, 2, (patients, 1, *size) if job.data.structures else (patients, 1))
    truth = truth.to(torch.uint8) if job.data.structures else truth.float()
    return {
        "plain": plain_step(job, loss, images, truth),
        "Fedward": private_step(job, loss, images, truth),
        "Fedward, noise alone": noise_step(job),
        "patient by patient": private_step(job, loss, images, truth, one=True),
        "torch.func.vmap, clipped sum": vmap_step(job, loss, images, truth),
        "Opacus hooks": opacus_step(job, loss, images, truth),
    }


def plain_step(job: JobSpec, loss: Loss, images: Tensor, truth: Tensor) -> Step:
    network = build_network(job).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3)

    def step() -> None:
        optimizer.zero_grad()
        loss(predict(network, images), truth).backward()
        optimizer.step()

    return step


def private_step(job: JobSpec, loss: Loss, images: Tensor, truth: Tensor, *, one: bool = False) -> Step:
    network = build_network(job).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3)
    people = [Patient(images=images[i : i + 1], truth=truth[i : i + 1]) for i in range(len(images))]
    made: list[PrivateSteps] = []

    def step() -> None:
        if not made:
            made.append(private_steps(job, one_by_one if one else choose_method(network, loss, job), len(images)))
        made[0].fill(network, loss, iter(people))
        optimizer.step()

    return step


def private_steps(job: JobSpec, method: Any, patients: int) -> PrivateSteps:
    settings = job.privacy.dp_sgd
    if settings is None:
        raise SystemExit("the job has no DP-SGD")
    private = Private(sampling_rate=0.1, noise_multiplier=1.0)
    everyone = [(i,) for i in range(patients)]
    return PrivateSteps(settings, private, patients=everyone, source=SecureRandom(), method=method)


def noise_step(job: JobSpec) -> Step:
    count, source = sum(p.numel() for p in build_network(job).parameters()), SecureRandom()
    return lambda: source.rounded_normal(count, 2.0**20)


def vmap_step(job: JobSpec, loss: Loss, images: Tensor, truth: Tensor) -> Step:
    network = without_in_place(build_network(job).train())
    weights = {name: p.detach() for name, p in network.named_parameters()}

    def value(weights: dict[str, Tensor], image: Tensor, one: Tensor) -> Tensor:
        output = functional_call(network, weights, (image[None],))
        return loss(output[0] if isinstance(output, tuple) else output, one[None])

    def step() -> None:
        rows = vmap(grad(value), in_dims=(None, 0, 0), randomness="different")(weights, images, truth)
        squares = sum(row.flatten(1).square().sum(1) for row in rows.values())
        factors = (1.0 / squares.sqrt()).clamp(max=1.0)
        for row in rows.values():
            torch.tensordot(factors, row, dims=1)

    return step


def opacus_step(job: JobSpec, loss: Loss, images: Tensor, truth: Tensor) -> Step:
    made: list[Any] = []

    def make() -> None:
        from opacus import GradSampleModule
        from opacus.optimizers import DPOptimizer

        network = GradSampleModule(without_in_place(build_network(job).train()))
        inner = torch.optim.SGD(network.parameters(), lr=1e-3)
        optimizer = DPOptimizer(inner, noise_multiplier=1.0, max_grad_norm=1.0, expected_batch_size=len(images))
        made.extend([network, optimizer])

    def step() -> None:
        if not made:
            make()
        network, optimizer = made
        optimizer.zero_grad()
        loss(predict(network, images), truth).backward()
        optimizer.step()

    return step


def without_in_place(network: nn.Module) -> nn.Module:
    """Switch off in-place layers, with which Opacus and vmap do not run."""
    for layer in network.modules():
        if hasattr(layer, "inplace"):
            layer.inplace = False
    return network


def job_for(network: str, patients: int) -> JobSpec:
    masked = network != "DenseNet121"
    data = {"structures": ["1"]} if masked else {"labels": ["yes"]}
    settings = {"noise_multiplier": 1.0, "delta": 1e-5, "clip_norm_l2": 1.0, "patients_per_step": float(patients)}
    content = {
        "job": {"name": "bench", "task": "segmentation" if masked else "classification"},
        "federation": {"rounds": 1, "min_sites": 1, "round_timeout_s": 60.0},
        "data": {"cohort": "bench", "size": CASES[network], **data},
        "model": {"network": network},
        "training": {
            "loss": {"name": "DiceCELoss" if masked else "BCEWithLogitsLoss"},
            "optimizer": "SGD",
            "lr": 1e-3,
            "batch_size": patients,
            "local_steps": 1,
        },
        "privacy": {"mechanism": "dp-sgd", "dp_sgd": settings},
    }
    return parse(JobSpec, content, where="bench")


def page(rows: list[str], args: argparse.Namespace) -> str:
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "monai", "opacus"))
    return "\n".join(
        [
            "# A DP-SGD step beside a plain step",
            "",
            f"Written by `python bench/dp_step.py --repeats {args.repeats} --patients {args.patients}`: "
            f"{args.patients} patients of one image, one thread;",
            f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {versions}. "
            f"Median of {args.repeats}, variants in turn; load average {os.getloadavg()[0]:.1f} at the end.",
            "",
            "| network | step | seconds | to plain | peak MiB |",
            "|---|---|---:|---:|---:|",
            *rows,
        ]
    )


if __name__ == "__main__":
    main()
