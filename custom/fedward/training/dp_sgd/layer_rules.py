"""Compute each layer's part of a patient's gradient from the layer's input and the gradient of its output.

B = P patients of K images each; T positions of an image (one for a vector); D inputs of a product, O outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fedward.errors import JobError


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """Part of the patients' gradients that belongs to one parameter.

    Attributes:
        parameter: the parameter.
        gradients: (P, ...), the part of each patient, as many numbers as the parameter has.
    """

    parameter: Tensor
    gradients: Tensor


@dataclass(slots=True, kw_only=True)
class Call:
    """Use of a layer in a pass.

    Attributes:
        layer: the layer.
        patients: P.
        given: its input (B, ...); None once the shares are computed.
        version: the input's version counter at the time of use; an input overwritten since is refused.
        shares: of the layer's own parameters, computed in the backward pass; none if the loss does not depend on it.
    """

    layer: nn.Module
    patients: int
    given: Tensor | None
    version: int
    shares: list[Share] = field(default_factory=list)

    def follow(self, gradient: Tensor) -> None:
        """Compute the shares from the gradient of the output (B, ...), and let go of the input.

        Raises:
            JobError: the input was overwritten after the layer had used it.
        """
        given, self.given = self.given, None
        if given is None or given._version != self.version:
            remedy = "take each patient's gradient by itself"
            raise JobError("an input was overwritten", where="model", value=type(self.layer).__name__, remedy=remedy)
        self.shares = rule_of(self.layer)(self.layer, given, gradient, self.patients)


Rule = Callable[[Any, Tensor, Tensor, int], list[Share]]


def rule_of(layer: nn.Module) -> Rule:
    """Return the rule for a layer, by its exact class: a subclass may compute something else.

    Raises:
        JobError: there is no rule.
    """
    rule = RULES.get(type(layer))
    if rule is None or (isinstance(layer, nn.modules.conv._ConvNd) and layer.padding_mode != "zeros"):
        remedy = "take each patient's gradient by itself"
        raise JobError("no rule for a layer", where="model", value=type(layer).__name__, remedy=remedy)
    return rule


def _product(parameter: Tensor, gradients: Tensor, rows: Tensor) -> Share:
    """Compute the share of a matrix (O, D) from gradients (P, O, S) and rows (P, S, D); S: positions of all K images.

    The product is computed for each patient. The norm alone would cost less from the two Gram matrices (ghost norm, Li
    et al. 2022, section 4). It loses precision where positions cancel, and such a patient would not be clipped.
    """
    return Share(parameter=parameter, gradients=torch.bmm(gradients, rows))


def _linear(layer: nn.Linear, given: Tensor, gradient: Tensor, patients: int) -> list[Share]:
    rows = given.reshape(patients, -1, layer.in_features)
    gradients = gradient.reshape(patients, -1, layer.out_features)
    return [_product(layer.weight, gradients.transpose(1, 2), rows), *_share(layer.bias, gradients.sum(1))]


def _conv(layer: Any, given: Tensor, gradient: Tensor, patients: int) -> list[Share]:
    bias = _share(layer.bias, gradient.flatten(2).sum(2).view(patients, -1, gradient.shape[1]).sum(1))
    positions = prod(gradient.shape[2:]) * given.shape[0] // patients
    point = set(layer.kernel_size) == {1} and set(layer.stride) == {1} and not any(_padding(layer))
    plain = layer.groups == 1 and not layer.transposed and set(layer.dilation) == {1}
    if not (plain and (point or positions * prod(layer.weight.shape[1:]) <= _COPIED)):
        return [Share(parameter=layer.weight, gradients=_one_after_another(layer, given, gradient, patients)), *bias]
    columns = _side_by_side(given.flatten(2) if point else _patches(layer, given), patients)
    return [_product(layer.weight, _side_by_side(gradient.flatten(2), patients), columns.transpose(1, 2)), *bias]


_COPIED = 1 << 18
"""Input values of a patient, each as often as positions depend on it, up to which one product of copies is faster."""


def _side_by_side(values: Tensor, patients: int) -> Tensor:
    """Return (P, C, K * T) from (P * K, C, T); no copy for one image a patient."""
    return values.reshape(patients, -1, *values.shape[1:]).transpose(1, 2).flatten(2)


def _patches(layer: Any, given: Tensor) -> Tensor:
    """Return the input values that each position of the output depends on, (B, D, T)."""
    padding = _padding(layer)
    padded = functional.pad(given, [side for side in reversed(padding) for _ in range(2)])
    for axis, (kernel, stride) in enumerate(zip(layer.kernel_size, layer.stride, strict=True), start=2):
        padded = padded.unfold(axis, kernel, stride)
    dims = len(padding)
    order = [0, 1, *range(2 + dims, 2 + 2 * dims), *range(2, 2 + dims)]
    return padded.permute(order).reshape(given.shape[0], prod(layer.weight.shape[1:]), -1)


def _padding(layer: Any) -> tuple[int, ...]:
    """Return the number of zeros at each end of each axis; for ``same`` it is computed, from an odd kernel only."""
    if layer.padding == "valid":
        return (0,) * len(layer.kernel_size)
    if layer.padding == "same":
        if any(kernel % 2 == 0 for kernel in layer.kernel_size):
            raise JobError("padding differs at the two ends", where="model", remedy="choose an odd kernel_size")
        return tuple(step * (kernel - 1) // 2 for kernel, step in zip(layer.kernel_size, layer.dilation, strict=True))
    return tuple(layer.padding)


def _one_after_another(layer: Any, given: Tensor, gradient: Tensor, patients: int) -> Tensor:
    """Compute each patient's gradient of a convolution's weight, (P, *shape), by torch's own kernel."""
    each = given.shape[0] // patients
    gradient = gradient.contiguous()
    found = given.new_empty((patients, *layer.weight.shape))
    for patient in range(patients):
        own = slice(patient * each, (patient + 1) * each)
        found[patient] = torch.ops.aten.convolution_backward(
            gradient[own],
            given[own],
            layer.weight,
            None,
            layer.stride,
            _padding(layer),
            layer.dilation,
            layer.transposed,
            layer.output_padding,
            layer.groups,
            [False, True, False],
        )[1]
    return found


