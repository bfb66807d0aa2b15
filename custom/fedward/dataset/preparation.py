"""Say what is done to an image before a network sees it, in words; ``prepare`` and ``transforms`` do it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fedward.settings import JobSpec


def preparation_words(job: JobSpec) -> tuple[str, ...]:
    """Return what is done to each image before the network sees it, in order, for people who read or approve a job."""
    data, side = job.data, " × ".join(str(pixels) for pixels in job.data.size)
    low, high = data.clip_percentiles
    fit = (
        "padded with its darkest value to that shape first" if data.keep_shape else "stretched if its shape is another"
    )
    prepared = [f"{one.name}{_arguments(one.args)}" for one in job.transforms.prepare]
    augmented = [f"{one.name}{_arguments(one.args)}" for one in job.transforms.augment]
    return (
        "colour becomes luminance; DICOM's modality and VOI steps are applied",
        *(["the dark constant border is cut"] if data.crop_border else []),
        f"resized to {side} pixels, {fit}",
        *prepared,
        *([f"grey values are clipped to percentiles {low:g} and {high:g}"] if (low, high) != (0.0, 100.0) else []),
        "mean 0 and standard deviation 1 for each image",
        *(["in training at random: " + ", ".join(augmented)] if augmented else []),
    )


def _arguments(args: Mapping[str, Any]) -> str:
    return f" ({', '.join(f'{name} = {value}' for name, value in args.items())})" if args else ""
