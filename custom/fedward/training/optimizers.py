"""Build an optimizer by its name, and compute the learning rate over a job's rounds."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import wraps
from typing import Any

import torch
from torch import nn

from fedward.settings import Training

COLD = 0.01
"""Share of the learning rate with which a warm-up begins."""


def build_optimizer(training: Training, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Build the job's optimizer at its first learning rate."""
    leave_compiler_out()
    if training.optimizer == "SGD":
        return torch.optim.SGD(
            parameters, lr=training.lr, momentum=training.momentum, weight_decay=training.weight_decay
        )
    kind = torch.optim.Adam if training.optimizer == "Adam" else torch.optim.AdamW
    return kind(parameters, lr=training.lr, weight_decay=training.weight_decay)


def learning_rate(training: Training, *, done: float) -> float:
    """Return the learning rate after the fraction ``done`` of all rounds.

    It changes step by step and not round by round. With ``warmup`` it rises from ``COLD`` times ``lr`` in a straight
    line (Goyal et al. 2017, section 2.2). Then ``cosine`` falls from ``lr`` to 0 along half a cosine over the rest of
    the job (Loshchilov and Hutter 2017, eq. 5, without restarts): sites end with small steps, for which averages agree.
    ``step`` multiplies the rate by ``lr_factor`` at each of ``lr_steps``.
    """
    done = min(max(done, 0.0), 1.0)
    if done < training.warmup:
        return training.lr * (COLD + (1.0 - COLD) * done / training.warmup)
    if training.lr_schedule == "constant":
        return training.lr
    if training.lr_schedule == "step":
        return training.lr * float(training.lr_factor ** sum(done >= at for at in training.lr_steps))
    rest = (done - training.warmup) / (1.0 - training.warmup)
    return training.lr * 0.5 * (1.0 + math.cos(math.pi * rest))


def leave_compiler_out() -> None:
    """Keep torch's optimizers from importing torch's compiler, which takes a second; the steps are the same.

    Their functions import it at their first call, to exclude themselves from compilation. Nothing is compiled here. In
    a release of torch that is built otherwise, nothing changes.
    """
    base: Any = torch.optim.Optimizer
    for name in ("add_param_group", "zero_grad", "state_dict", "load_state_dict"):
        plain = getattr(getattr(base, name), "__wrapped__", None)
        if plain is not None and not hasattr(plain, _EXCLUDED):
            setattr(plain, _EXCLUDED, plain)
    for kind in (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW):
        step: Any = kind.__dict__.get("step")
        plain = getattr(step, "__wrapped__", None)
        if plain is not None and not getattr(step, "without_compiler", False):
            kind.step = _eager(plain)  # type: ignore[method-assign]


_EXCLUDED = "__dynamo_disable"
"""Attribute in which torch keeps a function's form that is not compiled."""


def _eager(plain: Any) -> Any:
    """Return an optimizer's step without gradients of its own, as torch's wrapper of it runs it."""

    @wraps(plain)
    def step(self: torch.optim.Optimizer, *args: Any, **named: Any) -> Any:
        with torch.set_grad_enabled(self.defaults["differentiable"]):
            return plain(self, *args, **named)

    step.without_compiler = True  # type: ignore[attr-defined]
    return step
