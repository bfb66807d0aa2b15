"""Build a MONAI network by its name, from a table of reviewed networks with the arguments that Fedward derives.

A job names a network and its arguments; Fedward derives dimensions, channels and image size from the job's data. A
name outside the table is refused: a job is data, and data can choose only among reviewed classes.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import monai.networks.nets as nets
import torch
from torch import nn

from fedward.errors import JobError
from fedward.settings import JobSpec, beginnings
from fedward.training.group_norm import with_group_norm
from fedward.training.signatures import keyword_arguments
from fedward.training.start import start_weights
from fedward.weights import Weights

Derive = Callable[[JobSpec], dict[str, Any]]
Task = Literal["classification", "segmentation"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkEntry:
    """Reviewed network.

    Attributes:
        task: the task that it can learn.
        derive: function that derives arguments from the job; the job may not give them.
        norm: name of its normalisation argument, or None if its normalisation cannot be chosen.
        dims: allowed numbers of spatial dimensions.
        defaults: arguments that Fedward sets unless the job gives them.
        base: class with the arguments that this one accepts as ``**kwargs``.
    """

    task: Task
    derive: Derive
    norm: str | None = None
    dims: tuple[int, ...] = (2, 3)
    defaults: Mapping[str, Any] | None = None
    base: str | None = None


def _dims(job: JobSpec) -> dict[str, Any]:
    return {"spatial_dims": len(job.data.size)}


def _in_out(job: JobSpec) -> dict[str, Any]:
    return {**_dims(job), "in_channels": len(job.data.channels), "out_channels": job.outputs}


def _in_classes(job: JobSpec) -> dict[str, Any]:
    return {**_dims(job), "in_channels": len(job.data.channels), "num_classes": job.outputs}


def _resnet(job: JobSpec) -> dict[str, Any]:
    return {**_dims(job), "n_input_channels": len(job.data.channels), "num_classes": job.outputs}


def _flat(job: JobSpec) -> dict[str, Any]:
    return {"in_shape": (len(job.data.channels), *job.data.size), "classes": job.outputs}


def _vit(job: JobSpec) -> dict[str, Any]:
    classes = {"classification": True, "num_classes": job.outputs, "post_activation": None}
    return {**_dims(job), "in_channels": len(job.data.channels), "img_size": job.data.size, **classes}


def _unetr(job: JobSpec) -> dict[str, Any]:
    return {**_in_out(job), "img_size": job.data.size}


_DENSE = NetworkEntry(task="classification", derive=_in_out, norm="norm", base="DenseNet")
_RES = NetworkEntry(task="classification", derive=_resnet, norm="norm", base="ResNet")
_SEG = NetworkEntry(task="segmentation", derive=_in_out, norm="norm")
_RES_LAYERS = {"block": "basic", "layers": [1, 1, 1, 1], "block_inplanes": [64, 128, 256, 512]}
_UNET_LEVELS = {"channels": [16, 32, 64, 128], "strides": [2, 2, 2]}

NETWORKS: dict[str, NetworkEntry] = {
    "DenseNet": _DENSE,
    "DenseNet121": _DENSE,
    "DenseNet169": _DENSE,
    "DenseNet201": _DENSE,
    "DenseNet264": _DENSE,
    "ResNet": NetworkEntry(task="classification", derive=_resnet, norm="norm", defaults=_RES_LAYERS),
    "resnet10": _RES,
    "resnet18": _RES,
    "resnet34": _RES,
    "resnet50": _RES,
    "SEResNet50": NetworkEntry(task="classification", derive=_in_classes, base="SENet"),
    "EfficientNetBN": NetworkEntry(
        task="classification",
        derive=_in_classes,
        norm="norm",
        defaults={"model_name": "efficientnet-b0", "pretrained": False},
    ),
    "Classifier": NetworkEntry(
        task="classification", derive=_flat, norm="norm", defaults={"channels": [16, 32, 64], "strides": [2, 2, 2]}
    ),
    "ViT": NetworkEntry(
        task="classification",
        derive=_vit,
        defaults={"patch_size": 16, "hidden_size": 192, "mlp_dim": 768, "num_heads": 3},
    ),
    "SegResNet": _SEG,
    "SegResNetDS": _SEG,
    "BasicUNet": _SEG,
    "UNet": NetworkEntry(task="segmentation", derive=_in_out, norm="norm", defaults=_UNET_LEVELS),
    "DynUNet": NetworkEntry(
        task="segmentation",
        derive=_in_out,
        norm="norm_name",
        defaults={"kernel_size": [3, 3, 3, 3], "strides": [1, 2, 2, 2], "upsample_kernel_size": [2, 2, 2]},
    ),
    "AttentionUnet": NetworkEntry(task="segmentation", derive=_in_out, defaults=_UNET_LEVELS),
    "VNet": NetworkEntry(task="segmentation", derive=_in_out),
    "HighResNet": NetworkEntry(task="segmentation", derive=_in_out, norm="norm_type"),
    "UNETR": NetworkEntry(
        task="segmentation",
        derive=_unetr,
        norm="norm_name",
        defaults={"hidden_size": 192, "mlp_dim": 768, "num_heads": 3},
    ),
    "SwinUNETR": NetworkEntry(task="segmentation", derive=_in_out, norm="norm_name"),
}
"""MONAI class name -> its entry. ``tests/unit/training/test_networks.py`` trains each for a step."""


def build_network(job: JobSpec) -> nn.Module:
    """Build the job's network with weights drawn from the job's seed; the global random state does not change.

    If the job chooses no normalisation, every layer gets GroupNorm, of 8 groups or the largest smaller power of two
    that divides its channels: it has no statistics that would be averaged between hospitals (Hsieh et al. 2020,
    section 5). With ``model.batch_norm`` "local" or "average" it gets BatchNorm. Parameters of ``model.freeze`` need no
    gradient.

    Raises:
        JobError: the network is unknown, for the other task or for another number of dimensions; it does not accept
            the arguments; it has BatchNorm and the job does not choose a treatment of its statistics; or
            ``model.freeze`` names no parameter, or leaves none to train.
    """
    entry, args = _entry(job), network_args(job)
    network = _construct(job, args)
    if gets_group_norm(job):
        with_group_norm(network)
    _freeze(network, job)
    if job.model.batch_norm != "refuse":
        return network
    if (found := next(_with_statistics(network), None)) is not None:
        remedy = f'leave out model.args.{entry.norm} for GroupNorm, or set model.batch_norm to "local" or "average"'
        raise JobError(
            "statistics of BatchNorm would be averaged between sites", where="model", value=found, remedy=remedy
        )
    return network


def network_args(job: JobSpec) -> dict[str, Any]:
    """Return all keyword arguments of the job's MONAI class; errors as of ``build_network``."""
    entry = _entry(job)
    args = {**(entry.defaults or {}), **_given(job, entry), **entry.derive(job)}
    if entry.norm is not None and entry.norm not in job.model.args:
        args[entry.norm] = "batch"
    return args


