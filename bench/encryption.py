"""Measure encrypted aggregation beside FLARE's stock homomorphic filters and beside no encryption, in one run.

    python bench/encryption.py [--repeats 3] [--quick]

Three hospitals send one round's model: the initial weights of the real network and a small heavy-tailed update, the
same tensors for all. Stock is what FLARE's FedAvgRecipeWithHE puts together: HEModelEncryptor,
HEInTimeAccumulateWeightedAggregator, HEModelShareableGenerator and HEModelDecryptor, under the context that HEBuilder
makes. Every message is a Shareable through FOBS, as FLARE sends it, and waits as a file. Each end runs in a process of
its own, so that peak memory is its own. ``--quick`` leaves stock out. Prints the page and writes
``bench/results/encryption.md``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from encryption_ends import PATIENTS, PLAIN, STOCK

from fedward.settings import JobEncryption

ENDS = Path(__file__).with_name("encryption_ends.py")
RESULTS = Path(__file__).resolve().parent / "results" / "encryption.md"
WAYS = ("aes-ctr compact", "aes-ctr precise", "bfv compact", "bfv precise", "ckks compact")


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """Goal of one way: ``value`` of (its row, stock's row, plain's row), at most or at least ``bound``."""

    what: str
    bound: float
    at_most: bool
    value: Callable[[dict[str, float], dict[str, float], dict[str, float]], float]
    concerns: Callable[[str, str], bool] = lambda network, way: True


AIMS = (
    Aim(
        what="bytes up a parameter, compact",
        bound=8,
        at_most=True,
        value=lambda way, stock, plain: way["up"],
        concerns=lambda network, way: way.endswith("compact"),
    ),
    Aim(
        what="bytes up a parameter, precise",
        bound=16,
        at_most=True,
        value=lambda way, stock, plain: way["up"],
        concerns=lambda network, way: way.endswith("precise"),
    ),
    Aim(
        what="server seconds, times less than stock",
        bound=100,
        at_most=False,
        value=lambda way, stock, plain: stock["server_s"] / way["server_s"],
        concerns=lambda network, way: network == "DenseNet121",
    ),
    Aim(
        what="client seconds, times less than stock",
        bound=8,
        at_most=False,
        value=lambda way, stock, plain: stock["client_s"] / way["client_s"],
    ),
    Aim(
        what="server's peak memory, to that of no encryption",
        bound=2,
        at_most=True,
        value=lambda way, stock, plain: way["peak_mib"] / plain["peak_mib"],
    ),
    Aim(
        what="relative L2 error of the model, compact",
        bound=1e-3,
        at_most=True,
        value=lambda way, stock, plain: way["error"],
        concerns=lambda network, way: way.endswith("compact"),
    ),
    Aim(
        what="relative L2 error of the model, precise",
        bound=1e-6,
        at_most=True,
        value=lambda way, stock, plain: way["error"],
        concerns=lambda network, way: way.endswith("precise"),
    ),
)


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--repeats", type=int, default=3)
    ask.add_argument("--quick", action="store_true", help="without stock")
    args = ask.parse_args()
    started, load, rows = time.perf_counter(), os.getloadavg(), {}
    for network in ("BasicUNet", "DenseNet121"):
        with tempfile.TemporaryDirectory(prefix="fedward-bench-") as name:
            folder = Path(name)
            write_models(folder, network)
            rows[network] = measure(folder, repeats=args.repeats, stock=not args.quick)
    text = page(rows, args, load=load, took_s=time.perf_counter() - started)
    print(text)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(text + "\n", encoding="utf-8")


def measure(folder: Path, *, repeats: int, stock: bool) -> dict[str, dict[str, float]]:
    """Way -> its figures: stock once, the others in turns, medians."""
    found = {STOCK: once(folder, STOCK)} if stock else {}
    turns = [{way: once(folder, way) for way in (PLAIN, *WAYS)} for _ in range(repeats)]
    for way in (PLAIN, *WAYS):
        found[way] = {name: statistics.median(turn[way][name] for turn in turns) for name in turns[0][way]}
    return found


def once(folder: Path, way: str) -> dict[str, float]:
    """One round: the hospitals send, the server adds, a hospital opens, each in a fresh process."""
    for end in ("send", "add", "open"):
        subprocess.run([sys.executable, ENDS, str(folder), way, end], check=True, stdout=subprocess.DEVNULL)
    send, add, opened = (json.loads((folder / f"{end}.json").read_text()) for end in ("send", "add", "open"))
    return {
        "client_s": send["seconds"] + opened["seconds"],
        "server_s": add["seconds"],
        "up": send["bytes"],
        "down": add["bytes"],
        "peak_mib": add["peak_mib"],
        "idle_mib": add["idle_mib"],
        "error": opened["error"],
        "update_error": opened["update_error"],
        "parameters": opened["parameters"],
        "tensors": opened["tensors"],
    }


def write_models(folder: Path, network: str) -> None:
    """``global.npz`` and ``<site>.npz``: MONAI's initial weights; updates of 2 % of each tensor's size, Student's t."""
    import torch
    from monai.networks.nets import BasicUNet, DenseNet121

    torch.manual_seed(0)
    built = (
        DenseNet121(spatial_dims=2, in_channels=1, out_channels=1)
        if network == "DenseNet121"
        else BasicUNet(spatial_dims=3, in_channels=1, out_channels=2)
    )
    weights = {name: tensor.numpy().astype(np.float32) for name, tensor in built.state_dict().items()}
    np.savez(folder / "global.npz", **weights)
    for seed, site in enumerate(PATIENTS):
        random = np.random.default_rng(seed)
        model = {}
        for name, array in weights.items():
            size = 0.02 * float(np.sqrt(np.mean(np.square(array, dtype=np.float64))))
            tail = random.standard_t(3, array.shape) / np.sqrt(3.0)
            model[name] = (array + size * tail).astype(np.float32)
        np.savez(folder / f"{site}.npz", **model)


