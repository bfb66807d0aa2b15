"""Describe each part of the reviewed tables, from the tables and from the signatures of torch's and MONAI's classes."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import monai.networks.nets as nets
import monai.transforms
import torch
from torch import nn

from fedward.dataset.transforms import OWN_ARGS, TRANSFORMS
from fedward.errors import JobError
from fedward.parts.about import ABOUT
from fedward.parts.part import REQUIRED, Kind, Part, default_text
from fedward.settings import JobSpec, Training, parse
from fedward.toml_text import toml_value
from fedward.training.losses import LOSSES
from fedward.training.networks import NETWORKS, REFUSED_ARGS, build_network
from fedward.training.optimizers import build_optimizer
from fedward.training.signatures import keyword_arguments

KINDS: tuple[Kind, ...] = typing.get_args(Kind)
SIDE = 96
"""Pixels of a side of the images for which a network's parameters are counted: some networks' number depends on it."""
_OPTIMIZER_SETTINGS = ("lr", "weight_decay", "momentum")


def parts_of(kind: Kind) -> Iterator[Part]:
    """Yield each part of a table, in the table's order."""
    names: Mapping[Kind, Iterable[str]] = {
        "networks": NETWORKS,
        "losses": LOSSES,
        "transforms": TRANSFORMS,
        "optimizers": optimizer_names(),
    }
    yield from (_DESCRIBE[kind](name) for name in names[kind])


def optimizer_names() -> tuple[str, ...]:
    """Return the optimizers that a job may name."""
    return typing.get_args(Training.model_fields["optimizer"].annotation)


def network(name: str) -> Part:
    """Describe a network of the table."""
    entry = NETWORKS[name]
    makers = [getattr(nets, one) for one in (name, entry.base) if one is not None]
    derived = derived_args(name)
    hidden = {*derived, *REFUSED_ARGS}
    found = _arguments(keyword_arguments(*makers))
    # what has no default is set by the name itself, as resnet10 sets its layers: each network is built below without it
    defaults = {one: its for one, its in found.items() if one not in hidden and its != REQUIRED}
    defaults |= {one: default_text(value) for one, value in (entry.defaults or {}).items() if one not in hidden}
    if entry.norm is not None:
        defaults[entry.norm] = "GroupNorm"
    built = {dims: _built(name, dims) for dims in entry.dims}
    norms = " and ".join(dict.fromkeys(norm for one in built.values() for norm in _norms(one)))
    facts = {
        "task": entry.task,
        "images": ", ".join(f"{dims}D" for dims in entry.dims),
        "normalisation": norms + (f"; `{entry.norm}` chooses another" if entry.norm else ""),
        "parameters": ", ".join(f"{dims}D {_count(one)}" for dims, one in built.items()),
    }
    example = f"[model]\nnetwork = {toml_value(name)}\nargs = {{}}"
    return _part("networks", name, facts, defaults, derived, example)


def derived_args(name: str) -> tuple[str, ...]:
    """Return the arguments of a network that Fedward derives from a job's data."""
    entry = NETWORKS[name]
    return tuple(entry.derive(_job(name, entry.dims[0])))


def loss(name: str) -> Part:
    """Describe a loss of the table."""
    entry = LOSSES[name]
    ours = tuple(dict.fromkeys(arg for args in entry.kinds.values() for arg in args))
    found = keyword_arguments(entry.make)
    defaults = {one: its for one, its in _arguments(found).items() if one not in (*ours, *_DEPRECATED)}
    facts = {"for": ", ".join(entry.kinds)}
    example = f"[training]\nloss = {toml_value({'name': name, 'args': {}})}"
    return _part("losses", name, facts, defaults, ours, example)


_DEPRECATED = ("size_average", "reduce")
"""Arguments of torch's losses that torch replaced by ``reduction``."""


