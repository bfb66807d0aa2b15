"""Build the counts that a hospital adds to a job's sums, and release the metrics of a sum that it opened.

Each vector holds score histograms or cohort statistics, followed by numbers that mark the counts that the hospital
withholds (``fedward.privacy.disclosure.withheld``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedward.flare.protocol import COUNTED
from fedward.privacy.disclosure import withheld
from fedward.privacy.disclosure.metric_registry import held_back
from fedward.privacy.disclosure.release import release
from fedward.privacy.disclosure.rule import Rule
from fedward.settings import Disclosure, JobSpec, SitePolicy
from fedward.validation.pooling import cohort_statistics, disclosed, pooled

if TYPE_CHECKING:
    from fedward.training.trainer import Trainer

Metrics = dict[str, Any]


def counts_length(job: JobSpec, purpose: str) -> int:
    """Return the length of a vector of the purpose, "scores" or "cohort"; 0 where the job has no such sum."""
    beside = disclosed.scores_length if purpose == "scores" else disclosed.statistics_length
    own = _own_length(job, purpose)
    return own + beside(job) if own else 0


def counts_layout(job: JobSpec, purpose: str) -> str:
    """Return the SHA-256, 64 hexadecimal digits, of the meaning of each number: sums of equal layouts may be added."""
    layout = pooled.histogram_layout if purpose == "scores" else cohort_statistics.statistics_layout
    return hashlib.sha256(f"{layout(job)} {withheld.FORMAT} {withheld.FLOORS}".encode("ascii")).hexdigest()


def site_counts(
    job: JobSpec, policy: SitePolicy, trainer: Trainer, *, lets_out: Mapping[str, Any], private: bool
) -> dict[str, NDArray[np.int64]]:
    """Return the counts for the gate to seal, by purpose, for each sum of the job.

    A hospital takes part in all or in none: of two sums over partly the same patients, one without it would tell its
    counts.

    Args:
        trainer: trainer that has just validated the model whose scores are counted.
        lets_out: the hospital's own metrics that its rules release: scores, their details, support.
        private: True if the job is differentially private.

    Returns:
        int64 vectors of ``counts_length``; none in an unencrypted job.
    """
    made: Mapping[str, Callable[[], NDArray[np.int64]]] = {
        "cohort": trainer.cohort_statistics,
        "scores": trainer.score_histogram,
    }
    least, found = policy.disclosure.min_count, {}
    summed = [purpose for purpose in made if _is_summed(job, purpose, private=private)]
    if not all(COUNTED[purpose] in policy.disclosure.metrics for purpose in summed):
        return {}
    for purpose, count in made.items():
        if purpose in summed:
            own = count()
            if purpose == "scores":
                beside = disclosed.beside_scores(job, lets_out, min_count=least)
            else:
                beside = disclosed.beside_statistics(job, own, trainer.support, lets_out, min_count=least)
            found[purpose] = np.concatenate([own, beside])
    return found


def told_of_all(
    job: JobSpec, purpose: str, counts: NDArray[np.int64], *, disclosure: Disclosure, private: bool
) -> Metrics:
    """Return the metrics of all hospitals together, suppressed by the largest minimum count among the hospitals.

    Args:
        purpose: "scores" or "cohort".
        counts: an opened sum of ``site_counts``.
        disclosure: this hospital's rules.
        private: True if the job is differentially private.

    Returns:
        "pooled" or "cohort_statistics", without values that would disclose one hospital's own.

    Raises:
        EncryptionError: the numbers cannot be a sum of hospitals' counts.
    """
    length = _own_length(job, purpose)
    of_all = disclosed.scores_of_all if purpose == "scores" else disclosed.statistics_of_all
    found, least = of_all(job, counts[:length], counts[length:], min_count=disclosure.min_count)
    coarser = disclosure.model_copy(update={"min_count": least})
    return release({COUNTED[purpose]: found}, Rule.of(job, coarser, private=private)).metrics


def _own_length(job: JobSpec, purpose: str) -> int:
    return pooled.histogram_length(job) if purpose == "scores" else cohort_statistics.statistics_length(job)


def _is_summed(job: JobSpec, purpose: str, *, private: bool) -> bool:
    asked = job.encryption
    if held_back(COUNTED[purpose], "", private=private, alone=False) or asked is None or not asked.statistics:
        return False
    return purpose != "scores" or job.job.task == "classification"
