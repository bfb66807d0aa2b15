"""One patient's gradient, bounded: what of a patient enters a step of DP-SGD, and how much of it at most.

A patient's gradient is that of the mean loss over all the images of the patient that were drawn, augmented copies
among them (De et al. 2022, section 3.1). It is scaled to an L2 norm, over all trainable parameters together, of at
most ``norm_l2`` (Abadi et al. 2016, algorithm 1), so that the sum over patients changes by at most
``norm_l2 * (1 + SLACK)`` when a patient is added or removed, whatever the patient's images are: see ``clipped_sum``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fedward.errors import JobError
from fedward.training.dp_sgd.clipped_sum import Clipped, ClippedSum
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


Method = Callable[[nn.Module, Loss, Iterable[Patient], float], Clipped]
"""(network, loss, patients, norm_l2) -> the sum of their clipped gradients."""


def trainable(network: nn.Module) -> list[nn.Parameter]:
    """The parameters that a step moves, in the network's order; each gets a share of gradient, norm and noise."""
    return [parameter for parameter in network.parameters() if parameter.requires_grad]


def one_by_one(network: nn.Module, loss: Loss, patients: Iterable[Patient], norm_l2: float) -> Clipped:
    """Each patient's gradient by autograd for itself, one after another: for every network, with one model of memory.

    A patient's part depends on no other patient, so that the guarantee of ``clipped_sum`` holds.

    ``patients`` may be lazy: one patient's images are held at a time.

    Raises:
        JobError: a loss or a gradient that is not finite; nothing of the step may then be used.
    """
    parameters = trainable(network)
    clipped = ClippedSum(parameters, norm_l2)
    for patient in patients:
        value = loss(predict(network, patient.images), patient.truth)
        gradients = torch.autograd.grad(value, parameters, allow_unused=True)
        clipped.add([None if g is None else g[None] for g in gradients], losses=[finite_loss(value)])
    return clipped.result()


def finite_loss(value: Tensor) -> float:
    """The loss as a number.

    Raises:
        JobError: it is not finite.
    """
    number = float(value.detach())
    if not math.isfinite(number):
        raise JobError("the loss is no longer finite", where="training.lr", remedy="lower it")
    return number
