"""Read a bundle's network as ``[model]`` of a job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import monai.networks.nets as nets

from fedward.bundle_import.axes import NotTurnedError, turned_network
from fedward.bundle_import.config import Component, Config
from fedward.errors import brief
from fedward.parts.part import plain_value
from fedward.parts.tables import derived_args, similar
from fedward.settings import JobSpec
from fedward.training.networks import NETWORKS, REFUSED_ARGS
from fedward.training.signatures import keyword_arguments

PLACE = "network_def"
_DIMS = "spatial_dims"


def network_of(train: Config, inference: Config | None) -> Component | None:
    """Return the network of a bundle: ``network_def``, or ``network`` where it names a class."""
    found = []
    for config in (train, inference):
        if config is None:
            continue
        whole = config.at("network") if not config.has(PLACE) and _names_class(config) else None
        component = config.component(PLACE) if whole is None else config.as_component(whole, "network")
        if component is not None:
            found.append(component)
        if config is inference:
            train.faults += [f"inference, {line}" for line in config.faults]
    if not found and not train.faults:
        train.fault(PLACE, "is missing", "give the network there, as a _target_ with its arguments")
    if len(found) == 2 and (found[0].target, found[0].args) != (found[1].target, found[1].args):
        train.fault(found[0].place, "train and inference name two networks", "write the same into both")
    return found[0] if found else None


def _names_class(config: Config) -> bool:
    whole = config.content.get("network")
    return isinstance(whole, Mapping) and "_target_" in whole


def table_name(component: Component, config: Config) -> str | None:
    """Return the network's name on the table; None with a fault where it is on none."""
    name = component.name_in("monai.networks.nets")
    if name in NETWORKS:
        return name
    near = similar(name.rpartition(".")[2], NETWORKS)
    remedy = f"name one of the table, such as {near[0]}" if near else "name one that `fedward job parts networks` lists"
    config.fault(f"{component.place}::_target_", f"{name} is not on the table of networks", remedy)
    return None


def dims_of(component: Component, config: Config) -> int:
    """Return the number of axes of the network's images."""
    value = component.args.get(_DIMS)
    if value in (2, 3) and not isinstance(value, bool):
        return int(value)
    if (shape := component.args.get("in_shape")) and len(shape) in (3, 4):
        return len(shape) - 1
    if not config.faults:
        config.fault(f"{component.place}::{_DIMS}", f"is {brief(value, longest=40)}", "write 2 or 3")
    return 3


def model_args(component: Component, name: str, config: Config, *, dims: int, batch_norm: str) -> dict[str, Any]:
    """Return the arguments for ``[model] args``, those that Fedward derives left out; ``remaining`` compares these.

    An argument of which Fedward has another default than MONAI is written out with MONAI's, and so is the
    normalisation, except BatchNorm, which Fedward replaces or, with ``batch_norm``, keeps.
    """
    entry = NETWORKS[name]
    signature = keyword_arguments(*(getattr(nets, one) for one in (name, entry.base) if one is not None))
    args = {key: value for key, value in component.args.items() if key not in derived_args(name)}
    for key in REFUSED_ARGS & set(args):
        if args.pop(key):
            config.fault(f"{component.place}::{key}", "is not for jobs", "leave it out")
    for key in {*(entry.defaults or {}), *([entry.norm] if entry.norm else [])} - set(args):
        if key in signature and signature[key].default is not signature[key].empty:
            args[key] = plain_value(signature[key].default)
    if entry.norm is not None and is_batch_norm(args.get(entry.norm)):
        del args[entry.norm]
    for key in [key for key, value in args.items() if value is None]:
        if args.pop(key) is not getattr(signature.get(key), "default", None):
            config.fault(f"{component.place}::{key}", "is null", "write the value itself")
    try:
        return turned_network(name, args, dims=dims)
    except NotTurnedError as error:
        config.fault(f"{component.place}::{error}", "has an order of axes", "write one number for all of them")
        return {}


def is_batch_norm(norm: Any) -> bool:
    """Return whether a value of MONAI's ``norm`` argument is BatchNorm."""
    kind = norm[0] if isinstance(norm, list | tuple) and norm else norm
    return isinstance(kind, str) and kind.lower() == "batch"


def compare_derived(component: Component, name: str, config: Config, job: JobSpec) -> None:
    """Note each argument of the bundle that is another than Fedward derives from the job's data."""
    for key, due in NETWORKS[name].derive(job).items():
        given = component.args.get(key)
        if given is None or _turned(key, given) == (list(due) if isinstance(due, tuple) else due):
            continue
        what = f"is {brief(given, longest=60)}, and from the job's data follows {brief(due, longest=60)}"
        config.fault(f"{component.place}::{key}", what, "give the job other data, or take another network")


def _turned(key: str, given: Any) -> Any:
    """Return an argument with its sides in Fedward's order of axes."""
    if not isinstance(given, list):
        return given
    return [given[0], *given[:0:-1]] if key == "in_shape" else given[::-1]
