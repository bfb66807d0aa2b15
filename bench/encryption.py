"""What encrypted aggregation costs beside FLARE's stock homomorphic filters and beside no encryption, in one run.

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
import logging
import os
import pickle
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

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
from numpy.typing import NDArray
from nvflare.apis.dxo import DXO, DataKind, MetaKey, from_shareable
from nvflare.apis.fl_constant import ReservedKey
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from nvflare.apis.utils.decomposers import flare_decomposers
from nvflare.app_common.app_constant import AppConstants
from nvflare.app_common.decomposers import common_decomposers
from nvflare.fuel.utils import fobs

from fedward.aggregation.fedavg import weighted_mean
from fedward.encryption.fixed_point import FixedPoint
from fedward.encryption.key import create_key
from fedward.encryption.layout import flatten, unflatten
from fedward.encryption.schemes import bits_of
from fedward.encryption.secure_sum import Adder, SecureSum
from fedward.encryption.topic import Topic
from fedward.privacy.payload import layout_hash, layout_of
from fedward.settings import JobEncryption

RESULTS = Path(__file__).resolve().parent / "results" / "encryption.md"
PATIENTS = {"alder": 9000, "birch": 5000, "cedar": 1200}
STOCK, PLAIN = "stock FLARE HE", "no encryption"
WAYS = ("aes-ctr compact", "aes-ctr precise", "bfv compact", "bfv precise", "ckks compact")
Model = dict[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """What one way should reach: ``value`` of (its row, stock's row, plain's row), at most or at least ``bound``."""

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
    ask.add_argument("--part", nargs=3, metavar=("FOLDER", "WAY", "END"), help=argparse.SUPPRESS)
    args = ask.parse_args()
    logging.disable(logging.CRITICAL)
    if args.part:
        take_part(Path(args.part[0]), way_of(args.part[1]), args.part[2])
        return
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
        subprocess.run(
            [sys.executable, __file__, "--part", str(folder), way, end], check=True, stdout=subprocess.DEVNULL
        )
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


def read_model(folder: Path, name: str) -> Model:
    with np.load(folder / f"{name}.npz") as content:
        return {key: content[key] for key in content.files}


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way to send, add and open, each a function of Shareables."""

    send: Callable[[Path, str, Model], Shareable]
    begin: Callable[[Path], tuple[Callable[[Shareable, str], None], Callable[[], Shareable]]]
    open: Callable[[Path, Shareable], Model]
    ready: Callable[[Path], None] = lambda folder: None


def take_part(folder: Path, way: Way, end: str) -> None:
    """One end's process; writes what it measured to ``<end>.json``."""
    flare_decomposers.register()
    common_decomposers.register()
    parameters = sum(array.size for array in read_model(folder, "global").values())
    measured = {"send": send, "add": add, "open": opened}[end](folder, way, parameters)
    (folder / f"{end}.json").write_text(json.dumps(measured))


def send(folder: Path, way: Way, parameters: int) -> dict[str, float]:
    way.ready(folder)
    seconds, sizes = [], []
    for site in PATIENTS:
        model = read_model(folder, site)
        started = time.perf_counter()
        message = fobs.dumps(way.send(folder, site, model))
        seconds.append(time.perf_counter() - started)
        sizes.append(len(message) / parameters)
        (folder / f"{site}.message").write_bytes(message)
    return {"seconds": statistics.median(seconds), "bytes": statistics.median(sizes)}


def add(folder: Path, way: Way, parameters: int) -> dict[str, float]:
    accept, result = way.begin(folder)
    idle, seconds = memory_mib("VmRSS"), 0.0
    Path("/proc/self/clear_refs").write_text("5")  # from here on, the peak is that of the work
    for site in PATIENTS:
        message = (folder / f"{site}.message").read_bytes()
        started = time.perf_counter()
        accept(fobs.loads(message), site)
        seconds += time.perf_counter() - started
    started = time.perf_counter()
    answer = fobs.dumps(result())
    seconds += time.perf_counter() - started
    (folder / "answer.message").write_bytes(answer)
    return {
        "seconds": seconds,
        "bytes": len(answer) / parameters,
        "peak_mib": memory_mib("VmHWM"),
        "idle_mib": idle,
    }


def opened(folder: Path, way: Way, parameters: int) -> dict[str, float]:
    way.ready(folder)
    message = (folder / "answer.message").read_bytes()
    started = time.perf_counter()
    model = way.open(folder, fobs.loads(message))
    seconds = time.perf_counter() - started
    before, total = read_model(folder, "global"), sum(PATIENTS.values())
    sites = {site: read_model(folder, site) for site in PATIENTS}
    wrong = size = moved = 0.0
    for name in before:
        mean = sum(np.float64(PATIENTS[site]) * sites[site][name].ravel() for site in PATIENTS) / total
        wrong += float(np.square(np.asarray(model[name], np.float64).ravel() - mean).sum())
        size += float(np.square(mean).sum())
        moved += float(np.square(mean - before[name].ravel()).sum())
    return {
        "seconds": seconds,
        "error": float(np.sqrt(wrong / size)),
        "update_error": float(np.sqrt(wrong / moved)),
        "parameters": parameters,
        "tensors": len(before),
    }


def memory_mib(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))


def way_of(name: str) -> Way:
    if name == STOCK:
        return stock_way()
    if name == PLAIN:
        return plain_way()
    return sealed_way(*name.split())