def transform(name: str) -> Part:
    """Describe a transform of the table."""
    entry = TRANSFORMS[name]
    found = _arguments(keyword_arguments(getattr(monai.transforms, name)))
    defaults = {one: its for one, its in found.items() if one not in OWN_ARGS}
    facts = {
        "stage": " or ".join(f"`{stage}`" for stage in entry.stages),
        "mask": "moves along" if entry.moves else "stays",
    }
    args = {"args": _required(defaults)} if REQUIRED in defaults.values() else {}
    lines = [f"[[transforms.{entry.stages[-1]}]]", f"name = {toml_value(name)}"]
    lines += [f"args = {toml_value(args['args'])}"] if args else []
    ours = tuple(one for one in found if one in OWN_ARGS)
    return _part("transforms", name, facts, defaults, ours, "\n".join(lines))


def optimizer(name: str) -> Part:
    """Describe an optimizer: the settings of ``[training]`` that it takes, and torch's own values for the rest."""
    content = {"loss": {"name": "any"}, "optimizer": name, "lr": 1e-3, "batch_size": 1, "local_steps": 1}
    training = parse(Training, content, where="parts")
    made = build_optimizer(training, [nn.Parameter(torch.zeros(1))]).defaults
    taken = [one for one in _OPTIMIZER_SETTINGS if one in made]
    defaults = {one: _setting_default(one) for one in taken}
    rest = {one: value for one, value in made.items() if one not in taken and not isinstance(value, bool | None)}
    facts = {"fixed": ", ".join(f"`{one} = {default_text(value)}`" for one, value in rest.items())}
    return _part("optimizers", name, facts, defaults, (), f"[training]\noptimizer = {toml_value(name)}\nlr = 1e-3")


_DESCRIBE = {"networks": network, "losses": loss, "transforms": transform, "optimizers": optimizer}


def _part(
    kind: Kind, name: str, facts: Mapping[str, str], defaults: Mapping[str, str], ours: tuple[str, ...], example: str
) -> Part:
    about = ABOUT.get(name, "")
    return Part(kind=kind, name=name, about=about, facts=facts, arguments=defaults, set_here=ours, example=example)


def _arguments(found: Mapping[str, inspect.Parameter]) -> dict[str, str]:
    empty = inspect.Parameter.empty
    return {name: REQUIRED if one.default is empty else default_text(one.default) for name, one in found.items()}


def _required(defaults: Mapping[str, str]) -> dict[str, Any]:
    """Return arguments that must be given, each with a placeholder."""
    return {name: "…" for name, default in defaults.items() if default == REQUIRED}


def _setting_default(name: str) -> str:
    field = Training.model_fields[name]
    return REQUIRED if field.is_required() else default_text(field.default)


def _job(name: str, dims: int) -> JobSpec:
    """Return a job with a network: one grey channel, and one label or one structure."""
    task = NETWORKS[name].task
    about = {"structures": ["1"]} if task == "segmentation" else {"labels": ["label"]}
    content = {
        "job": {"name": "parts", "task": task},
        "federation": {"rounds": 1, "min_sites": 1, "round_timeout_s": 1.0},
        "data": {"cohort": "parts", "size": [SIDE] * dims, **about},
        "model": {"network": name},
        "training": {"loss": {"name": "any"}, "optimizer": "SGD", "lr": 1.0, "batch_size": 1, "local_steps": 1},
        "privacy": {"mechanism": "none"},
    }
    return parse(JobSpec, content, where="parts")


def _built(name: str, dims: int) -> nn.Module:
    """Build a network without memory for its weights, where it can be; SwinUNETR computes with them."""
    job = _job(name, dims)
    try:
        with torch.device("meta"):
            return build_network(job)
    except JobError:
        return build_network(job)


def _norms(built: nn.Module) -> Iterator[str]:
    known = (nn.GroupNorm, nn.LayerNorm, nn.modules.batchnorm._NormBase)
    found = {type(one).__name__.rstrip("123d") for one in built.modules() if isinstance(one, known)}
    yield from sorted(found)


def _count(built: nn.Module) -> str:
    count = sum(parameter.numel() for parameter in built.parameters())
    return f"{count / 1e6:.1f} M" if count >= 1e6 else f"{count / 1e6:.2f} M"


def similar(word: str, names: Collection[str]) -> list[str]:
    """Return the names that a person may have meant, the nearest first; case does not count."""
    import difflib

    by_case = {name.lower(): name for name in names}
    return [by_case[one] for one in difflib.get_close_matches(word.lower(), by_case, n=3, cutoff=0.65)]
