"""Build MONAI dictionary transforms by name, and the chain from a manifest row to a network's input.

The chain is: load, cut constant borders, pad, resize or resample, the job's ``[[transforms.prepare]]`` in the file's
own grey values, standardise | draw a patch, the job's ``[[transforms.augment]]``. The steps before the bar are
deterministic and cached.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import monai.transforms as monai_transforms
import torch
from monai.transforms import Compose, Transform

from fedward.dataset import prepare
from fedward.dataset.patches import DrawPatch
from fedward.dataset.prepare import Fit
from fedward.dataset.selection import Example
from fedward.errors import JobError
from fedward.settings import Component, JobSpec

Item = dict[Hashable, Any]
"""image: float32 (channels, *size). mask: uint8 (1, *size), segmentation only. truth: float32 (labels,) or int64 (),
else empty. spacing_mm: tuple or None. patient, image_id: pseudonyms. With patches, ``size`` is the image's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformEntry:
    """Reviewed transform.

    Attributes:
        stages: stages in which a job may name it.
        moves: True if it moves pixels, so that the mask must move along.
        mode: True if it accepts ``mode``; a mask then gets "nearest".
    """

    stages: tuple[Literal["prepare", "augment"], ...]
    moves: bool = False
    mode: bool = False


_BOTH = TransformEntry(stages=("prepare", "augment"))
_PREPARE = TransformEntry(stages=("prepare",))
_GREY = TransformEntry(stages=("augment",))
_MOVES = TransformEntry(stages=("augment",), moves=True)
_WARPS = TransformEntry(stages=("augment",), moves=True, mode=True)

TRANSFORMS: dict[str, TransformEntry] = {
    "AdjustContrastd": _BOTH,
    "GaussianSharpend": _BOTH,
    "GaussianSmoothd": _BOTH,
    "HistogramNormalized": _PREPARE,
    "MedianSmoothd": _PREPARE,
    "NormalizeIntensityd": _BOTH,
    "RandAdjustContrastd": _GREY,
    "RandAffined": _WARPS,
    "RandAxisFlipd": _MOVES,
    "RandBiasFieldd": _GREY,
    "RandCoarseDropoutd": _GREY,
    "RandFlipd": _MOVES,
    "RandGaussianNoised": _GREY,
    "RandGaussianSharpend": _GREY,
    "RandGaussianSmoothd": _GREY,
    "RandGridDistortiond": _WARPS,
    "RandHistogramShiftd": _GREY,
    "RandRotate90d": _MOVES,
    "RandRotated": _WARPS,
    "RandScaleIntensityd": _GREY,
    "RandShiftIntensityd": _GREY,
    "RandStdShiftIntensityd": _GREY,
    "RandZoomd": _WARPS,
    "ScaleIntensityRanged": _PREPARE,
    "ScaleIntensityRangePercentilesd": _PREPARE,
    "ScaleIntensityd": _PREPARE,
    "ThresholdIntensityd": _PREPARE,
}
"""MONAI class name -> its entry; every other name is refused."""

OWN_ARGS = frozenset({"keys", "mode", "allow_missing_keys", "lazy", "device", "meta_keys"})
"""Arguments that Fedward sets."""


def build_transforms(job: JobSpec, *, training: bool) -> Compose:
    """Build the whole chain for a job, from an ``Example`` to an ``Item``; with the random part for training only.

    Raises:
        JobError: a transform is unknown, named for the wrong stage, or given arguments that it does not accept.
    """
    fixed = [LoadExample(job), *after_fit(job)]
    if not training:
        return Compose(fixed)
    patches = [] if job.data.patches is None else [DrawPatch(job.data.size, positive=job.data.patches.positive)]
    return Compose([*fixed, *patches, *build_stage(job, "augment")])


def fit_of(job: JobSpec) -> Fit:
    """Return the way of the job's images to the network's size."""
    data = job.data
    return Fit(
        size=data.size,
        crop_border=data.crop_border,
        keep_shape=data.keep_shape,
        spacing_mm=data.spacing_mm,
        patches=data.patches is not None,
    )


def after_fit(job: JobSpec) -> list[Transform]:
    """Build what is done, without chance, to an image of the network's size; errors as of ``build_transforms``."""
    return [*build_stage(job, "prepare"), standardise_of(job)]


