"""Which counts of its own a hospital puts into a job's sums: score histograms and cohort statistics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedward.flare.protocol import COUNTED
from fedward.privacy.metric_table import held_back
from fedward.settings import JobSpec, SitePolicy

if TYPE_CHECKING:
    from fedward.training.trainer import Trainer


def site_counts(
    job: JobSpec, policy: SitePolicy, trainer: Trainer, *, private: bool
) -> dict[str, NDArray[np.int64]] | None:
    """Counts for the gate to seal, by purpose, where job and hospital take part in their sum.

    Args:
        trainer: that has just validated the model whose scores are counted.
        private: whether the job is differentially private.

    Returns:
        int64 vectors; None in a job in the clear.
    """
    if job.encryption is None:
        return None
    counts: Mapping[str, Callable[[], NDArray[np.int64]]] = {
        "cohort": trainer.cohort_statistics,
        "scores": trainer.score_histogram,
    }
    return {purpose: count() for purpose, count in counts.items() if _takes_part(job, policy, purpose, private=private)}


def _takes_part(job: JobSpec, policy: SitePolicy, purpose: str, *, private: bool) -> bool:
    asked, group = job.encryption, COUNTED[purpose]
    if held_back(group, "", private=private, alone=False) or asked is None or not asked.statistics:
        return False
    return group in policy.leaving.metrics and not (purpose == "scores" and job.job.task != "classification")
