"""Intervals by resampling patients: images of one patient stay together (Field and Welsh 2007, section 2)."""

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
"""Numbers held at once, so that large cohorts do not fill the memory."""


def patient_interval(
    statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    patients: Sequence[Any],
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
    level: float = LEVEL,
) -> Interval | None:
    """The percentile interval of a statistic when patients are drawn anew with replacement.

    Args:
        statistic: (resamples, n) counts of how often each image was drawn -> (resamples,) values, NaN where a draw
            gives none (one class only).
        patients: whose image each of the n is.
        resamples, seed, level: 1000 draws, a fixed seed, 95 % unless told otherwise.

    Returns:
        (low, high), or None with fewer than two patients or when more than a tenth of the draws give no value.
    """
    names, owner = np.unique(np.asarray(patients), return_inverse=True)
    if len(names) < 2:
        return None
    generator, values = np.random.default_rng(seed), []
    share, step = np.full(len(names), 1.0 / len(names)), max(1, CHUNK // len(owner))
    for start in range(0, resamples, step):
        drawn = generator.multinomial(len(names), share, size=min(step, resamples - start))
        values.append(statistic(drawn[:, owner].astype(np.float64)))
    found = np.concatenate(values)
    found = found[np.isfinite(found)]
    if len(found) < 0.9 * resamples:
        return None
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def mean_interval(values: NDArray[np.float64], patients: Sequence[Any], **options: Any) -> Interval | None:
    """The interval of a mean over images, by ``patient_interval``; values that are NaN do not count."""
    there = np.isfinite(values)
    kept = np.asarray(values, dtype=np.float64)[there]

    def means(counts: NDArray[np.float64]) -> NDArray[np.float64]:
        drawn: NDArray[np.float64] = counts.sum(axis=1)
        mean: NDArray[np.float64] = np.divide(counts @ kept, drawn, out=np.full(len(counts), np.nan), where=drawn > 0)
        return mean

    return patient_interval(means, np.asarray(patients)[there].tolist(), **options)
