"""Sum the clipped gradients of a hospital's drawn patients: its part of one step over all hospitals' patients."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedward.dataset.images import Images
from fedward.privacy.grid import Grid
from fedward.privacy.sum_noise import sum_grid
from fedward.settings import JobSpec
from fedward.training.dp_sgd.dp_sgd import PrivateRound, PrivateSteps
from fedward.training.learner import Learner
from fedward.training.seeds import torch_seed


@dataclass(frozen=True, slots=True, kw_only=True)
class UnionGradients:
    """A hospital's part of a sum, before noise: it must not leave.

    Attributes:
        units: whole numbers of ``grid``, int64, by trained tensor.
        grid: the job's.
        loss: mean over the drawn patients, not protected; NaN where none was drawn.
        seconds: wall time.
        private: DP-SGD parameters of the step.
    """

    units: Mapping[str, NDArray[np.int64]]
    grid: Grid
    loss: float
    seconds: float
    private: PrivateRound


def union_gradients(
    job: JobSpec, learner: Learner, weights: Mapping[str, NDArray[Any]], images: Images, *, steps: PrivateSteps
) -> UnionGradients:
    """Draw this hospital's patients for one step, and sum their clipped gradients.

    Raises:
        CohortError: an image can no longer be read.
        JobError: weights of another network, or a step for which the DP-SGD guarantee does not hold.
    """
    started = time.perf_counter()
    grid = sum_grid(job, values=learner.trained_values)
    with torch_seed(secrets.randbits(63)):
        found, loss = learner.clipped_sum(weights, images, private=steps, steps=grid.steps)
    units = {name: part.cpu().numpy().astype(np.int64) for name, part in found.items()}
    return UnionGradients(
        units={name: units[name] for name in sorted(units)},
        grid=grid,
        loss=loss,
        seconds=time.perf_counter() - started,
        private=steps.round(1),
    )