def standardise_of(job: JobSpec) -> Standardise:
    """Return the last step of the job's preparation: colours are scaled together, sequences each by itself."""
    return Standardise(job.data.clip_percentiles, apart=bool(job.data.sequences))


def build_stage(job: JobSpec, stage: Literal["prepare", "augment"]) -> list[Transform]:
    """Build the job's own transforms of one stage, with keys and interpolation set.

    Raises:
        JobError: as in ``build_transforms``.
    """
    masked = job.job.task == "segmentation"
    components: Sequence[Component] = getattr(job.transforms, stage)
    return [_build(c, stage, masked=masked, where=f"transforms.{stage}[{i}]") for i, c in enumerate(components)]


class LoadExample(Transform):  # type: ignore[misc]
    """Transform ``Example`` -> ``Item``: reads image and mask, and brings both to the network's grid."""

    def __init__(self, job: JobSpec) -> None:
        self._job, self._fit = job, fit_of(job)

    def __call__(self, example: Example) -> Item:
        from fedward.dataset.load import load_example

        row = example.row
        image = load_example(example, colour=self._job.data.colour)
        placed = self._fit.place(image.pixels, image.spacing_mm)
        item: Item = {
            "image": self._fit.image(image.pixels, placed),
            "truth": self._truth(example.truth),
            "spacing_mm": self._fit.spacing_after(image.spacing_mm, placed),
            "patient": row.patient,
            "image_id": row.image,
        }
        if self._job.job.task == "segmentation":
            item["mask"] = self._fit.mask(self._mask(example), placed)
        return item

    def _mask(self, example: Example) -> Any:
        from fedward.dataset.load import load_mask

        return load_mask(example.row, example.masks_root or example.images_root, self._job.data.structures)

    def _truth(self, truth: tuple[int, ...]) -> torch.Tensor:
        if self._job.data.target == "multiclass":
            return torch.tensor(truth[0], dtype=torch.int64)
        return torch.tensor(truth, dtype=torch.float32)


class Standardise(prepare.Standardise, Transform):  # type: ignore[misc]
    """``prepare.Standardise`` as a MONAI transform, of which a cache keeps the result."""


def _build(component: Component, stage: Literal["prepare", "augment"], *, masked: bool, where: str) -> Transform:
    name, args = component.name, component.args
    entry = TRANSFORMS.get(name)
    fitting = [other for other, its in TRANSFORMS.items() if stage in its.stages]
    if entry is None:
        near = difflib.get_close_matches(name, fitting, n=3, cutoff=0.5)
        remedy = f"did you mean {' or '.join(near)}" if near else f"choose one of {', '.join(fitting)}"
        raise JobError("transform unknown", where=where, value=name, remedy=remedy)
    if stage not in entry.stages:
        remedy = f"move it to transforms.{entry.stages[0]}"
        raise JobError(f"transform is not for {stage}", where=where, value=name, remedy=remedy)
    make = getattr(monai_transforms, name)
    taken = set(inspect.signature(make).parameters)
    for arg, value in args.items():
        if arg in OWN_ARGS and arg in taken:
            raise JobError(f"argument {arg} of {name} is filled in by Fedward", where=where, remedy="leave it out")
        if arg not in taken:
            near = difflib.get_close_matches(arg, taken - OWN_ARGS, n=2, cutoff=0.4)
            remedy = f"did you mean {' or '.join(near)}" if near else "leave it out"
            raise JobError(f"transform {name} has no such argument", where=where, value=arg, remedy=remedy)
        if isinstance(value, str) and value.startswith("$"):
            raise JobError(
                f"argument {arg} of {name} is an expression", where=where, value=value, remedy="write a value"
            )
    keys = ["image", "mask"] if masked and entry.moves else ["image"]
    modes = {"mode": ["bilinear", "nearest"][: len(keys)]} if entry.mode else {}
    try:
        return make(keys=keys, **modes, **args)
    except Exception as error:  # noqa: BLE001 - MONAI raises many kinds for an argument that does not fit
        what = f"transform {name} cannot be built, {type(error).__name__} {str(error)[:200]}"
        raise JobError(what, where=where, remedy="see its page in MONAI's documentation") from None