def gets_group_norm(job: JobSpec) -> bool:
    """Return whether the network's BatchNorm layers are replaced after it is built."""
    chosen = (norm := _entry(job).norm) is not None and norm in job.model.args
    return job.model.batch_norm == "refuse" and not chosen


def shared_keys(network: nn.Module, job: JobSpec) -> tuple[str, ...]:
    """List the names of the tensors that sites exchange, sorted: parameters and buffers of floating type.

    Integer buffers (such as BatchNorm's count of batches, or index tables) never leave a site. With
    ``model.batch_norm`` "local", no tensor of a BatchNorm layer leaves it either (FedBN, Li et al. 2021, section 3).
    """
    local = tuple(f"{name}." for name in _with_statistics(network)) if job.model.batch_norm == "local" else ()
    state = network.state_dict()
    return tuple(
        sorted(name for name in state if state[name].is_floating_point() and not (local and name.startswith(local)))
    )


def predict(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Return the network's logits, (B, outputs) or (B, outputs, *size), without the hidden states that ViT adds."""
    output = network(images)
    logits: torch.Tensor = output[0] if isinstance(output, tuple) else output
    return logits


def initial_weights(job: JobSpec) -> Weights:
    """Return a job's initial weights: of ``model.start``, or else drawn from ``job.seed`` alone.

    Their names are the ``shared_keys`` of ``build_network``.

    Raises:
        JobError: as ``build_network``, or the start does not fit the network (``fedward.training.start``).
    """
    return start_weights(job.model, drawn_weights(job))


def drawn_weights(job: JobSpec) -> Weights:
    """Return the weights that are drawn from ``job.seed``, without the job's start; errors as ``build_network``."""
    network = build_network(job)
    state = network.state_dict()
    return {name: state[name].numpy().copy() for name in shared_keys(network, job)}


def trained_keys(job: JobSpec) -> tuple[str, ...]:
    """List the names of the parameters that a job's steps change, sorted; those of ``model.freeze`` are not there."""
    return tuple(sorted(name for name, value in build_network(job).named_parameters() if value.requires_grad))


def _entry(job: JobSpec) -> NetworkEntry:
    name, dims = job.model.network, len(job.data.size)
    entry = NETWORKS.get(name)
    if entry is None:
        near = difflib.get_close_matches(name, NETWORKS, n=3, cutoff=0.4)
        known = "did you mean " + " or ".join(near) if near else "choose one of " + ", ".join(NETWORKS)
        raise JobError("network unknown", where="model.network", value=name, remedy=known)
    if entry.task != job.job.task:
        others = ", ".join(other for other, its in NETWORKS.items() if its.task == job.job.task)
        raise JobError(
            f"network is for {entry.task}", where="model.network", value=name, remedy=f"choose one of {others}"
        )
    if dims not in entry.dims:
        raise JobError(f"network {name} does not work in {dims} dimensions", where="data.size", remedy="choose another")
    return entry


def _given(job: JobSpec, entry: NetworkEntry) -> dict[str, Any]:
    """Check the names of the job's own arguments and return them; a list of (name, arguments) becomes a tuple."""
    args = dict(job.model.args)
    makers = [getattr(nets, name) for name in (job.model.network, entry.base) if name is not None]
    taken = set(keyword_arguments(*makers))
    derived = set(entry.derive(job))
    for name in args:
        if name in derived:
            raise JobError(
                "argument is derived from the job's data", where="model.args", value=name, remedy="leave it out"
            )
        if name in REFUSED_ARGS:
            raise JobError("argument is not for jobs", where="model.args", value=name, remedy="leave it out")
        if name not in taken:
            near = difflib.get_close_matches(name, taken - derived, n=2, cutoff=0.4)
            remedy = f"did you mean {' or '.join(near)}" if near else "leave it out"
            raise JobError(
                f"network {job.model.network} has no such argument", where="model.args", value=name, remedy=remedy
            )
    return {
        name: tuple(value) if isinstance(value, list) and _is_pair(value) else value for name, value in args.items()
    }


REFUSED_ARGS = frozenset({"pretrained", "progress", "feature_channels"})
"""Arguments that would download files or change the network's output."""


def _is_pair(value: list[Any]) -> bool:
    return len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], dict)


