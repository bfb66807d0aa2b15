"""Compute the detail tables for a model's scores at a site: subgroups, curves and a profile of validation patients."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedward.dataset.selection import Example
from fedward.privacy.disclosure.metric_registry import DETAILS
from fedward.settings import JobSpec
from fedward.validation.curves import curves
from fedward.validation.predictions import Predictions
from fedward.validation.subgroups import label_subgroups, structure_subgroups

Named = dict[str, NDArray[Any]]


def details(
    job: JobSpec,
    examples: Sequence[Example],
    *,
    found: Predictions | NDArray[np.int64],
    images: Callable[[], Iterable[NDArray[np.float32]]],
    wanted: Collection[str] = DETAILS,
) -> dict[str, Any]:
    """Return the tables that go with a model's scores.

    Args:
        job: the job that names the labels, classes or structures.
        examples: the validation images.
        found: for a classification the model's predictions for the images, in their order; for a segmentation the
            counts of each image and structure, (n, structures, 3), see ``validation.segmentation.overlaps``.
        images: function that gives the images' standardised grey values, in their order; called only if needed.
        wanted: the wanted names of ``metric_registry.DETAILS``; a segmentation has no curves.

    Returns:
        JSON-ready, about validation patients only; disclosure rules are not yet applied to it.
    """
    rows, reported = [example.row for example in examples], dict[str, Any]()
    predictions = found if isinstance(found, Predictions) else None
    if predictions is not None:
        labels, scores = by_name(job, predictions)
        if "subgroups" in wanted:
            reported["subgroups"] = label_subgroups(labels, scores, rows)
        if "curves" in wanted:
            reported["curves"] = curves(labels, scores, predictions.patients)
    elif "subgroups" in wanted:
        reported["subgroups"] = structure_subgroups(by_structure(job, np.asarray(found)), rows)
    if "profile" in wanted:
        from fedward.validation.profile import site_profile

        reported["profile"] = site_profile(job, examples, images(), predictions)
    return reported


def by_structure(job: JobSpec, counts: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
    """Return structure -> counts of each image, (n, 3)."""
    return {name: counts[:, number] for number, name in enumerate(job.data.structures)}


def by_name(job: JobSpec, predictions: Predictions) -> tuple[Named, Named]:
    """Return the truth, 0 or 1, and the score of each label, or of each class against the rest, by name, each (n,)."""
    truth, names = predictions.labels, job.data.labels
    if job.data.target == "multiclass":
        names = job.data.classes
        truth = (truth[:, np.newaxis] == np.arange(len(names))).astype(np.int64)
    columns = (truth.T, predictions.scores.T)
    labels, scores = (dict(zip(names, column, strict=True)) for column in columns)
    return labels, scores