def page(rows: dict[str, Any], args: argparse.Namespace, *, load: tuple[float, ...], took_s: float) -> str:
    settings = JobEncryption()
    versions = ", ".join(f"{name} {version(name)}" for name in ("nvflare", "tenseal", "numpy", "cryptography"))
    command = f"python bench/encryption.py --repeats {args.repeats}" + (" --quick" if args.quick else "")
    weights = ", ".join(map(str, PATIENTS.values()))
    lines = [
        "# Encrypted aggregation",
        "",
        f"Written by `{command}` in {took_s / 60:.0f} minutes; {platform.machine()}, {os.cpu_count()} cores,",
        f"Python {platform.python_version()}, {versions}; load average {load[0]:.1f} before and "
        f"{os.getloadavg()[0]:.1f} after. {STOCK} once, the rest in",
        f"turns, median of {args.repeats}. Three hospitals of {weights} patients; "
        f"`clipping_range = {settings.clipping_range}`, `max_sites = {settings.max_sites}`, "
        f"`max_patients = {settings.max_patients}`.",
        "",
        "Client: one hospital's seconds to protect, serialise, deserialise and open. Server: to deserialise three",
        "messages, add and serialise. Peak: resident memory of the server's process, in brackets what it grew by.",
        "Errors are relative, in L2, to the mean in float64: of the whole model, and of the round's update alone.",
        "× is times less than stock.",
    ]
    for network, found in rows.items():
        plain = found[PLAIN]
        lines += [
            "",
            f"## {network}, {plain['parameters'] / 1e6:.1f} M parameters in {plain['tensors']:.0f} tensors",
            "",
            "| | client s | × | server s | × | up B | down B | server peak MiB | error | of the update |",
            "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
            *(_row(way, figures, found.get(STOCK)) for way, figures in found.items()),
        ]
    if not args.quick:
        lines += ["", "## Aims", "", "| aim | network | " + " | ".join(WAYS) + " |", "|---|---|" + "---:|" * len(WAYS)]
        lines += [_aim(aim, network, found) for aim in AIMS for network, found in rows.items() if _asked(aim, network)]
    return "\n".join(lines)


def _row(way: str, figures: dict[str, float], stock: dict[str, float] | None) -> str:
    client, server = (
        f"{stock[name] / figures[name]:.1f}" if stock is not None else "" for name in ("client_s", "server_s")
    )
    return (
        f"| {way} | {figures['client_s']:.2f} | {client} | {figures['server_s']:.2f} | {server} "
        f"| {figures['up']:.2f} | {figures['down']:.2f} "
        f"| {figures['peak_mib']:.0f} (+{figures['peak_mib'] - figures['idle_mib']:.0f}) "
        f"| {figures['error']:.1e} | {figures['update_error']:.1e} |"
    )


def _asked(aim: Aim, network: str) -> bool:
    return any(aim.concerns(network, way) for way in WAYS)


def _aim(aim: Aim, network: str, found: dict[str, Any]) -> str:
    cells = []
    for way in WAYS:
        if not aim.concerns(network, way):
            cells.append("")
            continue
        value = aim.value(found[way], found[STOCK], found[PLAIN])
        met = value <= aim.bound if aim.at_most else value >= aim.bound
        cells.append(f"{value:.3g} {'met' if met else '**missed**'}")
    sign = "≤" if aim.at_most else "≥"
    return f"| {aim.what} {sign} {aim.bound:g} | {network} | " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
