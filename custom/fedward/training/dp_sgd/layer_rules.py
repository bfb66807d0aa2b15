"""Compute each layer's part of a patient's gradient from the layer's input and the gradient of its output.

B = P patients of K images each; T positions of an image (one for a vector); D inputs of a product, O outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
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
    """Use of a layer in a pass: its input and, after the backward pass, the gradient of its output.

    Attributes:
        layer: the layer.
        given: its input (B, ...).
        version: the input's version counter at the time of use; an input overwritten since is refused.
        gradient: of the output (B, ...); None if the loss does not depend on it.
    """

    layer: nn.Module
    given: Tensor
    version: int
    gradient: Tensor | None = None

    def shares(self, patients: int) -> list[Share]:
        """Return the shares of the layer's own parameters; none if the loss does not depend on the layer.

        Raises:
            JobError: the input was overwritten after the layer had used it.
        """
        if self.given._version != self.version:
            remedy = "take each patient's gradient by itself"
            raise JobError("an input was overwritten", where="model", value=type(self.layer).__name__, remedy=remedy)
        if self.gradient is None:
            return []
        return rule_of(self.layer)(self.layer, self.given, self.gradient, patients)


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


def _product(parameter: Tensor, rows: Tensor, gradients: Tensor) -> Share:
    """Compute the share of a matrix (O, D) from rows (P, S, D) and gradients (P, S, O); S: positions of all K images.

    The product is computed for each patient. The norm alone would cost less from the two Gram matrices (ghost norm, Li
    et al. 2022, section 4). It loses precision where positions cancel, and such a patient would not be clipped.
    """
    return Share(parameter=parameter, gradients=torch.bmm(gradients.transpose(1, 2), rows))


def _linear(layer: nn.Linear, given: Tensor, gradient: Tensor, patients: int) -> list[Share]:
    rows = given.reshape(patients, -1, layer.in_features)
    gradients = gradient.reshape(patients, -1, layer.out_features)
    return [_product(layer.weight, rows, gradients), *_share(layer.bias, gradients.sum(1))]


def _conv(layer: Any, given: Tensor, gradient: Tensor, patients: int) -> list[Share]:
    bias = _share(layer.bias, gradient.flatten(2).sum(2).view(patients, -1, gradient.shape[1]).sum(1))
    inputs, outputs = prod(layer.weight.shape[1:]), layer.weight.shape[0]
    positions = prod(gradient.shape[2:]) * given.shape[0] // patients
    point = set(layer.kernel_size) == {1} and set(layer.stride) == {1} and not any(_padding(layer))
    plain = layer.groups == 1 and not layer.transposed and set(layer.dilation) == {1}
    small = positions * (inputs + outputs) < inputs * outputs
    if not (plain and (point or small)):
        return [Share(parameter=layer.weight, gradients=_one_after_another(layer, given, gradient, patients)), *bias]
    rows = _patches(layer, given).reshape(patients, positions, inputs)
    gradients = gradient.flatten(2).transpose(1, 2).reshape(patients, positions, outputs)
    return [_product(layer.weight, rows, gradients), *bias]


def _patches(layer: Any, given: Tensor) -> Tensor:
    """Return the input values that each position of the output depends on, (B, T, D)."""
    padding = _padding(layer)
    padded = functional.pad(given, [side for side in reversed(padding) for _ in range(2)])
    for axis, (kernel, stride) in enumerate(zip(layer.kernel_size, layer.stride, strict=True), start=2):
        padded = padded.unfold(axis, kernel, stride)
    dims = len(padding)
    order = [0, *range(2, 2 + dims), 1, *range(2 + dims, 2 + 2 * dims)]
    return padded.permute(order).reshape(given.shape[0], -1, prod(layer.weight.shape[1:]))


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
    scale = (gradient * normalised).flatten(2).sum(2).view(patients, -1, channels).sum(1)
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
