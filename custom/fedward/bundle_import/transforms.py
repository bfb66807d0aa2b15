"""Read a bundle's transforms for training as ``[[transforms.prepare]]`` and ``[[transforms.augment]]`` of a job."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from fedward.bundle_import.axes import NotTurnedError, turned_transform
from fedward.bundle_import.config import Component, Config
from fedward.dataset.transforms import OWN_ARGS, TRANSFORMS
from fedward.errors import brief
from fedward.parts.tables import similar

_PLACES = ("train::deterministic_transforms", "train::random_transforms")
_WHOLE = "train::preprocessing"
DONE_HERE: Mapping[str, str] = {
    "LoadImaged": "files are read by Fedward",
    "EnsureChannelFirstd": "images have their channel first",
    "EnsureTyped": "images are tensors",
    "ToTensord": "images are tensors",
    "Orientationd": "NIfTI is turned to RAS+",
    "Resized": "images are resized to data.size",
}
"""Transform that Fedward does itself -> words for it."""
_MASK_KEYS = ("label", "mask", "seg")
"""Keys that bundles have for the mask."""
_IMAGE, _MASK = ("image",), ("image", "label")


@dataclass(slots=True)
class Found:
    """Transforms of a bundle.

    Attributes:
        prepare, augment: components for the job.
        left_out: transform that the job does not name -> the reason.
        size: sides of ``Resized`` in MONAI's order of axes; None without it.
    """

    prepare: list[dict[str, Any]] = field(default_factory=list)
    augment: list[dict[str, Any]] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    size: list[int] | None = None


def transforms_of(config: Config, *, dims: int, masked: bool, leave_out: Collection[str]) -> Found:
    """Return the transforms, in their order; each that is on no table is a fault unless ``leave_out`` names it."""
    found = Found()
    for component in _components(config):
        name = component.name_in("monai.transforms")
        if name in leave_out:
            found.left_out[name] = "as you asked"
        elif name in DONE_HERE and name not in TRANSFORMS:
            _done_here(component, name, config, found, dims)
        elif name not in TRANSFORMS:
            near = similar(name.rpartition(".")[2], TRANSFORMS)
            instead = f"name another, such as {near[0]}, or" if near else "take it out, or"
            remedy = f"{instead} give --leave-out {name} for a job without it"
            config.fault(f"{component.place}::_target_", f"{name} is not on the table of transforms", remedy)
        else:
            _add(component, name, config, found, dims=dims, masked=masked)
    unknown = sorted(set(leave_out) - set(found.left_out))
    if unknown and not config.faults:
        config.fault(_WHOLE, f"has no {', '.join(unknown)}", "correct --leave-out")
    return found


def _components(config: Config) -> list[Component]:
    if config.has(_WHOLE):
        items = config.listed(f"{_WHOLE}::transforms")
    else:
        items = [item for place in _PLACES if config.has(place) for item in config.listed(place)]
    found = [config.as_component(value, place) for place, value in items]
    return [one for one in found if one is not None]


def _done_here(component: Component, name: str, config: Config, found: Found, dims: int) -> None:
    found.left_out[name] = DONE_HERE[name]
    if name == "Orientationd" and component.args.get("axcodes") != "RAS":
        config.fault(f"{component.place}::axcodes", "is another than RAS, to which Fedward turns", "write RAS")
    if name == "Resized":
        size = component.args.get("spatial_size")
        if not isinstance(size, list) or len(size) != dims:
            config.fault(f"{component.place}::spatial_size", "is no list of sides", "write a side for each axis")
        else:
            found.size = size


def _add(component: Component, name: str, config: Config, found: Found, *, dims: int, masked: bool) -> None:
    entry, place = TRANSFORMS[name], component.place
    random = bool(found.augment) or entry.stages == ("augment",)
    stage = "augment" if random else "prepare"
    if stage not in entry.stages:
        config.fault(place, f"{name} comes after a random transform, and a job prepares first", "put it before them")
    due = _MASK if masked and entry.moves else _IMAGE
    keys = component.args.get("keys") or list(due)
    given = ["label" if one in _MASK_KEYS else str(one) for one in (keys if isinstance(keys, list) else [keys])]
    if set(given) != set(due):
        config.fault(f"{place}::keys", f"are {', '.join(given)}", f"a job has {' and '.join(due)} here")
    if entry.mode and component.args.get("mode", "bilinear") not in ("bilinear", ["bilinear", "nearest"][: len(due)]):
        other = brief(component.args["mode"], longest=40)
        config.fault(f"{place}::mode", f"is {other}", "a job has bilinear, and nearest for a mask")
    if component.args.get("lazy"):
        config.fault(f"{place}::lazy", "is true", "leave it out: each transform is done at once")
    args = {key: value for key, value in component.args.items() if key not in OWN_ARGS and value is not None}
    try:
        args = turned_transform(args, dims=dims)
    except NotTurnedError as error:
        config.fault(f"{place}::{error}", "has an order of axes", "write one number for all of them")
    item = {"name": name, "args": args} if args else {"name": name}
    (found.augment if random else found.prepare).append(item)
