"""Say what is done to an image before a network sees it, in words; ``prepare`` and ``transforms`` do it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fedward.settings import JobSpec, Patches


def preparation_words(job: JobSpec) -> tuple[str, ...]:
    """Return what is done to each image before the network sees it, in order, for people who read or approve a job."""
    data, side = job.data, times(job.data.size)
    low, high = data.clip_percentiles
    fit = (
        "padded with its darkest value to that shape first" if data.keep_shape else "stretched if its shape is another"
    )
    fitted = f"resized to {side} pixels, {fit}"
    if data.patches is not None:
        own = "its own pixels are kept" if data.spacing_mm is None else f"resampled to {times(data.spacing_mm)} mm"
        fitted = f"{own}, padded with its darkest value to {side} pixels where it is smaller"
    prepared = [f"{one.name}{_arguments(one.args)}" for one in job.transforms.prepare]
    augmented = [f"{one.name}{_arguments(one.args)}" for one in job.transforms.augment]
    return (
        f"{_channels(job)}; DICOM's modality and VOI steps are applied",
        *(["the dark constant border is cut"] if data.crop_border else []),
        fitted,
        *prepared,
        *([f"grey values are clipped to percentiles {low:g} and {high:g}"] if (low, high) != (0.0, 100.0) else []),
        f"mean 0 and standard deviation 1 for each {'sequence' if len(data.sequences) > 1 else 'image'}",
        *_patches(data.patches, side),
        *(["in training at random: " + ", ".join(augmented)] if augmented else []),
    )


def _patches(patches: Patches | None, side: str) -> tuple[str, ...]:
    if patches is None:
        return ()
    return (
        f"in training patches of {side} pixels, {patches.per_image} from each image in a pass, {patches.positive:.0%} "
        "of them with a structure's pixel in the middle",
        f"in use windows of {side} pixels that overlap by {patches.overlap:.0%}",
    )


def times(sides: Iterable[float]) -> str:
    """Return lengths along the axes of an image, as people write them: 32 × 48."""
    return " × ".join(f"{side:g}" for side in sides)


def _channels(job: JobSpec) -> str:
    if job.data.colour:
        return "red, green and blue are three channels"
    if job.data.sequences:
        return f"channels are the sequences {', '.join(job.data.sequences)} of one study, by each hospital's site.toml"
    return "colour becomes luminance"


def _arguments(args: Mapping[str, Any]) -> str:
    return f" ({', '.join(f'{name} = {value}' for name, value in args.items())})" if args else ""
