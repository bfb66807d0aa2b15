"""Take a step of Adam at the server, on the mean of the sites' updates. NumPy only."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedward.aggregation.checks import check_updates, require_finite
from fedward.errors import JobError
from fedward.weights import Weights, same_layout

BETA1, BETA2, TAU = 0.9, 0.99, 1e-3
"""Momentum of the mean, momentum of its square, and adaptivity τ; values of Reddi et al. 2021."""


class FedAdam:
    """FedAdam (Reddi et al. 2021, Algorithm 2): the sites' mean difference Δ is used as the negative gradient.

    ::

        m ← β₁ m + (1 - β₁) Δ          from m = 0
        v ← β₂ v + (1 - β₂) Δ²         from v = τ²
        x ← x + server_lr · m / (√v + τ)

    As in the paper there is no bias correction. Both moments are float64 and are kept in the object: one object is for
    one job. ``moments`` and ``restore`` carry them to another process.

    Args:
        server_lr: η of the paper, above 0; the first step changes no weight by more than this.

    Raises:
        JobError: ``server_lr`` is not a finite number above 0.
    """

    def __init__(self, server_lr: float) -> None:
        if not (np.isfinite(server_lr) and server_lr > 0):
            what = "the server's learning rate must be above 0"
            raise JobError(what, where="federation.server_lr", value=server_lr, remedy="give a number such as 0.01")
        self._server_lr = server_lr
        self._mean: dict[str, NDArray[np.float64]] = {}
        self._square: dict[str, NDArray[np.float64]] = {}

    def step(self, mean_difference: Weights) -> Weights:
        """Return the change of the model after one round, and update both moments.

        Args:
            mean_difference: tensor name -> floating array, the weighted mean of the sites' differences, with the same
                names and shapes at every step.

        Returns:
            New arrays, names sorted, each in the dtype of the input; the input is not changed.

        Raises:
            JobError: a value, or its square, is not finite, a tensor is not floating, or names or shapes differ from
                the step before. The moments are then unchanged.
        """
        check_updates({_WHERE: mean_difference})
        for name, array in mean_difference.items():
            if array.dtype.kind != "f":
                remedy = "keep whole numbers at the sites"
                raise JobError(f"tensor {name} cannot take a step", where=_WHERE, value=str(array.dtype), remedy=remedy)
        if self._mean:
            same_layout(mean_difference, self._mean, where=_WHERE)
        with np.errstate(over="ignore"):
            moments = {name: self._moments(name, mean_difference[name]) for name in sorted(mean_difference)}
        require_finite({name: square for name, (_, square) in moments.items()}, where=_MOMENTS)
        self._mean = {name: mean for name, (mean, _) in moments.items()}
        self._square = {name: square for name, (_, square) in moments.items()}
        return {name: self._change(name, array.dtype) for name, array in sorted(mean_difference.items())}

    @property
    def moments(self) -> tuple[Weights, Weights]:
        """Moments of mean and square by tensor name, float64; empty before the first step."""
        return dict(self._mean), dict(self._square)

    def restore(self, mean: Weights, square: Weights) -> None:
        """Continue from the moments of another object.

        Raises:
            JobError: the two differ in names or shapes, or are not float64.
        """
        same_layout(mean, square, where=_MOMENTS)
        for name, array in (*mean.items(), *square.items()):
            if array.dtype != np.float64:
                raise JobError(f"moment {name} is not float64", where=_MOMENTS, value=str(array.dtype))
        self._mean, self._square = dict(mean), dict(square)

    def _moments(self, name: str, difference: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        delta = difference.astype(np.float64)
        mean = self._mean.get(name, np.zeros(delta.shape))
        square = self._square.get(name, np.full(delta.shape, TAU**2))
        return BETA1 * mean + (1 - BETA1) * delta, BETA2 * square + (1 - BETA2) * np.square(delta)

    def _change(self, name: str, dtype: np.dtype[Any]) -> NDArray[Any]:
        return np.asarray(self._server_lr * self._mean[name] / (np.sqrt(self._square[name]) + TAU), dtype=dtype)


_WHERE, _MOMENTS = "mean of the updates", "moments of FedAdam"
