"""Warn of a structure that most images lack, where a job does nothing about it."""

from __future__ import annotations

from collections.abc import Sequence

from fedward.dataset.selection import Example, shows_structure
from fedward.settings import JobSpec

RARE = 0.5
"""Share of images with a structure below which marking nothing is mostly right, and easily learned."""


def rarity_words(job: JobSpec, train: Sequence[Example]) -> str | None:
    """Return a warning for a segmentation whose structures most of a site's training images lack; None where they are
    common, or the job draws images evenly or in patches around them.

    Args:
        job: the job.
        train: the site's training images; not empty.
    """
    if job.job.task != "segmentation" or job.training.balanced or (job.data.patches and job.data.patches.positive):
        return None
    share = sum(shows_structure(job, example) for example in train) / len(train)
    if share >= RARE:
        return None
    what = f"{share:.0%} of {len(train)} training images show a structure of the job: it may learn to mark nothing"
    if job.privacy.dp_sgd is not None:
        return f"{what}; give the loss args batch = true (docs/images.md)"
    return f"{what}; set training.balanced = true, and batch = true for the loss (docs/images.md)"
