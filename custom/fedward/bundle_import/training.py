"""Read a bundle's loss, optimizer, schedule and batch size as ``[training]`` of a job."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from fedward.bundle_import.config import Config
from fedward.errors import brief
from fedward.parts.tables import optimizer_names, similar
from fedward.training.losses import LOSSES

_SETTINGS = ("lr", "weight_decay", "momentum")
_SCHEDULES = {"CosineAnnealingLR": "cosine"}
"""Schedule of torch's -> ``lr_schedule``; it then runs over the whole job."""


def training_of(config: Config, *, kind: str) -> dict[str, Any]:
    """Return ``[training]`` without the length of a round; ``kind`` is the job's kind of truth."""
    return {
        "loss": _loss(config, kind),
        **_optimizer(config),
        "lr_schedule": _schedule(config),
        "batch_size": _batch_size(config),
    }


def _loss(config: Config, kind: str) -> dict[str, Any]:
    component = config.component("loss")
    if component is None:
        if not config.has("loss"):
            config.fault("loss", "is missing", "give the loss there, as a _target_ with its arguments")
        return {}
    name = component.name_in("monai.losses", "torch.nn")
    if name not in LOSSES:
        near = similar(name.rpartition(".")[2], LOSSES)
        remedy = (
            f"name one of the table, such as {near[0]}" if near else "name one that `fedward job parts losses` lists"
        )
        config.fault("loss::_target_", f"{name} is not on the table of losses", remedy)
        return {}
    ours = LOSSES[name].kinds.get(kind, {})
    for key, due in ours.items():
        if component.args.get(key, due) != due:
            given = brief(component.args[key], longest=40)
            config.fault(f"loss::{key}", f"is {given}, and Fedward sets {due} for a {kind}", "leave it out")
    if ours.get("softmax") and component.args.get("sigmoid"):
        config.fault(
            "loss::sigmoid", "is true, and structures exclude each other here", "leave it out: softmax is used"
        )
    args = {key: value for key, value in component.args.items() if key not in ours and value is not None}
    return {"name": name, "args": args}


def _optimizer(config: Config) -> dict[str, Any]:
    component = config.component("optimizer", without=("params",))
    if component is None:
        if not config.has("optimizer"):
            config.fault("optimizer", "is missing", "give it there, as a _target_ with lr")
        return {}
    name = component.name_in("torch.optim")
    if name not in optimizer_names():
        remedy = f"name one of {', '.join(optimizer_names())}, with its own lr"
        config.fault("optimizer::_target_", f"{name} is not on the table of optimizers", remedy)
        return {}
    own = getattr(torch.optim, name)([nn.Parameter(torch.zeros(1))]).defaults
    settings = {key: own[key] for key in _SETTINGS if key in own}
    for key, value in component.args.items():
        if key in settings:
            settings[key] = value
        elif value is not None and _plain(own.get(key)) != value:
            config.fault(f"optimizer::{key}", f"is {brief(value, longest=40)}, no setting of a job", "leave it out")
    return {"optimizer": name, **settings}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _schedule(config: Config) -> str:
    component = config.component("lr_scheduler", without=("optimizer", "T_max"))
    if component is None:
        return "constant"
    name = component.name_in("torch.optim.lr_scheduler", "monai.optimizers")
    if name not in _SCHEDULES:
        remedy = f"name one of {', '.join(_SCHEDULES)}, or take lr_scheduler out for a constant rate"
        config.fault("lr_scheduler::_target_", f"{name} is no schedule of a job", remedy)
    elif component.args.get("eta_min"):
        config.fault("lr_scheduler::eta_min", "is above 0, where a job's rate ends", "leave it out")
    return _SCHEDULES.get(name, "constant")


def _batch_size(config: Config) -> int:
    place = "train::dataloader::batch_size"
    value = config.at(place)
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    if value is not None or not config.has(place):
        config.fault(place, f"is {brief(value, longest=40)}" if config.has(place) else "is missing", "write a number")
    return 1
