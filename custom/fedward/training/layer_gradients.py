"""Clipped sums of patients' gradients from one pass over many patients, layer by layer.

Nothing in a network of Fedward's table mixes the images of a batch, so one forward and one backward pass give each
layer's inputs A and the gradients G of its outputs for all patients at once. A layer's gradient for a patient is a
product of the patient's rows of A and G; its norm alone costs less where the image is small (ghost norm, Li et al.
2022, section 4), and the weighted sum is then one product (book-keeping, Bu et al. 2023, section 3). Unlike Opacus's
hooks it works beside in-place operations; losses are taken patient by patient, so their reduction and the shape of
their truth do not matter. ``fits`` proves a network against plain autograd before it is used.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from fedward.errors import JobError
from fedward.training.layer_rules import Call, Share, rule_of
from fedward.training.losses import Loss
from fedward.training.networks import predict
from fedward.training.patient_gradients import Clipped, Patient, clip_factors, finite_loss, one_by_one, trainable


def by_layer(
    network: nn.Module, loss: Loss, patients: Iterable[Patient], norm_l2: float, *, images: int = 16
) -> Clipped:
    """As ``one_by_one``, many patients at a time; for networks that ``fits`` has passed.

    Patients go through in chunks that fit memory, whatever the step's number of patients; chunks do not change the sum
    beyond rounding.

    Args:
        network, loss, patients, norm_l2: as ``one_by_one``; every patient has the same number of images.
        images: how many go through at once; at least one patient's.

    Raises:
        JobError: as ``one_by_one``; a layer that cannot be followed; patients with different numbers of images.
    """
    parameters = trainable(network)
    total = {id(parameter): torch.zeros_like(parameter) for parameter in parameters}
    count, losses = 0, 0.0
    waiting = iter(patients)
    while first := next(waiting, None):
        chunk = [first, *islice(waiting, _patients_at_once(parameters, images // len(first.images)) - 1)]
        values, shares = _pass(network, loss, chunk)
        squares = torch.stack([share.squares for share in shares]).sum(0)
        factors = clip_factors(squares.sqrt(), norm_l2)
        for share in shares:
            total[id(share.parameter)] += share.weighted(factors.to(share.parameter.dtype))
        count, losses = count + len(chunk), losses + sum(values)
    return Clipped(total=tuple(total[id(parameter)] for parameter in parameters), patients=count, loss=losses)


def _patients_at_once(parameters: Iterable[Tensor], most: int) -> int:
    """As many as keep their gradients within 256 MiB, and no more than ``most``; at least one."""
    return max(1, min(most, (1 << 26) // max(1, sum(parameter.numel() for parameter in parameters))))


def fits(network: nn.Module, loss: Loss, patients: list[Patient]) -> bool:
    """Whether ``by_layer`` gives for these patients, dropout aside, what ``one_by_one`` gives.

    Each patient alone, to a part in 10^4; then all together, to a part in 100, which finds a network that mixes
    patients: float32 rounds a batch otherwise than an image, and deep networks enlarge that. A network with a layer
    that has no rule, or that is called twice, does not fit.
    """
    dropouts = [layer for layer in network.modules() if isinstance(layer, nn.modules.dropout._DropoutNd)]
    was = [layer.training for layer in dropouts]
    sets = [([patient], 1e-4) for patient in patients] + [(patients, 1e-2)]
    try:
        for layer in dropouts:
            layer.eval()
        return all(_agree(network, loss, some, bound) for some, bound in sets)
    except (JobError, RuntimeError):
        return False
    finally:
        for layer, training in zip(dropouts, was, strict=True):
            layer.train(training)


def _agree(network: nn.Module, loss: Loss, patients: list[Patient], bound: float) -> bool:
    """Both ways compared, free and clipped, within ``bound`` of the sum's norm."""
    for norm_l2 in (1e6, 1e-3):
        exact = one_by_one(network, loss, patients, norm_l2).total
        found = by_layer(
            network, loss, patients, norm_l2, images=sum(len(patient.images) for patient in patients)
        ).total
        far = torch.stack([(one - other).square().sum() for one, other in zip(exact, found, strict=True)]).sum()
        size = torch.stack([one.square().sum() for one in exact]).sum()
        if not bool(far.sqrt() <= bound * size.sqrt()):
            return False
    return True


def _pass(network: nn.Module, loss: Loss, chunk: list[Patient]) -> tuple[list[float], list[Share]]:
    """Each patient's loss and each parameter's share of the patients' gradients."""
    each = len(chunk[0].images)
    if any(len(patient.images) != each for patient in chunk):
        raise JobError("patients have different numbers of images in a step", where="DP-SGD", remedy=_EXACT)
    with _followed(network) as calls:
        logits = predict(network, torch.cat([patient.images for patient in chunk]))
        values = [
            loss(part, patient.truth) for part, patient in zip(torch.split(logits, each), chunk, strict=True)
        ]  # each patient's own mean: no reduction over patients
        numbers = [finite_loss(value) for value in values]
        torch.stack(values).sum().backward()  # type: ignore[no-untyped-call]
    with torch.no_grad():
        shares = [share for call in calls for share in call.shares(len(chunk))]
    return numbers, shares


@contextmanager
def _followed(network: nn.Module) -> Iterator[list[Call]]:
    """Inside, each layer's input and the gradient of its output are kept; the parameters' own gradients are not made.

    Raises:
        JobError: a layer with parameters that has no rule.
    """
    parameters, handles = trainable(network), []
    calls: list[Call] = []
    spark = torch.zeros((), requires_grad=True)
    held = {id(parameter) for parameter in parameters}

    def follow(layer: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        call = Call(layer=layer, given=inputs[0].detach(), version=inputs[0]._version)
        if any(other.layer is layer for other in calls):
            raise JobError("a layer is used twice", where="model", value=type(layer).__name__, remedy=_EXACT)
        calls.append(call)
        tapped: Tensor = _Tap.apply(output, spark.to(output.device), call)  # type: ignore[no-untyped-call]
        return tapped

    try:
        for layer in network.modules():
            own = [parameter for parameter in layer.parameters(recurse=False) if id(parameter) in held]
            if own:
                rule_of(layer)
                handles.append(layer.register_forward_hook(follow))
        for parameter in parameters:
            parameter.requires_grad_(False)
        yield calls
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)
        for handle in handles:
            handle.remove()


class _Tap(torch.autograd.Function):
    """Hands a layer's output on, and keeps its gradient when it comes back. ``spark`` makes the output need one."""

    @staticmethod
    def forward(ctx: Any, output: Tensor, spark: Tensor, call: Call) -> Tensor:
        ctx.call = call
        return output.detach()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        ctx.call.gradient = gradients[0]
        return gradients[0], None, None


_EXACT = "take each patient's gradient by itself"