def _construct(job: JobSpec, args: dict[str, Any]) -> nn.Module:
    try:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(job.job.seed)
            network: nn.Module = getattr(nets, job.model.network)(**args)
    except Exception as error:  # noqa: BLE001 - MONAI raises many kinds for an argument that does not fit
        what = f"network {job.model.network} cannot be built, {type(error).__name__} {str(error)[:200]}"
        raise JobError(what, where="model.args", remedy="see the network's page in MONAI's documentation") from None
    return network


def _freeze(network: nn.Module, job: JobSpec) -> None:
    """Take the parameters whose names begin as one of ``model.freeze`` out of training (``settings.beginnings``)."""
    parameters = dict(network.named_parameters())
    for beginning in job.model.freeze:
        found = beginnings(tuple(parameters), beginning)
        if not found:
            layers = ", ".join(dict.fromkeys(name.rpartition(".")[0] for name in parameters))
            remedy = f"give the beginning of one: {layers}"[:400]
            raise JobError("no parameter of the network", where="model.freeze", value=beginning, remedy=remedy)
        for name in found:
            parameters[name].requires_grad_(False)
    if job.model.freeze and not any(parameter.requires_grad for parameter in parameters.values()):
        raise JobError("no parameter is left to train", where="model.freeze", remedy="leave the last layer out of it")


def _with_statistics(network: nn.Module) -> Iterator[str]:
    """Yield the names of the layers that keep running statistics of the data."""
    for name, module in network.named_modules():
        if getattr(module, "running_mean", None) is not None:
            yield name
