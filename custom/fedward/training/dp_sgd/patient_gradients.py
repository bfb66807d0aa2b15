"""Compute each patient's gradient and clip it, so that a patient's part in a step of DP-SGD is bounded.

A patient's gradient is the gradient of the mean loss over all drawn images of the patient, augmented copies included
(De et al. 2022, section 3.1). It is scaled to an L2 norm, over all trainable parameters together, of at most
``norm_l2`` (Abadi et al. 2016, algorithm 1), and rounded to whole numbers of a grid. So the sum over patients changes
by at most ``Grid.most_l2`` units when a patient is added or removed, for any images of the patient (``clipped_sum``).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from fedward.privacy.grid import FINE
from fedward.training.dp_sgd.clipped_sum import Clipped, ClippedSum
from fedward.training.losses import Loss
from fedward.training.networks import predict


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """Drawn images of one patient.

    Attributes:
        images: float32 (K, channels, *size).
        truth: (K, ...), in the form that ``fedward.training.losses.Loss`` accepts.
    """

    images: Tensor
    truth: Tensor


class Method(Protocol):
    """Function that sums patients' clipped gradients, in units of a grid of ``steps`` units in ``norm_l2``."""

    def __call__(
        self, network: nn.Module, loss: Loss, patients: Iterable[Patient], norm_l2: float, *, steps: int = FINE
    ) -> Clipped: ...


def trainable(network: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that a step changes, in the network's order; gradient, norm and noise cover all of them."""
    return [parameter for parameter in network.parameters() if parameter.requires_grad]


def one_by_one(
    network: nn.Module, loss: Loss, patients: Iterable[Patient], norm_l2: float, *, steps: int = FINE
) -> Clipped:
    """Sum the patients' clipped gradients, one separate autograd pass each: for every network, in one model's memory.

    A patient's part depends on no other patient, so that the guarantee of ``clipped_sum`` holds.

    ``patients`` may be lazy: one patient's images are held at a time.

    Raises:
        JobError: too many patients in the step; it must not be used.
    """
    clipped = ClippedSum(trainable(network), norm_l2, steps=steps)
    for patient in patients:
        value, gradients = gradients_of(network, loss, patient)
        clipped.add([None if g is None else g[None] for g in gradients], losses=[value])
    return clipped.result()


def gradients_of(network: nn.Module, loss: Loss, patient: Patient) -> tuple[float, list[Tensor | None]]:
    """Return a patient's loss, and its gradient for each trainable parameter; neither need be finite."""
    value = loss(predict(network, patient.images), patient.truth)
    found = torch.autograd.grad(value, trainable(network), allow_unused=True)
    return float(value.detach()), list(found)
