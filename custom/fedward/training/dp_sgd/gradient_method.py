"""Choose the method that computes a network's clipped sum: ``by_layer``, many patients at once, or ``one_by_one``."""

from __future__ import annotations

from functools import partial
from math import prod

import torch
from torch import nn

from fedward.settings import JobSpec
from fedward.training.dp_sgd.layer_gradients import by_layer, fits
from fedward.training.dp_sgd.patient_gradients import Method, Patient, one_by_one, trainable
from fedward.training.losses import Loss, example_truth


def choose_method(network: nn.Module, loss: Loss, job: JobSpec) -> Method:
    """Choose ``by_layer`` if it agrees with plain autograd on images of noise, else ``one_by_one``.

    Both keep the bound on a patient. The choice uses no patient's image, and the global random state does not change.
    """
    settings = job.privacy.dp_sgd
    each = 1 if settings is None else settings.images_per_patient * settings.augmentations
    slots = _slots(network, job, each)
    if slots < 2:
        return one_by_one
    device = next(network.parameters()).device
    truths = example_truth(job).to(device)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(job.job.seed)
        shape = (each, len(job.data.channels), *job.data.size)
        patients = [
            Patient(images=torch.randn(shape).to(device), truth=truth[None].expand(each, *truth.shape))
            for truth in truths
        ]
        fit = fits(network.train(), loss, patients, slots=slots)
    return partial(by_layer, slots=slots) if fit else one_by_one


def _slots(network: nn.Module, job: JobSpec, each: int) -> int:
    """Return the number of patients in one pass: 8, or a quarter of a step's expected patients if that is more.

    Then few slots stay empty. It is a power of two, since most libraries then sum in the same order in every slot. It
    is smaller if a step expects fewer, or if memory limits it: to ``training.batch_size`` images at once, more if they
    are small, and to 256 MiB of gradients.
    """
    expected = 1.0 if job.privacy.dp_sgd is None else job.privacy.dp_sgd.patients_per_step
    images = max(job.training.batch_size, SMALL // prod(job.data.size))
    parameters = sum(parameter.numel() for parameter in trainable(network))
    most = min(images // each, GRADIENTS // max(1, parameters))
    return 1 << (max(1, min(most, max(min(8, int(expected)), int(expected / 4)))).bit_length() - 1)


SMALL = 1 << 18
"""Pixels that are allowed in one pass for any ``training.batch_size``: 64 images of 64 x 64."""
GRADIENTS = 1 << 26
"""Largest number of gradient values that are held at once."""
