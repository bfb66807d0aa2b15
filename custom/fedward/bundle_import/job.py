"""Put a bundle's parts together as the content of a ``job.toml``, or list everything that a job cannot have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedward.bundle_import.config import Component, Config, read_config
from fedward.bundle_import.network import compare_derived, dims_of, is_batch_norm, model_args, network_of, table_name
from fedward.bundle_import.training import training_of
from fedward.bundle_import.transforms import Found, transforms_of
from fedward.errors import JobError, SettingsError, brief
from fedward.settings import JobSpec, parse
from fedward.training.check import job_faults
from fedward.training.networks import NETWORKS

LOCAL_EPOCHS, MIN_SITES, ROUND_TIMEOUT_S = 1, 2, 1200.0
"""Settings that no bundle has, until a person changes them in the job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Settings of a federated job that no bundle has; the person who brings the bundle gives them.

    Attributes:
        name: the job's name.
        cohort: name of the cohort in each hospital's ``site.toml``.
        size: sides of the network's input, [H, W] or [D, H, W]; empty: of the bundle's ``Resized`` or metadata.
        structures, labels, classes: as in ``[data]``; no structures: those of the bundle's metadata.
        rounds: number of rounds.
        batch_norm: as in ``[model]``.
        leave_out: transforms that the job shall not have.
    """

    name: str
    cohort: str
    size: tuple[int, ...] = ()
    structures: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    rounds: int = 10
    batch_norm: str = "refuse"
    leave_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A job as a bundle has it.

    Attributes:
        content: content of ``job.toml``.
        job: the same as settings.
        network: the bundle's network.
        notes: lines for a person on what the job has otherwise than the bundle.
    """

    content: Mapping[str, Any]
    job: JobSpec
    network: Component
    notes: tuple[str, ...]


def draft(bundle: Path, asked: Asked) -> Draft:
    """Return the job of a bundle.

    Raises:
        SettingsError: a file of the configuration is missing or cannot be read.
        JobError: it has something that a job cannot have; the error names each with its place, or the job has faults.
    """
    train = read_config(bundle, "train")
    if train is None:
        remedy = "give a bundle's folder with configs/train.json or train.yaml"
        raise SettingsError("has no configuration of a training", where=bundle, remedy=remedy)
    inference, meta = read_config(bundle, "inference"), read_config(bundle, "metadata") or Config({})
    network = network_of(train, inference)
    name = None if network is None else table_name(network, train)
    dims = 3 if network is None else dims_of(network, train)
    masked = name is None or NETWORKS[name].task == "segmentation"
    found = transforms_of(train, dims=dims, masked=masked, leave_out=asked.leave_out)
    data = _data(asked, meta, found, train, masked=masked)
    kind = "segmentation" if masked else str(data["target"])
    training = training_of(train, kind=kind)
    if network is None or name is None:
        raise _refusal(bundle, train)
    args = model_args(network, name, train, dims=dims, batch_norm=asked.batch_norm)
    if train.faults:
        raise _refusal(bundle, train)
    about = meta.content.get("name"), meta.content.get("version")
    title = " ".join(str(one) for one in about if isinstance(one, str)) or bundle.resolve().name
    model = {"network": name, "args": args, "batch_norm": asked.batch_norm}
    content = {
        "job": {"name": asked.name, "task": NETWORKS[name].task, "description": f"From the MONAI bundle {title}"},
        "federation": {"rounds": asked.rounds, "min_sites": MIN_SITES, "round_timeout_s": ROUND_TIMEOUT_S},
        "data": data,
        "model": model,
        "training": {**training, "local_epochs": LOCAL_EPOCHS},
        "privacy": {"mechanism": "none"},
        "transforms": {"prepare": found.prepare, "augment": found.augment},
    }
    job = parse(JobSpec, content, where="the bundle's job")
    compare_derived(network, name, train, job)
    if train.faults:
        raise _refusal(bundle, train)
    if problems := job_faults(job):
        raise JobError(" | ".join(problems), where=bundle, remedy="correct the bundle's configuration")
    return Draft(content=content, job=job, network=network, notes=tuple(_notes(asked, train, found, name, network)))


def _data(asked: Asked, meta: Config, found: Found, train: Config, *, masked: bool) -> dict[str, Any]:
    size = _size(asked, meta, found, train)
    data = {"cohort": asked.cohort, "size": size, "crop_border": False, "clip_percentiles": [0.0, 100.0]}
    if masked:
        data["structures"] = list(asked.structures) or _structures(meta, train)
        return data
    if not asked.labels:
        train.fault("--label", "is missing, and the network is for classification", "give the label table's column")
    target = "multiclass" if asked.classes else "binary" if len(asked.labels) < 2 else "multilabel"
    return data | {"labels": list(asked.labels), "target": target, "classes": list(asked.classes)}


def _size(asked: Asked, meta: Config, found: Found, train: Config) -> list[int]:
    """Return the sides of the network's input in Fedward's order of axes."""
    if found.size is not None and asked.size and list(asked.size) != found.size[::-1]:
        given = f"is {list(asked.size)}, and the bundle's Resized gives {found.size[::-1]} in this order"
        train.fault("--size", given, "leave it out, or change Resized")
    shape = found.size or meta.at("network_data_format::inputs::image::spatial_shape")
    if asked.size:
        return list(asked.size)
    if not isinstance(shape, list) or not all(type(side) is int and side > 0 for side in shape):
        train.fault("--size", f"is missing, and the metadata has {brief(shape, longest=40)}", "give it, such as 64,64")
        return [1, 1]
    return shape[::-1]


def _structures(meta: Config, train: Config) -> list[str]:
    found = meta.at("network_data_format::outputs::pred::channel_def")
    if isinstance(found, Mapping) and all(isinstance(one, str) for one in found.values()):
        names = [str(found[key]) for key in sorted(found, key=str) if str(key) != "0"]
        if names:
            return names
    train.fault("--structure", "is missing, and the metadata has no channel_def", "give each structure, in order")
    return []


def _notes(asked: Asked, train: Config, found: Found, name: str, network: Component) -> list[str]:
    notes = [f"without {one}: {reason}" for one, reason in found.left_out.items()]
    notes += ["after these transforms each image gets mean 0 and standard deviation 1, as in every job"]
    norm = NETWORKS[name].norm
    if norm is not None and norm not in network.args and asked.batch_norm == "refuse":
        notes += [f"{norm}: MONAI's default, or GroupNorm in place of BatchNorm"]
    elif norm is not None and is_batch_norm(network.args.get(norm)) and asked.batch_norm == "refuse":
        notes += ["GroupNorm in place of BatchNorm; --batch-norm local or average keeps it, and its weights then fit"]
    epochs = [train.at(place) for place in ("train::trainer::max_epochs", "epochs") if _is_number(train, place)]
    notes += [f"the bundle trains {epochs[0]} epochs; this job {asked.rounds * LOCAL_EPOCHS}"] if epochs else []
    return notes


def _is_number(config: Config, place: str) -> bool:
    *way, last = place.split("::")
    value: Any = config.content
    for key in way:
        value = value.get(key) if isinstance(value, Mapping) else None
    return isinstance(value, Mapping) and type(value.get(last)) is int


def _refusal(bundle: Path, config: Config) -> JobError:
    what = " | ".join(config.faults)
    return JobError(what, where=bundle, remedy="see docs/from-bundle.md; no code of a bundle is run")
