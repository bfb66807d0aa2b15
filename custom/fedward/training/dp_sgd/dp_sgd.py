"""Compute DP-SGD gradients by patient (Abadi et al. 2016, algorithm 1, with a patient in place of an example).

One step:

1. every training patient is drawn, independently, with probability q, by a cryptographic generator;
2. the drawn patient's gradient is the gradient of the mean loss over K of the patient's images, augmented copies
   included (De et al. 2022, section 3.1), clipped to an L2 norm of ``clip_norm_l2`` over all trainable parameters, and
   rounded to whole numbers of a grid; a patient moves their sum by at most ``Grid.most_l2``;
3. a rounded normal number of standard deviation ``noise_multiplier * Grid.most_l2`` is added to each coordinate of the
   sum: noise and sum are whole numbers, and floating point has no part in what is released;
4. the noisy sum, in the gradients' unit, divided by ``patients_per_step``, the expected and never the drawn number,
   goes to the optimizer.

A step that draws no patient adds the noise alone and counts. The optimizer's work on the noisy gradients (momenta,
weight decay, FedProx, moving average) is post-processing. Add-or-remove-one-patient adjacency; practice as in
Ponomareva et al. 2023. Training does not use Opacus: its hooks fail on most networks of the table, its samplers and its
optimizer draw from torch's seeded generator unless torchcsprng is installed, and its optimizer divides by a batch size
of images. The tests use it as an oracle.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fedward.dataset.images import Images
from fedward.errors import JobError
from fedward.privacy.grid import FINE
from fedward.privacy.noise import SecureRandom
from fedward.settings.privacy import DpSgd
from fedward.training.dp_sgd.clipped_sum import Clipped
from fedward.training.dp_sgd.patient_gradients import Method, Patient, trainable
from fedward.training.dp_sgd.patient_sampler import PatientSampler, load
from fedward.training.losses import Loss


@dataclass(frozen=True, slots=True, kw_only=True)
class Private:
    """Sampling rate and noise of the site's plan for this job, from the ledger's charge, never from the job alone.

    Attributes:
        sampling_rate: probability q of each patient to take part in a step, 0 < q <= 1.
        noise_multiplier: the noise's standard deviation divided by ``clip_norm_l2``, above 0.

    Raises:
        JobError: either is out of its range or not finite.
    """

    sampling_rate: float
    noise_multiplier: float

    def __post_init__(self) -> None:
        if not 0.0 < self.sampling_rate <= 1.0:
            remedy = "lower privacy.dp_sgd.patients_per_step to the number of training patients at most"
            raise JobError("sampling rate is not in (0, 1]", where="DP-SGD", value=self.sampling_rate, remedy=remedy)
        if not (math.isfinite(self.noise_multiplier) and self.noise_multiplier > 0.0):
            remedy = "plan the job anew; without noise nothing is protected"
            raise JobError("noise is not positive", where="DP-SGD", value=self.noise_multiplier, remedy=remedy)


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivateRound:
    """DP-SGD parameters of a round; ``steps`` includes steps that drew no patient."""

    steps: int
    sampling_rate: float
    noise_multiplier: float
    clip_norm_l2: float


class PrivateSteps:
    """Private gradients of one round.

    Args:
        settings: the job's ``[privacy.dp_sgd]``.
        private: sampling rate and noise.
        patients: positions of each training patient's images.
        source: generator of draws and noise.
        method: function that computes the clipped sum.
    """

    def __init__(
        self,
        settings: DpSgd,
        private: Private,
        *,
        patients: Sequence[Sequence[int]],
        source: SecureRandom,
        method: Method,
    ) -> None:
        self._settings, self._private, self._source, self._method = settings, private, source, method
        self._sampler = PatientSampler(
            patients,
            sampling_rate=private.sampling_rate,
            images_per_patient=settings.images_per_patient,
            augmentations=settings.augmentations,
            source=source,
        )

    def patients(self, images: Images, *, steps: int, truth: str) -> Iterator[Iterator[Patient]]:
        """Yield the drawn patients of each step; their images are loaded lazily."""
        for _ in range(steps):
            yield load(images, self._sampler.draw(), truth=truth)

    def somebody(self, images: Images, *, truth: str) -> Patient:
        """Return the first training patient, who was not drawn, for a computation whose result is dropped."""
        return next(load(images, [self._sampler.first], truth=truth))

    def fill(self, network: nn.Module, loss: Loss, patients: Iterator[Patient]) -> float:
        """Put the noisy mean gradient of one step into each trainable parameter's ``grad``.

        Returns:
            The drawn patients' mean loss, not protected, for the site only; NaN when no patient was drawn.

        Raises:
            JobError: too many patients were drawn, or the noise is not whole; then no ``grad`` is set.
        """
        parameters = trainable(network)
        for parameter in network.parameters():
            parameter.grad = None
        clipped = self.clipped(network, loss, patients, steps=FINE)
        noisy = self._noisy(clipped)
        for parameter, value in zip(parameters, noisy, strict=True):
            parameter.grad = value.to(parameter)
        return clipped.mean_loss

    def clipped(self, network: nn.Module, loss: Loss, patients: Iterable[Patient], *, steps: int) -> Clipped:
        """Return the clipped sum of one step's patients, without noise, in units of a grid of ``steps`` in the clip."""
        return self._method(network, loss, patients, self._settings.clip_norm_l2, steps=steps)

    def round(self, steps: int) -> PrivateRound:
        """Return the DP-SGD parameters of a round of ``steps``."""
        return PrivateRound(
            steps=steps,
            sampling_rate=self._private.sampling_rate,
            noise_multiplier=self._private.noise_multiplier,
            clip_norm_l2=self._settings.clip_norm_l2,
        )

    def _noisy(self, clipped: Clipped) -> list[Tensor]:
        sizes = [value.numel() for value in clipped.units]
        std = clipped.grid.std(self._private.noise_multiplier)
        noise = torch.from_numpy(self._source.rounded_normal(sum(sizes), std))
        if noise.dtype != torch.int64 or noise.numel() != sum(sizes):
            raise JobError("the noise is not whole", where="DP-SGD", remedy="report it; nothing was sent")
        scale = clipped.grid.unit / self._settings.patients_per_step
        parts = zip(torch.split(noise, sizes), clipped.units, strict=True)
        return [(value.cpu() + part.view_as(value)).mul_(scale) for part, value in parts]


