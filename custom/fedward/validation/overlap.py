"""Count the overlap of masks in pixels, and compute the Dice of patients from the counts (Dice 1945)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

BOTH, PREDICTED, TRUE = 0, 1, 2
"""Columns of the counts of ``overlaps``."""


def overlaps(predicted: NDArray[np.uint8], truth: NDArray[np.uint8], *, structures: int) -> NDArray[np.int64]:
    """Count the pixels of each structure in each image, (B, structures, 3): in both masks, predicted, true."""
    counted = []
    for number in range(1, structures + 1):
        ours, theirs = (mask.reshape(len(mask), -1) == number for mask in (predicted, truth))
        counted.append(np.stack([(ours & theirs).sum(axis=1), ours.sum(axis=1), theirs.sum(axis=1)], axis=1))
    return np.stack(counted, axis=1).astype(np.int64)


def dices_of(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return 2 |A and B| / (|A| + |B|) of counts (…, 3), NaN where the truth lacks the structure."""
    values = np.full(counts.shape[:-1], np.nan)
    there = counts[..., TRUE] > 0
    values[there] = 2.0 * counts[there, BOTH] / (counts[there, PREDICTED] + counts[there, TRUE])
    return values


def patient_dices(counts: NDArray[np.int64], patients: Sequence[str]) -> NDArray[np.float64]:
    """Return the Dice of each patient and structure, all of the patient's images as one volume.

    Args:
        counts: of ``overlaps``, (n, structures, 3).
        patients: patient of each image.

    Returns:
        (patients, structures), patients in the order of their names; NaN where no image of the patient has the
        structure.
    """
    return dices_of(by_patient(counts, patients))


def row_means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of each row's finite values, NaN if there is none."""
    there = np.isfinite(values)
    sums, counts = np.where(there, values, 0.0).sum(axis=1), there.sum(axis=1)
    found: NDArray[np.float64] = np.divide(sums, counts, out=np.full(len(values), np.nan), where=counts > 0)
    return found


def by_patient(values: NDArray[Any], patients: Sequence[str]) -> NDArray[Any]:
    """Add up the rows of each patient, in the order of their names."""
    names, owner = np.unique(np.asarray(patients), return_inverse=True)
    sums = np.zeros((len(names), *values.shape[1:]), dtype=values.dtype)
    np.add.at(sums, owner, values)
    return sums
