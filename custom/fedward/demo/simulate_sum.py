"""Simulate a job with noise for the sum in one process: the sites' gradients are summed, noised and stepped on.

The arithmetic is that of the real federation, in the same whole numbers: clipped sums, the noise of all shares
together, the common step. There are no masks, messages, ledger and gates: it is for measurements on images of one
machine, never for a hospital's own images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from fedward.privacy.budget_plan import sum_multiplier
from fedward.privacy.noise import SecureRandom
from fedward.privacy.sum_noise import Shares, check_ring, shares_of
from fedward.settings import JobSpec
from fedward.weights import Weights, flatten_units

if TYPE_CHECKING:
    from fedward.training.trainer import Trainer

OnStep = Callable[[int, str], None]
"""Called with round and site after each site's part of a step."""


def run_sum(
    job: JobSpec, sites: Mapping[str, Trainer], *, on_step: OnStep = lambda number, site: None
) -> tuple[Weights, tuple[Weights, ...]]:
    """Make the job's steps; return the final model, and the model after each round.

    The expected number of the sites' patients in a step divides the sum, so that one site alone makes steps of the same
    size.

    Args:
        job: job with noise for the sum.
        sites: of the federation, which share the noise, with room for those whose share may be absent; or one, that
            trains alone or has all hospitals' images, and adds all of the noise and no more.
        on_step: called at every part of a step; an error from it stops the simulation.

    Raises:
        JobError: the job cannot be built, or gradients and noise do not fit into its sums.
    """
    from fedward.training.networks import initial_weights, trained_keys
    from fedward.training.union.union_model import initial_union

    model = initial_union(initial_weights(job), trained_keys(job), base="")
    noise = sum_multiplier(job)
    grid = check_ring(job, values=model.values, noise_multiplier=noise)
    shares = shares_of(job, sites=len(sites)) if len(sites) > 1 else Shares(sites=1, missing=0, colluding=0)
    patients = sum(trainer.support.train_patients for trainer in sites.values())
    std, stepped = shares.std(grid, noise) * np.sqrt(len(sites)), for_patients(job, patients)
    made = []
    for number in range(job.federation.rounds):
        total = np.zeros(model.values, np.int64)
        for site, trainer in sites.items():
            total += flatten_units(trainer.union_gradients(model.weights).units)
            on_step(number, site)
        total += SecureRandom().rounded_normal(model.values, float(std))
        model = model.step(total, unit=grid.unit, job=stepped, base="")
        made.append(model.weights)
    return model.weights, tuple(made)


def for_patients(job: JobSpec, patients: int) -> JobSpec:
    """Return the job as for so many patients in all: a step's sum is divided by their expected number."""
    asked = job.privacy.dp_sgd
    if asked is None or asked.sampling_rate is None:
        return job
    expected = asked.model_copy(update={"patients_per_step": asked.sampling_rate * patients})
    return job.model_copy(update={"privacy": job.privacy.model_copy(update={"dp_sgd": expected})})
