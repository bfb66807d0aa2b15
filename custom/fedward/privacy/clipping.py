"""Bound the L2 norm of one hospital's update, whole or tensor by tensor. Pure functions, NumPy only."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedward.errors import GateError
from fedward.weights import Weights, l2_norm

_HAIR = 1.0 - 1e-12
"""Factor that keeps the norm clear of the bound, so that no rounding of a float64 sum passes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clipped:
    """A bounded update with its sensitivity."""

    update: Weights
    norm_l2: float
    """L2 norm of the whole update before clipping. It depends on patients: it must not leave without noise."""
    bound_l2: float
    """L2 norm that ``update`` never exceeds."""

    @property
    def sensitivity_l2(self) -> float:
        """Largest move of ``update``, in L2 norm, when one patient's data change in any way: ``2 * bound_l2``.

        Training may carry one patient's change into every weight, so only one thing is certain: both updates lie in the
        ball of radius ``bound_l2``.
        """
        return 2.0 * self.bound_l2


def clip_global(update: Weights, *, norm_l2: float) -> Clipped:
    """Scale the whole update by ``min(1, norm_l2 / norm)``, as one vector over all tensors.

    Guarantee: the result's L2 norm never exceeds ``norm_l2``, in the tensors' own dtypes, after all rounding. The norm
    is taken in float64; scaled values are rounded towards zero. An update within the bound comes back bit for bit.
    (Geyer, Klein and Nabi 2017, section 3; McMahan et al. 2018, section 2.)

    ======================== ==============================================
    norm 0, no tensor        unchanged
    empty or 0-d tensor      counts like any other; keeps its shape
    integer or bool tensor   refused: it cannot be scaled
    NaN or infinity          refused, naming the tensor
    norm_l2 <= 0, NaN, inf   refused
    norm beyond float64      refused
    ======================== ==============================================

    Args:
        update: floating arrays of any shape by name; not changed.
        norm_l2: the bound, > 0.

    Returns:
        New arrays, names sorted, dtypes and shapes kept.

    Raises:
        GateError: as in the table.
    """
    bound, norm = _positive(norm_l2), _norm_of(update)
    scale = _scale(norm, bound)
    return Clipped(update={name: _times(update[name], scale) for name in sorted(update)}, norm_l2=norm, bound_l2=bound)


def clip_per_layer(update: Weights, *, norm_l2: float) -> Clipped:
    """Scale each tensor on its own to at most ``norm_l2 / sqrt(number of tensors)``.

    Guarantee: no tensor exceeds its share and so the whole never exceeds ``norm_l2``; a tensor within its share comes
    back bit for bit. A layer with a large norm does not shrink the others. (McMahan et al. 2018, section 2, flat and
    per-layer clipping.) Shares depend on the layout alone, never on the data. Edge cases, arguments and errors are
    those of ``clip_global``.
    """
    bound, norm = _positive(norm_l2), _norm_of(update)
    share = bound / math.sqrt(max(1, len(update))) * _HAIR
    clipped = {name: _times(update[name], _scale(l2_norm([update[name]]), share)) for name in sorted(update)}
    return Clipped(update=clipped, norm_l2=norm, bound_l2=bound)


def require_floating(update: Weights, *, to: str) -> None:
    """Refuse a tensor that is not floating.

    Args:
        to: the operation on it, as a participle: "clipped", "noised".

    Raises:
        GateError: names the tensor and its dtype.
    """
    for name in sorted(update):
        if update[name].dtype.kind != "f":
            value = str(update[name].dtype)
            raise GateError(f"tensor {name} cannot be {to}", where="update", value=value, remedy=_LEAVE_OUT)


def _positive(norm_l2: float) -> float:
    if not (math.isfinite(norm_l2) and norm_l2 >= np.finfo(np.float64).tiny):
        raise GateError("clip norm must be > 0 and finite", where="update", value=norm_l2, remedy="give a bound")
    return float(norm_l2)


def _norm_of(update: Weights) -> float:
    """Compute the L2 norm over all tensors, and check each tensor."""
    require_floating(update, to="clipped")
    for name in sorted(update):
        if not np.isfinite(update[name]).all():
            raise GateError(f"tensor {name} holds a value that is not finite", where="update", remedy=_LOOK)
    norm = l2_norm(update[name] for name in sorted(update))
    if not math.isfinite(norm):
        raise GateError("norm is beyond float64", where="update", remedy=_LOOK)
    return norm


def _scale(norm: float, bound: float) -> float:
    return 1.0 if norm <= bound else bound / norm * _HAIR


def _times(array: NDArray[np.floating], scale: float) -> NDArray[np.floating]:
    """Return ``array * scale`` rounded towards zero into the array's own dtype; a copy where ``scale`` is 1."""
    if scale == 1.0:
        return array.copy()
    exact = array.astype(np.float64) * scale
    near = exact.astype(array.dtype)
    inward = np.nextafter(near, np.zeros((), dtype=array.dtype))
    return np.asarray(np.where(np.abs(near) > np.abs(exact), inward, near), dtype=array.dtype)


_LEAVE_OUT = 'keep it at the site, such as with model.batch_norm = "local"'
_LOOK = "lower training.lr or look into the site's log"
