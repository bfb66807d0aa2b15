"""Check, before training, that a job's network can be trained with DP-SGD by patient."""

from __future__ import annotations

import torch
from torch import nn

from fedward.errors import JobError
from fedward.settings import JobSpec
from fedward.training.dp_sgd.dp_sgd import copy_buffers
from fedward.training.networks import build_network, predict


def check_private(job: JobSpec) -> None:
    """Refuse a job whose network mixes patients or keeps their data; a job without DP-SGD passes.

    First the layers are checked, then the network: two images of noise go through it in training mode; the result of
    the first must not depend on the second, and no buffer may change.

    Raises:
        JobError: the network cannot be trained with DP-SGD; the error names the setting, the layer or the buffer.
    """
    if job.privacy.mechanism != "dp-sgd":
        return
    if job.model.batch_norm != "refuse":
        remedy = 'set model.batch_norm to "refuse"; GroupNorm and InstanceNorm are allowed'
        raise JobError(
            "BatchNorm mixes patients under DP-SGD", where="model.batch_norm", value=job.model.batch_norm, remedy=remedy
        )
    network = build_network(job)
    check_layers(network)
    _keeps_apart(network, job)


def check_layers(network: nn.Module) -> None:
    """Refuse BatchNorm, with or without running statistics, and any layer that keeps running statistics.

    Raises:
        JobError: there is such a layer; the error names it.
    """
    for name, layer in network.named_modules():
        mixes = isinstance(layer, nn.modules.batchnorm._BatchNorm)
        if mixes or getattr(layer, "running_mean", None) is not None:
            what = "mixes patients" if mixes else "keeps statistics of patients"
            remedy = "leave out the normalisation argument for GroupNorm, or choose instance or group norm"
            raise JobError(
                f"layer {type(layer).__name__} {what} under DP-SGD", where="model", value=name, remedy=remedy
            )


def _keeps_apart(network: nn.Module, job: JobSpec) -> None:
    before, channels = copy_buffers(network.train()), len(job.data.channels)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.default_generator.manual_seed(0)
        pair = torch.randn(2, channels, *job.data.size)
        other = torch.stack([pair[0], torch.randn(channels, *job.data.size)])
        results = []
        for images in (pair, other):
            torch.default_generator.manual_seed(1)
            try:
                results.append(predict(network, images)[0])
            except Exception as error:  # noqa: BLE001 - a network raises many kinds for a size it cannot work with
                what = f"network {job.model.network} fails on an image of {list(job.data.size)}, {type(error).__name__}"
                raise JobError(what, where="data.size", remedy="choose sides that are multiples of 16 or 32") from None
    if not torch.allclose(results[0], results[1], rtol=1e-4, atol=1e-5):
        what = f"network {job.model.network} mixes the images of a batch, so that patients cannot be bounded one by one"
        raise JobError(what, where="model.network", remedy="choose another network")
    for name, value in network.named_buffers():
        if not torch.equal(value, before[name]):
            remedy = "choose a network or a normalisation without running statistics"
            raise JobError("a buffer follows the data under DP-SGD", where="model", value=name, remedy=remedy)
