"""One patient's gradient, bounded: what of a patient enters a step of DP-SGD, and how much of it at most.

A patient's gradient is that of the mean loss over all the images of the patient that were drawn, augmented copies
among them (De et al. 2022, section 3.1). It is scaled to an L2 norm, over all trainable parameters together, of at
most ``norm_l2`` (Abadi et al. 2016, algorithm 1), so that the sum over patients changes by at most ``norm_l2`` when a
patient is added or removed, whatever the patient's images are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fedward.errors import JobError
from fedward.training.losses import Loss
from fedward.training.networks import predict


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """The drawn images of one patient.

    Attributes:
        images: float32 (K, 1, *size).
        truth: (K, ...), as ``fedward.training.losses.Loss`` takes it.
    """

    images: Tensor
    truth: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Clipped:
    """The sum of the clipped gradients of a step's patients, before noise: it never leaves the step.

    Attributes:
        total: one tensor a trainable parameter, in the network's order; zeros where no patient was drawn.
        patients: how many were drawn.
        loss: the sum of their mean losses.
    """

    total: tuple[Tensor, ...]
    patients: int
    loss: float


Method = Callable[[nn.Module, Loss, Iterable[Patient], float], Clipped]
"""(network, loss, patients, norm_l2) -> the sum of their clipped gradients."""


def trainable(network: nn.Module) -> list[nn.Parameter]:
    """The parameters that a step moves, in the network's order; each gets a share of gradient, norm and noise."""
    return [parameter for parameter in network.parameters() if parameter.requires_grad]


def one_by_one(network: nn.Module, loss: Loss, patients: Iterable[Patient], norm_l2: float) -> Clipped:
    """Each patient's gradient by autograd for itself, one after another: exact for every network, one model of memory.

    ``patients`` may be lazy: one patient's images are held at a time.

    Raises:
        JobError: a loss or a gradient that is not finite; nothing of the step may then be used.
    """
    parameters = trainable(network)
    total = [torch.zeros_like(parameter) for parameter in parameters]
    count, losses = 0, 0.0
    for patient in patients:
        value = loss(predict(network, patient.images), patient.truth)
        gradient = _gradient(value, parameters)
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradient)).double())
        factor = clip_factors(norm[None], norm_l2)
        torch._foreach_add_(total, gradient, alpha=float(factor))
        count, losses = count + 1, losses + finite_loss(value)
    return Clipped(total=tuple(total), patients=count, loss=losses)


def clip_factors(norms: Tensor, norm_l2: float) -> Tensor:
    """What each patient's gradient is multiplied with so that its norm is at most ``norm_l2``; 1 for a zero gradient.

    A part in 10^5 is held back, which is more than float32 loses in the norm and in the product.

    Args:
        norms: (P,), the gradients' L2 norms.
        norm_l2: the bound.

    Raises:
        JobError: a norm that is not finite.
    """
    if not bool(torch.isfinite(norms).all()):
        raise JobError(
            "a patient's gradient is not finite", where="training", remedy="lower training.lr or change the loss"
        )
    return (norm_l2 / (norms * (1.0 + SLACK)).clamp(min=TINY)).clamp(max=1.0)


SLACK = 1e-5
TINY = 1e-30


def finite_loss(value: Tensor) -> float:
    """The loss as a number.

    Raises:
        JobError: it is not finite.
    """
    number = float(value.detach())
    if not math.isfinite(number):
        raise JobError("the loss is no longer finite", where="training.lr", remedy="lower it")
    return number


def _gradient(value: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
    """The gradient with a slot for every parameter; zeros for one that the loss does not reach."""
    found = torch.autograd.grad(value, parameters, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)]
