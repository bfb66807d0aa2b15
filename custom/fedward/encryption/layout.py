"""A model as one vector and back: all tensors in the order of their names, each in C order."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedward.errors import EncryptionError
from fedward.privacy.disclosure.metric_registry import shown
from fedward.privacy.outgoing import Layout
from fedward.weights import Weights


def length(layout: Layout) -> int:
    """How many numbers a model of ``layout`` has."""
    return sum(math.prod(tensor.shape) for tensor in layout.values())


def flatten(weights: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
    """All numbers of a model, float32 of shape (n,), in a new array.

    Raises:
        EncryptionError: a tensor is not float32.
    """
    for name in sorted(weights):
        _check(name, weights[name].dtype)
    vector = np.empty(sum(array.size for array in weights.values()), np.float32)
    start = 0
    for name in sorted(weights):
        array = weights[name]
        vector[start : start + array.size].reshape(array.shape)[...] = array
        start += array.size
    return vector


def unflatten(vector: NDArray[np.float32], layout: Layout) -> Weights:
    """The inverse of ``flatten``: new arrays of the layout's names and shapes.

    Raises:
        EncryptionError: the layout has a tensor that is not float32, or ``vector`` is not float32 of its length.
    """
    for name in sorted(layout):
        _check(name, np.dtype(layout[name].dtype))
    due = length(layout)
    if vector.dtype != np.float32 or vector.shape != (due,):
        raise EncryptionError(f"vector is not {due} numbers of float32", value=f"{vector.dtype} {vector.shape}")
    weights: Weights = {}
    start = 0
    for name in sorted(layout):
        shape = layout[name].shape
        stop = start + math.prod(shape)
        weights[name] = vector[start:stop].reshape(shape).copy()
        start = stop
    return weights


def _check(name: str, dtype: np.dtype[Any]) -> None:
    if dtype != np.float32:
        raise EncryptionError(
            f"tensor {shown(name)} cannot be sealed: it is not float32",
            value=dtype.str,
            remedy="choose a network whose tensors are all float32, such as one with GroupNorm",
        )
