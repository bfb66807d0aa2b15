"""Find a job's faults without a hospital's data: build each part, then pass two blank images through the network."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from monai.transforms import Compose, Transform
from torch import nn

from fedward.dataset.images import plain_tensors
from fedward.dataset.transforms import Item, build_stage, standardise_of
from fedward.errors import JobError
from fedward.privacy.policy.linter import faults
from fedward.settings import JobSpec
from fedward.training.dp_sgd.network_check import check_private
from fedward.training.dp_sgd.patient_gradients import trainable
from fedward.training.losses import build_loss, example_truth
from fedward.training.networks import build_network, initial_weights, predict


def require_sound(job: JobSpec) -> None:
    """Refuse a job that has faults; the error names all of them in one line.

    Raises:
        JobError: the job has a fault.
    """
    found = job_faults(job)
    if found:
        raise JobError(" | ".join(found), where=job.job.name)


def job_faults(job: JobSpec) -> list[str]:
    """List every fault of a job once: first the linter's, for which nothing is built, then those of its parts."""
    return list(dict.fromkeys([*faults(job), *check_job(job)]))


def check_job(job: JobSpec) -> list[str]:
    """List the faults of a job's parts, one line each: what, where and the remedy; empty for a job that can be built.

    Transforms, network and loss are built separately, so that one fault does not hide the others. If all can be built,
    a batch of blank images of ``data.size`` goes forward and backward. With DP-SGD a network that mixes patients is
    refused.
    """
    found: list[str] = []
    parts: list[Callable[[JobSpec], object]] = [_prepare, _augment, build_network, build_loss]
    for part in parts:
        found += _fault(part, job)
    return found or _fault(_transport, job) or _fault(_whole, job) or _fault(check_private, job) or _fault(_ring, job)


def _fault(part: Callable[[JobSpec], object], job: JobSpec) -> list[str]:
    try:
        part(job)
    except JobError as error:
        return [str(error)]
    return []


def _whole(job: JobSpec) -> None:
    network, loss, size = build_network(job), build_loss(job), tuple(job.data.size)
    try:
        logits = predict(network.train(), torch.zeros((2, len(job.data.channels), *size)))
    except Exception as error:  # noqa: BLE001 - a network raises many kinds for a size that it cannot work with
        what = f"network {job.model.network} fails on an image of {list(size)}, {type(error).__name__}"
        raise JobError(what, where="data.size", remedy=_fitting_size(network, job)) from None
    wanted = (2, job.outputs, *size) if job.job.task == "segmentation" else (2, job.outputs)
    found = tuple(getattr(logits, "shape", ()))
    if found != wanted:
        what = f"network {job.model.network} puts out {list(found)} where the job needs {list(wanted)}"
        raise JobError(what, where="model.args", remedy="change its arguments or data.size")
    try:
        loss(logits, example_truth(job)).backward()  # type: ignore[no-untyped-call]
    except Exception as error:  # noqa: BLE001 - a loss raises many kinds for arguments that do not fit
        what = f"loss {job.training.loss.name} fails, {_short(error)}"
        raise JobError(what, where="training.loss.args", remedy="correct the loss's arguments") from None


def _fitting_size(network: nn.Module, job: JobSpec) -> str:
    """Return the nearest larger size with which the network works, of sides that are multiples of one number."""
    for unit in (2, 4, 8, 16, 32, 64):
        sides = [-(-side // unit) * unit for side in job.data.size]
        if _works(network, (2, len(job.data.channels), *sides)):
            return f"choose sides that are multiples of {unit}, such as {sides}"
    return "choose sides that are multiples of 32, or other arguments of the network"


def _works(network: nn.Module, shape: Sequence[int]) -> bool:
    try:
        with torch.no_grad():
            predict(network, torch.zeros(tuple(shape)))
    except Exception:  # noqa: BLE001 - a network raises many kinds for a size that it cannot work with
        return False
    return True


def _transport(job: JobSpec) -> None:
    """Refuse a ``[transport]`` whose largest message is smaller than the model."""
    if job.transport is None:
        return
    numbers = sum(array.size for array in initial_weights(job).values())
    precise = job.encryption is not None and job.encryption.precision == "precise"
    needed = numbers * (8 if precise else 4) / 1e6  # 4 bytes in the clear, and at least as many encrypted
    if job.transport.message_mb < needed:
        remedy = "run `fedward job plan JOB --mbit-s …` again and take its table"
        what = f"is smaller than the model, {needed:.3g} MB"
        raise JobError(what, where="transport.message_mb", value=job.transport.message_mb, remedy=remedy)


def _ring(job: JobSpec) -> None:
    """Refuse noise for the sum that does not fit into the numbers that are summed."""
    if not job.noises_sum:
        return
    from fedward.privacy.budget_plan import sum_multiplier
    from fedward.privacy.sum_noise import check_ring

    values = sum(parameter.numel() for parameter in trainable(build_network(job)))
    check_ring(job, values=values, noise_multiplier=sum_multiplier(job))


def _prepare(job: JobSpec) -> None:
    _try(job, "prepare", build_stage(job, "prepare"), seed=0)


def _augment(job: JobSpec) -> None:
    transforms = build_stage(job, "augment")
    for transform in transforms:
        for one in (transform, *vars(transform).values()):
            if hasattr(one, "prob"):
                one.prob = 1.0
    for seed in range(DRAWS):
        _try(job, "augment", transforms, seed=seed)


DRAWS = 8
"""Number of trials of each random transform, at probability 1: not every draw shows everything that it may change."""


def _try(job: JobSpec, stage: str, transforms: list[Transform], *, seed: int) -> None:
    size = tuple(job.data.size)
    channels = len(job.data.channels)
    try:
        ramp = torch.arange(float(math.prod(size))).reshape(1, *size).repeat(channels, *[1] * len(size))
        item: Item = {"image": ramp, "mask": torch.zeros((1, *size), dtype=torch.uint8)}
        with plain_tensors():
            result = Compose([*transforms, standardise_of(job)]).set_random_state(seed=seed)(item)
    except Exception as error:  # noqa: BLE001 - MONAI raises many kinds for arguments that do not fit
        what = f"the transforms fail on an image of {list(size)}, {_short(error.__cause__ or error)}"
        raise JobError(what, where=f"transforms.{stage}", remedy="correct their arguments") from None
    for key, first in (("image", channels), ("mask", 1)):
        if tuple(result[key].shape) != (first, *size):
            what = f"the transforms change the {key}'s shape to {list(result[key].shape)[1:]}"
            raise JobError(what, where=f"transforms.{stage}", remedy=f"keep it at {list(size)}")


def _short(error: BaseException) -> str:
    return f"{type(error).__name__} {str(error).splitlines()[0][:160] if str(error) else ''}"
