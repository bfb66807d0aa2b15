"""Select a segmentation model's masks on three images: those with its worst, middle and best outlines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedward.dataset.images import Images
from fedward.dataset.selection import Example
from fedward.settings import JobSpec
from fedward.training.learner import Learner
from fedward.validation.outlines import Outlined, ranked


def outlined(
    job: JobSpec,
    learner: Learner,
    weights: Mapping[str, NDArray[Any]],
    examples: Sequence[Example],
    *,
    dices: NDArray[np.float64],
    site: str,
) -> tuple[Outlined, ...]:
    """Return the three images with true and predicted masks: they must not leave the hospital.

    Args:
        examples: the validation images.
        dices: Dice of the same model for each image and each structure, in the images' order.

    Raises:
        CohortError: an image can no longer be read.
    """
    places = ranked(dices)
    if not places:
        return ()
    images = Images(job, [examples[place] for place in places.values()], training=False, site=site)
    shown = [
        (np.asarray(item["image"])[0], np.asarray(item["mask"])[0], mask)
        for items, logits, _ in learner.outputs(weights, images)
        for item, mask in zip(items, logits.argmax(1).numpy().astype(np.uint8), strict=True)
    ]
    return tuple(
        Outlined(rank=rank, dice=float(np.nanmean(dices[place])), image=image, truth=truth, predicted=predicted)
        for (rank, place), (image, truth, predicted) in zip(places.items(), shown, strict=True)
    )
