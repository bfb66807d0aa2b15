"""Which counts of its own a hospital puts into a job's sums, and what it may tell of a sum that it opened.

Each vector is score histograms or cohort statistics with what the hospital does not tell of them behind
(``fedward.privacy.untold``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedward.flare.protocol import COUNTED
from fedward.privacy import untold
from fedward.privacy.metric_table import held_back
from fedward.privacy.release import release
from fedward.privacy.untold import Untold, untold_counts, untold_length
from fedward.settings import JobSpec, Leaving, SitePolicy
from fedward.validation import cohort_statistics, pooled
from fedward.validation.told import told_of_cohort, told_of_scores, without_untold

if TYPE_CHECKING:
    from fedward.training.trainer import Trainer

Metrics = dict[str, Any]


def counts_length(job: JobSpec, purpose: str) -> int:
    """How many numbers a vector of the purpose, "scores" or "cohort", has; 0 where the job has no such sum."""
    own = _own_length(job, purpose)
    return own + untold_length(pooled.names_of(job), tables=purpose == "scores") if own else 0


def counts_layout(job: JobSpec, purpose: str) -> str:
    """SHA-256, 64 hexadecimal digits, of what each number means: sums of equal layouts may be added."""
    layout = pooled.histogram_layout if purpose == "scores" else cohort_statistics.statistics_layout
    return hashlib.sha256(f"{layout(job)} {untold.FORMAT} {untold.FLOORS}".encode("ascii")).hexdigest()


def site_counts(
    job: JobSpec, policy: SitePolicy, trainer: Trainer, *, told: Mapping[str, Any], private: bool
) -> dict[str, NDArray[np.int64]]:
    """Counts for the gate to seal, by purpose, where job and hospital take part in their sum.

    Args:
        trainer: that has just validated the model whose scores are counted.
        told: what the hospital's rules let out of its own metrics: of its scores, their details and its support.
        private: whether the job is differentially private.

    Returns:
        int64 vectors of ``counts_length``; none in a job in the clear.
    """
    made: Mapping[str, Callable[[], NDArray[np.int64]]] = {
        "cohort": trainer.cohort_statistics,
        "scores": trainer.score_histogram,
    }
    names, least = pooled.names_of(job), policy.leaving.min_count
    found = {}
    for purpose, count in made.items():
        if _takes_part(job, policy, purpose, private=private):
            own, scored = count(), purpose == "scores"
            splits = [told_of_scores(job, own, told)] if scored else told_of_cohort(job, trainer.support, told)
            found[purpose] = np.concatenate([own, untold_counts(names, splits, min_count=least, tables=scored)])
    return found


def told_of_all(job: JobSpec, purpose: str, counts: NDArray[np.int64], *, leaving: Leaving, private: bool) -> Metrics:
    """What all hospitals' counts together say, as the largest floor among them lets it out.

    Args:
        purpose: "scores" or "cohort".
        counts: a sum of ``site_counts``, opened.
        leaving: this hospital's rules.
        private: whether the job is differentially private.

    Returns:
        The metrics "pooled" or "cohort_statistics", without what would tell one hospital's own.

    Raises:
        EncryptionError: numbers that no hospitals' have.
    """
    own, scored = _own_length(job, purpose), purpose == "scores"
    hidden = Untold(pooled.names_of(job), counts[own:], tables=scored, min_count=leaving.min_count)
    if scored:
        found = without_untold(pooled.pooled_scores(job, counts[:own]), hidden)
    else:
        found = cohort_statistics.pooled_statistics(
            job, counts[:own], min_count=hidden.least, hides=hidden.hides, hides_patients=hidden.hides_patients()
        )
    of_all = leaving.model_copy(update={"min_count": hidden.least})
    return release({COUNTED[purpose]: found}, of_all, private=private, names=job.names, exclusive=job.exclusive)


def _own_length(job: JobSpec, purpose: str) -> int:
    return pooled.histogram_length(job) if purpose == "scores" else cohort_statistics.statistics_length(job)


def _takes_part(job: JobSpec, policy: SitePolicy, purpose: str, *, private: bool) -> bool:
    asked, group = job.encryption, COUNTED[purpose]
    if held_back(group, "", private=private, alone=False) or asked is None or not asked.statistics:
        return False
    return group in policy.leaving.metrics and not (purpose == "scores" and job.job.task != "classification")
