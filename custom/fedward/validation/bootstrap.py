"""Compute intervals by resampling patients: images of one patient stay together (Field and Welsh 2007, section 2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Interval = tuple[float, float]

RESAMPLES = 1000
SEED = 20_240
LEVEL = 0.95
CHUNK = 4_000_000
"""Largest count of numbers in memory at once, so that large cohorts do not fill it."""


def patient_intervals(
    statistics: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    patients: Sequence[Any],
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
    level: float = LEVEL,
) -> list[Interval | None]:
    """Compute percentile intervals of several statistics from the same resamples of patients, with replacement.

    Args:
        statistics: function from (resamples, n), the number of times that each image was drawn, to (resamples, k)
            values, NaN where a draw gives none (one class only).
        patients: patient of each of the n images.
        resamples, seed, level: by default 1000 draws, a fixed seed, 95 %.

    Returns:
        (low, high) for each of the k, or None if more than a tenth of the draws give no value; an empty list with fewer
        than two patients.
    """
    names, owner = np.unique(np.asarray(patients), return_inverse=True)
    if len(names) < 2:
        return []
    generator, values = np.random.default_rng(seed), []
    share, step = np.full(len(names), 1.0 / len(names)), max(1, CHUNK // len(owner))
    for start in range(0, resamples, step):
        drawn = generator.multinomial(len(names), share, size=min(step, resamples - start)).astype(np.float64)
        values.append(statistics(drawn[:, owner]))
    return [_percentiles(column, resamples=resamples, level=level) for column in np.concatenate(values).T]


def patient_interval(
    statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]], patients: Sequence[Any], **options: Any
) -> Interval | None:
    """Compute ``patient_intervals`` of one statistic, (resamples, n) -> (resamples,); None below two patients."""
    found = patient_intervals(lambda counts: statistic(counts)[:, np.newaxis], patients, **options)
    return found[0] if found else None


def _percentiles(values: NDArray[np.float64], *, resamples: int, level: float) -> Interval | None:
    found = values[np.isfinite(values)]
    if len(found) < 0.9 * resamples:
        return None
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def mean_interval(values: NDArray[np.float64], patients: Sequence[Any], **options: Any) -> Interval | None:
    """Compute the interval of a mean over images by ``patient_interval``; values that are not finite do not count."""
    there = np.isfinite(values)
    kept = np.asarray(values, dtype=np.float64)[there]

    def means(counts: NDArray[np.float64]) -> NDArray[np.float64]:
        drawn: NDArray[np.float64] = counts.sum(axis=1)
        mean: NDArray[np.float64] = np.divide(counts @ kept, drawn, out=np.full(len(counts), np.nan), where=drawn > 0)
        return mean

    return patient_interval(means, np.asarray(patients)[there].tolist(), **options)
