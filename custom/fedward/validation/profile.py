"""Describe a hospital's validation patients and their images, as context for its scores."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from statistics import fmean, median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedward.dataset.manifest import Row
from fedward.dataset.selection import Example
from fedward.privacy.disclosure.categories import MAKERS
from fedward.settings import JobSpec
from fedward.validation.comparison.label_noise import predicted_noise
from fedward.validation.pooling.cohort_statistics import cohort_statistics, pooled_statistics
from fedward.validation.predictions import Predictions
from fedward.validation.subgroups import patient_maker


def site_profile(
    job: JobSpec,
    examples: Sequence[Example],
    images: Iterable[NDArray[np.float32]],
    predictions: Predictions | None,
) -> dict[str, Any]:
    """Return the full profile of a site's validation patients; ``fedward.privacy.disclosure.release`` suppresses later.

    Args:
        job: the job with the labels or classes.
        examples: each validation image.
        images: for each of them, in their order, its standardised grey values, as in the network's input.
        predictions: the federated model's predictions for them; None for a segmentation.

    Returns:
        JSON-ready. ``patients``, ``images``. ``sex``, ``age``, ``maker``: patients by value, each patient once (by
        maker as in ``subgroups.patient_maker``). ``positives``: patients by label or class, absent for a segmentation.
        ``intensity``: lower edge of a grey value -> share. ``spacing_mm``: the median over images of the pixel spacing
        within a slice, from the header, before the image is resized to the network's size (the resized spacing would
        not distinguish detectors); None if no header has it. ``spacing_patients``: patients with an image that has it.
        ``label_noise``: see ``fedward.validation.comparison.label_noise``; None for a segmentation.

    Raises:
        ValueError: the numbers of images and examples differ.
    """
    counts = cohort_statistics(job, examples, images)
    found = pooled_statistics(job, counts, min_count=0)
    return {
        **found,
        "maker": _makers(examples),
        **_spacing(examples),
        "label_noise": None if predictions is None else predicted_noise(predictions),
    }


def _makers(examples: Sequence[Example]) -> dict[str, int]:
    people: defaultdict[str, list[Row]] = defaultdict(list)
    for example in examples:
        people[example.row.patient].append(example.row)
    patients = Counter(patient_maker(rows) for rows in people.values())
    return {maker: patients[maker] for maker in MAKERS}


def _spacing(examples: Sequence[Example]) -> dict[str, float | int | None]:
    known = [(one.row.patient, fmean(mm[-2:])) for one in examples if (mm := one.row.spacing_mm) is not None]
    middle = median(spacing for _, spacing in known) if known else None
    return {"spacing_patients": len({patient for patient, _ in known}), "spacing_mm": middle}
