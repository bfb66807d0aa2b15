"""Compute clipped sums of patients' gradients from one pass over many patients, layer by layer.

No layer in a network of Fedward's table mixes the images of a batch. So one forward and one backward pass give each
layer's inputs A and the gradients G of its outputs for all patients at once. A layer's gradient for a patient is the
product of the patient's rows of A and G. Unlike Opacus's hooks this works with in-place operations. Losses are computed
patient by patient, so their reduction and the shape of their truth do not matter.

In float32 a patient's gradient can depend on the number of patients in a pass: for another shape a library may sum in
another order, and where weights cancel, or a ReLU is at 0, a change of the last digit changes the gradient. Each pass
therefore has the same number of slots. Before a network is used, ``fits`` checks that a patient's result is the same,
bit by bit, in every slot and beside every neighbour: the order of operations depends on the shape, not on the values.
``fits`` also compares the network with plain autograd.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from fedward.errors import JobError
from fedward.privacy.grid import FINE
from fedward.training.dp_sgd.clipped_sum import Clipped, ClippedSum, squares_of
from fedward.training.dp_sgd.layer_rules import Call, rule_of
from fedward.training.dp_sgd.patient_gradients import Patient, gradients_of, trainable
from fedward.training.losses import Loss
from fedward.training.networks import predict


def by_layer(
    network: nn.Module,
    loss: Loss,
    patients: Iterable[Patient],
    norm_l2: float,
    *,
    steps: int = FINE,
    slots: int = 8,
) -> Clipped:
    """Sum clipped gradients as ``one_by_one`` does, many patients at a time; ``fits`` must accept network and slots.

    The last pass is filled up with copies of its last patient, which do not count.

    Args:
        network, loss, patients, norm_l2, steps: as in ``one_by_one``; every patient has the same number of images.
        slots: patients in one pass.

    Raises:
        JobError: as in ``one_by_one``; a layer that cannot be followed; patients with different numbers of images.
    """
    clipped = ClippedSum(trainable(network), norm_l2, steps=steps)
    each = None
    waiting = iter(patients)
    while chunk := list(islice(waiting, slots)):
        each = each or len(chunk[0].images)
        if any(len(patient.images) != each for patient in chunk):
            raise JobError("patients have different numbers of images in a step", where="DP-SGD", remedy=_EXACT)
        losses, gradients = _pass(network, loss, chunk + [chunk[-1]] * (slots - len(chunk)))
        clipped.add(gradients, losses=losses[: len(chunk)])
    return clipped.result()


def fits(network: nn.Module, loss: Loss, patients: list[Patient], *, slots: int = 8) -> bool:
    """True if ``by_layer`` gives these patients the gradients of plain autograd, up to rounding and without dropout.

    It must also give a patient the same bits in every slot and beside every neighbour: another patient, a blank one, a
    very bright one, and one with neighbouring pixels equal and opposite. A network with a layer that has no rule, or
    that is called twice, does not fit.
    """
    dropouts = [layer for layer in network.modules() if isinstance(layer, nn.modules.dropout._DropoutNd)]
    was = [layer.training for layer in dropouts]
    try:
        for layer in dropouts:
            layer.eval()
        alone = [_pass(network, loss, [patient] * slots)[1] for patient in patients]
        return all(
            _agree(network, loss, patient, found) for patient, found in zip(patients, alone, strict=True)
        ) and _keeps_apart(network, loss, patients, alone, slots)
    except (JobError, RuntimeError):
        return False
    finally:
        for layer, training in zip(dropouts, was, strict=True):
            layer.train(training)


Gradients = list[Tensor | None]


def _agree(network: nn.Module, loss: Loss, patient: Patient, found: Gradients) -> bool:
    """True if plain autograd agrees with a pass of the patient alone, and with ``found``: the patient in each slot.

    Relative bounds: 10^-4 and 10^-2. Float32 rounds a batch differently from an image; deep networks enlarge that.
    """
    exact = [
        torch.zeros_like(parameter, dtype=torch.float64) if part is None else part.double()
        for part, parameter in zip(gradients_of(network, loss, patient)[1], trainable(network), strict=True)
    ]
    for gradients, bound in ((_pass(network, loss, [patient])[1], 1e-4), (found, 1e-2)):
        pairs = zip(exact, gradients, strict=True)
        far = [one if other is None else one - other[0].view_as(one).double() for one, other in pairs]
        if not _norm(far) <= bound * _norm(exact):
            return False
    return True


def _norm(parts: Iterable[Tensor]) -> float:
    return math.sqrt(sum(float(part.square().sum()) for part in parts))


def _keeps_apart(network: nn.Module, loss: Loss, patients: list[Patient], alone: list[Gradients], slots: int) -> bool:
    """True if the patients' gradients equal ``alone``, bit by bit, in every slot and beside every neighbour."""
    if not all(_same(found, found, slice(None)) for found in alone):
        return False
    first, *others = patients
    opposite = first.images.clone()
    opposite[..., 1::2] = -opposite[..., : opposite.shape[-1] // 2 * 2 : 2]
    made = [Patient(images=images, truth=first.truth) for images in (first.images * 0, first.images * 1e3, opposite)]
    for number, other in enumerate([*others, *made], start=1):
        mixed = _pass(network, loss, [other if slot % 2 else first for slot in range(slots)])[1]
        if not _same(mixed, alone[0], slice(0, None, 2)):
            return False
        if number < len(alone) and not _same(mixed, alone[number], slice(1, None, 2)):
            return False
    return True


def _same(found: Gradients, wanted: Gradients, slots: slice) -> bool:
    """True if these slots of ``found`` equal, bit by bit, the first slot of ``wanted``, and their sums of squares."""
    return all(
        one is other if one is None or other is None else _equal(one, other, slots)
        for one, other in zip(found, wanted, strict=True)
    )


def _equal(found: Tensor, wanted: Tensor, slots: slice) -> bool:
    squares, of_first = squares_of(found.flatten(1))[slots], squares_of(wanted.flatten(1))[:1]
    return bool((found[slots] == wanted[:1]).all()) and bool((squares == of_first).all())


def _pass(network: nn.Module, loss: Loss, chunk: list[Patient]) -> tuple[list[float], Gradients]:
    """Return each patient's loss, and for each trainable parameter, in order, the patients' gradients (P, ...)."""
    each, parameters = len(chunk[0].images), trainable(network)
    with _followed(network, len(chunk)) as calls:
        logits = predict(network, torch.cat([patient.images for patient in chunk]))
        values = [
            loss(part, patient.truth) for part, patient in zip(torch.split(logits, each), chunk, strict=True)
        ]  # each patient's own mean: no reduction over patients
        numbers = [float(value.detach()) for value in values]
        torch.stack(values).sum().backward()  # type: ignore[no-untyped-call]
    shares = [share for call in calls for share in call.shares]
    found = {id(share.parameter): share.gradients for share in shares}
    if len(found) != len(shares) or not set(found) <= {id(parameter) for parameter in parameters}:
        raise JobError("a parameter is shared by layers or not trained", where="model", remedy=_EXACT)
    return numbers, [found.get(id(parameter)) for parameter in parameters]


@contextmanager
def _followed(network: nn.Module, patients: int) -> Iterator[list[Call]]:
    """Follow, inside, each layer's use; the parameters' own gradients are not computed.

    Raises:
        JobError: a layer with parameters has no rule, or a layer is used twice.
    """
    parameters, handles = trainable(network), []
    calls: list[Call] = []
    spark = torch.zeros((), requires_grad=True)
    held, used = {id(parameter) for parameter in parameters}, set[int]()

    def follow(layer: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        call = Call(layer=layer, patients=patients, given=inputs[0].detach(), version=inputs[0]._version)
        if id(layer) in used:
            raise JobError("a layer is used twice", where="model", value=type(layer).__name__, remedy=_EXACT)
        used.add(id(layer))
        calls.append(call)
        tapped: Tensor = _Tap.apply(output, spark.to(output.device), call)  # type: ignore[no-untyped-call]
        return tapped

    try:
        for layer in network.modules():
            if any(id(parameter) in held for parameter in layer._parameters.values()):
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
    """Identity on a layer's output that follows the output's gradient; ``spark`` makes the output require one.

    The patients' shares are computed as soon as the gradient is known: then it is in the processor's cache, and it need
    not be kept.
    """

    @staticmethod
    def forward(ctx: Any, output: Tensor, spark: Tensor, call: Call) -> Tensor:
        ctx.call = call
        return output.detach()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        ctx.call.follow(gradients[0])
        return gradients[0], None, None


_EXACT = "take each patient's gradient by itself"
