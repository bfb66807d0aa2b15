"""Which way to the patients' clipped gradients a network takes: all at once, layer by layer, or one by one."""

from __future__ import annotations

from functools import partial
from math import prod

import torch
from torch import nn

from fedward.settings import JobSpec
from fedward.training.layer_gradients import by_layer, fits
from fedward.training.losses import Loss, example_truth
from fedward.training.patient_gradients import Method, Patient, one_by_one


def choose_method(network: nn.Module, loss: Loss, job: JobSpec) -> Method:
    """``by_layer`` where it gives for images of noise what plain autograd gives; ``one_by_one`` for all other networks.

    Both give the same sum. The choice sees no patient's image, and the global random state is left as it was. With
    ``by_layer`` as many images go through at once as ``training.batch_size`` says, or more where they are small.
    """
    settings = job.privacy.dp_sgd
    each = 1 if settings is None else min(2, settings.images_per_patient * settings.augmentations)
    device = next(network.parameters()).device
    truths = example_truth(job).to(device)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(job.job.seed)
        patients = [
            Patient(
                images=torch.randn(each, 1, *job.data.size).to(device), truth=truth[None].expand(each, *truth.shape)
            )
            for truth in truths
        ]
        fit = fits(network.train(), loss, patients)
    if not fit:
        return one_by_one
    return partial(by_layer, images=max(job.training.batch_size, SMALL // prod(job.data.size)))


SMALL = 1 << 18
"""Pixels that go through at once whatever ``training.batch_size`` says: 64 images of 64 x 64."""
