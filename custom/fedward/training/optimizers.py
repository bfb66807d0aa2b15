"""Build an optimizer by its name, and compute the learning rate over a job's rounds."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn

from fedward.settings import Training


def build_optimizer(training: Training, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Build the job's optimizer at its first learning rate."""
    if training.optimizer == "SGD":
        return torch.optim.SGD(
            parameters, lr=training.lr, momentum=training.momentum, weight_decay=training.weight_decay
        )
    kind = torch.optim.Adam if training.optimizer == "Adam" else torch.optim.AdamW
    return kind(parameters, lr=training.lr, weight_decay=training.weight_decay)


def learning_rate(training: Training, *, done: float) -> float:
    """Return the learning rate after the fraction ``done`` of all rounds.

    ``cosine`` falls from ``lr`` to 0 along half a cosine over the whole job, step by step and not round by round
    (Loshchilov and Hutter 2017, eq. 5, without restarts): sites end with small steps, for which averages agree.
    """
    if training.lr_schedule == "constant":
        return training.lr
    return training.lr * 0.5 * (1.0 + math.cos(math.pi * min(max(done, 0.0), 1.0)))
