"""One end of one round, measured in a process of its own: what ``encryption.py`` runs.

    python bench/encryption_ends.py FOLDER WAY END

FOLDER holds the models; END is send, add or open. Writes what it measured to ``FOLDER/END.json``.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
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
from fedward.encryption.keys.key import create_key
from fedward.encryption.keys.key_file import read_key, write_key
from fedward.encryption.schemes import bits_of
from fedward.encryption.secure_sum import Aggregator, SecureSum
from fedward.encryption.sum_context import SumContext
from fedward.settings import JobEncryption
from fedward.weights import flatten, layout_hash, layout_of, unflatten

PATIENTS = {"alder": 9000, "birch": 5000, "cedar": 1200}
STOCK, PLAIN = "stock FLARE HE", "no encryption"
Model = dict[str, NDArray[np.float32]]


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("folder", type=Path)
    ask.add_argument("way")
    ask.add_argument("end", choices=["send", "add", "open"])
    given = ask.parse_args()
    logging.disable(logging.CRITICAL)
    take_part(given.folder, way_of(given.way), given.end)


def read_model(folder: Path, name: str) -> Model:
    with np.load(folder / f"{name}.npz", allow_pickle=False) as content:
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
    numbers = FixedPoint(clipping_range=settings.clipping_range, bits=bits, max_sites=settings.max_sites)
    key_file = f"{scheme}.key"

    def ready(folder: Path) -> None:
        if not (folder / key_file).exists():
            write_key(create_key(scheme), folder / key_file)

    def topic(model: Model) -> SumContext:
        layout = layout_hash(layout_of(model), network="bench", args={})
        length = sum(array.size for array in model.values()) + 1
        return SumContext(
            job_id="bench", purpose="model", round_number=0, layout=layout, context="0" * 64, length=length, bits=bits
        )

    def send(folder: Path, site: str, model: Model) -> Shareable:
        end = SecureSum(read_key(folder / key_file), site=site)
        weight = numbers.weight_code(PATIENTS[site] / settings.max_patients)
        codes, _ = numbers.encode(flatten(model), weight_code=weight)
        return Shareable({"sealed": end.seal(np.append(codes, weight), topic(model))})

    def begin(folder: Path) -> tuple[Callable[[Shareable, str], None], Callable[[], Shareable]]:
        key_id = read_key(folder / key_file).key_id
        adder = Aggregator(topic(read_model(folder, "global")), scheme=scheme, key_id=key_id)
        return (
            lambda message, site: adder.add(message["sealed"], site=site),
            lambda: Shareable({"sealed": adder.sum()}),
        )

    def open_(folder: Path, message: Shareable) -> Model:
        model = read_model(folder, "global")
        end = SecureSum(read_key(folder / key_file), site="alder")
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


if __name__ == "__main__":
    main()