def plain_way() -> Way:
    def begin(folder: Path) -> tuple[Callable[[Shareable, str], None], Callable[[], Shareable]]:
        updates: dict[str, tuple[Model, float]] = {}

        def accept(message: Shareable, site: str) -> None:
            updates[site] = (from_shareable(message).data, float(PATIENTS[site]))

        return accept, lambda: DXO(DataKind.WEIGHTS, data=weighted_mean(updates)).to_shareable()

    return Way(
        send=lambda folder, site, model: DXO(DataKind.WEIGHTS, data=model).to_shareable(),
        begin=begin,
        open=lambda folder, message: from_shareable(message).data,
    )


def sealed_way(scheme: Any, precision: Any) -> Way:
    settings, bits = JobEncryption(precision=precision), bits_of(scheme, precision)
    numbers = FixedPoint(largest=settings.largest, bits=bits, max_sites=settings.max_sites)
    key_file = f"{scheme}.key"

    def ready(folder: Path) -> None:
        if not (folder / key_file).exists():
            (folder / key_file).write_bytes(pickle.dumps(create_key(scheme)))

    def topic(model: Model) -> Topic:
        layout = layout_hash(layout_of(model), network="bench", args={})
        length = sum(array.size for array in model.values()) + 1
        return Topic(job_id="bench", purpose="model", round_number=0, layout=layout, length=length, bits=bits)

    def send(folder: Path, site: str, model: Model) -> Shareable:
        end = SecureSum(pickle.loads((folder / key_file).read_bytes()), site=site)
        weight = numbers.weight_code(PATIENTS[site] / settings.max_patients)
        codes, _ = numbers.encode(flatten(model), weight_code=weight)
        return Shareable({"sealed": end.seal(np.append(codes, weight), topic(model))})

    def begin(folder: Path) -> tuple[Callable[[Shareable, str], None], Callable[[], Shareable]]:
        key_id = pickle.loads((folder / key_file).read_bytes()).key_id
        adder = Adder(topic(read_model(folder, "global")), scheme=scheme, key_id=key_id)
        return (
            lambda message, site: adder.add(message["sealed"], site=site),
            lambda: Shareable({"sealed": adder.sum()}),
        )

    def open_(folder: Path, message: Shareable) -> Model:
        model = read_model(folder, "global")
        end = SecureSum(pickle.loads((folder / key_file).read_bytes()), site="alder")
        found = end.open(message["sealed"], topic(model))
        mean = numbers.decode(found.codes[:-1], weight_code=int(found.codes[-1]), sites=len(found.sites))
        return unflatten(mean, layout_of(model))

    return Way(send=send, begin=begin, open=open_, ready=ready)


def stock_way() -> Way:
    """FLARE's own components, weighting by patients at the client, the whole model, all layers."""
    import tenseal as ts
    from nvflare.app_common.abstract.model import make_model_learnable
    from nvflare.app_opt.he.intime_accumulate_model_aggregator import HEInTimeAccumulateWeightedAggregator
    from nvflare.app_opt.he.model_decryptor import HEModelDecryptor
    from nvflare.app_opt.he.model_encryptor import HEModelEncryptor
    from nvflare.app_opt.he.model_shareable_generator import HEModelShareableGenerator
    from nvflare.lighter.impl.he import HEBuilder

    def ready(folder: Path) -> None:
        if (folder / "client").exists():
            return
        builder = HEBuilder()
        builder.initialize(None, None)
        (folder / "client").write_bytes(builder.get_serialized_context(is_client=True))
        (folder / "server").write_bytes(builder.get_serialized_context())

    def context_at(folder: Path, end: str) -> FLContext:
        context = FLContext()
        context.set_peer_context(FLContext())
        context.set_prop(AppConstants.CURRENT_ROUND, 0)
        context.set_prop(AppConstants.GLOBAL_MODEL, make_model_learnable(read_model(folder, "global"), {}))
        return context

    def send(folder: Path, site: str, model: Model) -> Shareable:
        encryptor = HEModelEncryptor(weigh_by_local_iter=True)
        encryptor.tenseal_context, encryptor.encrypt_layers = ts.context_from((folder / "client").read_bytes()), [True]
        meta = {MetaKey.NUM_STEPS_CURRENT_ROUND: PATIENTS[site]}
        message = DXO(DataKind.WEIGHTS, data=model, meta=meta).to_shareable()
        return encryptor.process(message, context_at(folder, "client"))

    def begin(folder: Path) -> tuple[Callable[[Shareable, str], None], Callable[[], Shareable]]:
        aggregator = HEInTimeAccumulateWeightedAggregator(expected_data_kind=DataKind.WEIGHTS)
        aggregator._initialize(None, None, DataKind.WEIGHTS)
        generator = HEModelShareableGenerator()
        generator.tenseal_context = ts.context_from((folder / "server").read_bytes())
        context = context_at(folder, "server")

        def accept(message: Shareable, site: str) -> None:
            message.set_peer_props({ReservedKey.IDENTITY_NAME: site})
            message.add_cookie(AppConstants.CONTRIBUTION_ROUND, 0)
            if not aggregator.accept(message, context):
                raise SystemExit("stock aggregator did not accept a message")

        def result() -> Shareable:
            learnable = generator.shareable_to_learnable(aggregator.aggregate(context), context)
            return generator.learnable_to_shareable(learnable, context)

        return accept, result

    def open_(folder: Path, message: Shareable) -> Model:
        decryptor = HEModelDecryptor()
        decryptor.tenseal_context = ts.context_from((folder / "client").read_bytes())
        return from_shareable(decryptor.process(message, context_at(folder, "client"))).data

    return Way(send=send, begin=begin, open=open_, ready=ready)


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
        f"turns, median of {args.repeats}. Three hospitals of {weights} patients; `largest = {settings.largest}`, "
        f"`max_sites = {settings.max_sites}`, `max_patients = {settings.max_patients}`.",
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