def _group_norm(layer: nn.GroupNorm, given: Tensor, gradient: Tensor, patients: int) -> list[Share]:
    return _scaled(layer, functional.group_norm(given, layer.num_groups, eps=layer.eps), gradient, patients)


def _instance_norm(layer: Any, given: Tensor, gradient: Tensor, patients: int) -> list[Share]:
    return _scaled(layer, functional.instance_norm(given, eps=layer.eps), gradient, patients)


def _scaled(layer: Any, normalised: Tensor, gradient: Tensor, patients: int) -> list[Share]:
    channels = gradient.shape[1]
    scale = normalised.mul_(gradient).flatten(2).sum(2).view(patients, -1, channels).sum(1)
    return [
        *_share(layer.weight, scale),
        *_share(layer.bias, gradient.flatten(2).sum(2).view(patients, -1, channels).sum(1)),
    ]


def _layer_norm(layer: nn.LayerNorm, given: Tensor, gradient: Tensor, patients: int) -> list[Share]:
    shape = layer.normalized_shape
    normalised = functional.layer_norm(given, shape, eps=layer.eps)
    scale = (gradient * normalised).reshape(patients, -1, *shape).sum(1)
    return [*_share(layer.weight, scale), *_share(layer.bias, gradient.reshape(patients, -1, *shape).sum(1))]


def _prelu(layer: nn.PReLU, given: Tensor, gradient: Tensor, patients: int) -> list[Share]:
    below = (gradient * given.clamp(max=0.0)).reshape(patients, -1, *given.shape[1:]).sum(1)
    below = below.flatten(2).sum(2) if below.dim() > 2 else below
    return _share(layer.weight, below if layer.num_parameters > 1 else below.sum(1, keepdim=True))


def _share(parameter: Tensor | None, gradients: Tensor) -> list[Share]:
    return [] if parameter is None else [Share(parameter=parameter, gradients=gradients)]


RULES: dict[type[nn.Module], Rule] = {
    nn.Linear: _linear,
    nn.Conv1d: _conv,
    nn.Conv2d: _conv,
    nn.Conv3d: _conv,
    nn.ConvTranspose1d: _conv,
    nn.ConvTranspose2d: _conv,
    nn.ConvTranspose3d: _conv,
    nn.GroupNorm: _group_norm,
    nn.InstanceNorm1d: _instance_norm,
    nn.InstanceNorm2d: _instance_norm,
    nn.InstanceNorm3d: _instance_norm,
    nn.LayerNorm: _layer_norm,
    nn.PReLU: _prelu,
}
"""Layer class -> its rule."""