class MovingAverage:
    """Exponential moving average of a round's weights, step after step, without bias towards zero.

    After T steps it is sum_t d^(T-t) w_t * (1-d) / (1-d^T) (Kingma and Ba 2015, section 3). It depends on the results
    of this round's steps alone. It is post-processing and costs no privacy.
    """

    def __init__(self, decay: float) -> None:
        self._decay, self._kept = decay, 1.0
        self._sum: dict[str, Tensor] = {}

    def add(self, network: nn.Module) -> None:
        """Add the parameters after a step to the average."""
        for name, value in network.named_parameters():
            old = self._sum.get(name)
            share = value.detach() * (1.0 - self._decay)
            self._sum[name] = share if old is None else old * self._decay + share
        self._kept *= self._decay

    def put_into(self, network: nn.Module) -> None:
        """Replace the network's last weights by the average."""
        with torch.no_grad():
            for name, value in network.named_parameters():
                value.copy_(self._sum[name] / (1.0 - self._kept))


def same_buffers(network: nn.Module, before: Mapping[str, Tensor]) -> None:
    """Refuse a round in which a buffer changed: it was computed from patients' images without noise.

    Raises:
        JobError: a buffer changed; the error names it.
    """
    for name, value in network.named_buffers():
        if not torch.equal(value, before[name]):
            remedy = "choose a network or a normalisation without running statistics"
            raise JobError("a buffer follows the data without noise", where="DP-SGD", value=name, remedy=remedy)


def copy_buffers(network: nn.Module) -> dict[str, Tensor]:
    """Return a copy of the buffers."""
    return {name: value.clone() for name, value in network.named_buffers()}
