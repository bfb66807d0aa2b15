"""Check data before it leaves a hospital, and protect updates: filters, clip, noise. Arrays in, arrays out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedward.errors import GateError, shown
from fedward.privacy.clipping import clip_global, clip_per_layer
from fedward.privacy.noise import SecureRandom, add_noise
from fedward.privacy.policy.agreement import Agreement
from fedward.weights import Layout, Tensor, Weights, l2_norm, layout_of

FULL_WEIGHTS_COSINE = 0.7
FULL_WEIGHTS_RATIO = (0.5, 2.0)
"""Limits by which an update counts as the model itself: its cosine to the incoming model is above the first, and its
norm, divided by the model's, is within the second. Full weights after one round are ``w + u``. An honest ``u`` is
nearly orthogonal to ``w`` in these dimensions; so the cosine of ``w + u`` to ``w`` is above 0.7 and its norm below 1.43
|w|, as long as |u| < |w|. An honest difference with such values would scale the whole model by 1.35 or more within one
round."""
FEWEST_VALUES = 64
"""Smallest number of values in a tensor of two dimensions or more for the same check to apply to it."""
LONGEST_UPDATE = 100.0
"""Largest norm of an update that leaves, in units of the model's, noise not counted: ten times the largest move of the
model (``incoming.MAX_JUMP``), so that a federation of ten such sites still makes a model that hospitals accept."""

Filter = Callable[[Weights], Weights]


def check_tensors(weights: object, layout: Layout) -> Weights:
    """Return a fresh copy of ``weights``; it must have the names, shapes and dtypes of ``layout``, and finite values.

    Raises:
        GateError: names the first tensor that is extra, missing, of another shape or dtype, no plain array, or not
            finite.
    """
    if type(weights) is not dict:
        raise GateError("tensors are not a table")
    for name in weights:
        if type(name) is not str or name not in layout:
            raise GateError(f"tensor {shown(name)} is not in the agreed layout")
    for name in layout:
        if name not in weights:
            raise GateError(f"tensor {shown(name)} is missing")
    return {name: _checked(name, weights[name], layout[name]) for name in sorted(layout)}


def check_difference(update: Weights, incoming: Mapping[str, NDArray[Any]]) -> None:
    """Refuse full weights where a difference to ``incoming`` is expected; both of one layout, finite.

    The check finds a site that forgot to subtract, for the whole model or for one tensor. It does not find weights that
    a hostile program has disguised; such a program could as well hide them in an honest-looking update.

    Raises:
        GateError: the update, or one of its tensors, points along the model and is as long (see
            ``FULL_WEIGHTS_COSINE``).
    """
    sums = np.zeros(3)
    for name in sorted(update):
        one, other = (np.asarray(side[name], np.float64).ravel() for side in (update, incoming))
        parts = np.array([one @ other, one @ one, other @ other])
        if update[name].ndim >= 2 and one.size >= FEWEST_VALUES and _is_model(parts):
            raise GateError(f"tensor {shown(name)} holds the model's own weights where a difference is due")
        sums += parts
    if _is_model(sums):
        raise GateError("update holds the model's own weights where a difference is due")


def check_length(update: Weights, incoming: Mapping[str, NDArray[Any]], *, noise_l2: float = 0.0) -> None:
    """Refuse an update that no training explains: the training has diverged, or the program is another one.

    In an encrypted job no one else can find it, and one such update spoils the sum of all.

    Args:
        update: as it would leave, clipped and with its noise.
        incoming: model that it changes; both of one layout, finite.
        noise_l2: expected L2 norm of the noise.

    Raises:
        GateError: the norm is above ``LONGEST_UPDATE · |incoming| + 3 · noise_l2``.
    """
    norm, most = l2_norm(update.values()), LONGEST_UPDATE * l2_norm(incoming.values()) + 3.0 * noise_l2
    if not norm <= most:
        raise GateError(f"update is {norm:.3g} long where at most {most:.3g} was expected")


def check_counts(values: object, *, length: int, min_count: int) -> NDArray[np.int64]:
    """Return a table of counts that may leave: ``length`` non-negative integers, each 0 or at least ``min_count``.

    Raises:
        GateError: another length, no integers, a negative count, or one below the minimum count.
    """
    array = np.asarray(values)
    if array.dtype.kind not in "iu" or array.shape != (length,):
        raise GateError(f"counts are not {length} integers")
    if (array < 0).any() or ((array > 0) & (array < min_count)).any():
        raise GateError(f"a count is negative or below the floor of {min_count}")
    return array.astype(np.int64)


def check_units(content: object, layout: Layout) -> dict[str, NDArray[np.int64]]:
    """Return a fresh copy of a clipped sum in whole numbers: int64 arrays with the names and shapes of ``layout``.

    Raises:
        GateError: names the first tensor that is extra, missing, of another shape or dtype, or no plain array.
    """
    if type(content) is not dict:
        raise GateError("tensors are not a table")
    for name in content:
        if type(name) is not str or name not in layout:
            raise GateError(f"tensor {shown(name)} is not in the agreed layout")
    found = {}
    for name in sorted(layout):
        array, shape = content.get(name), layout[name].shape
        if type(array) is not np.ndarray or array.dtype != np.int64 or array.shape != shape:
            raise GateError(f"tensor {shown(name)} is not whole numbers of the agreed shape")
        found[name] = array.copy()
    return found


def protect(
    update: Weights, agreement: Agreement, *, filters: Sequence[Filter] = (), source: SecureRandom | None = None
) -> Weights:
    """Protect an update before it leaves: filters, then clip, then noise, in this order.

    Filters come first, because nothing may change an update between clip and noise; they are not differential privacy.
    The noise's standard deviation is ``noise_multiplier`` times ``clip_norm_l2``;
    ``fedward.privacy.accountant.update_noise_event`` derives its sensitivity.

    Returns:
        New arrays; with a clip and no noise their L2 norm is at most ``clip_norm_l2``.

    Raises:
        GateError: noise without a clip, no source for it, or a result that is not finite, has another layout, or is
            longer than the clip.
    """
    layout = layout_of(update)
    current = dict(update)
    for apply in filters:
        current = check_tensors(apply(current), layout)
    norm_l2, noise = agreement.clip_norm_l2, agreement.mechanism == "update-noise"
    if agreement.clip is not None:
        if norm_l2 is None or not norm_l2 > 0:
            raise GateError("agreement names a clip without a norm")
        clip = clip_global if agreement.clip == "global" else clip_per_layer
        current = clip(current, norm_l2=norm_l2).update
        if not l2_norm(current.values()) <= norm_l2 * (1 + 1e-5):
            raise GateError("update is longer than its clip")
    if noise:
        if agreement.clip is None or norm_l2 is None or source is None or not agreement.noise_multiplier > 0:
            raise GateError("noise on the update lacks its clip, its multiplier or its source")
        current = add_noise(current, noise_multiplier=agreement.noise_multiplier, norm_l2=norm_l2, source=source)
    return check_tensors(current, layout)


def _checked(name: str, array: object, expected: Tensor) -> NDArray[Any]:
    if type(array) in (np.float16, np.float32, np.float64):  # NumPy's difference of two 0-d arrays
        array = np.asarray(array)
    if type(array) is not np.ndarray:
        raise GateError(f"tensor {shown(name)} is not a plain array")
    if array.dtype.str != expected.dtype or array.dtype.kind != "f":
        raise GateError(f"tensor {shown(name)} has dtype {array.dtype.str} where {expected.dtype} was agreed")
    if array.shape != expected.shape:
        raise GateError(f"tensor {shown(name)} has shape {array.shape} where {expected.shape} was agreed")
    if not np.isfinite(array).all():
        raise GateError(f"tensor {shown(name)} holds a value that is not finite")
    fresh = np.empty(expected.shape, np.dtype(expected.dtype))
    fresh[...] = array
    return fresh


def _is_model(parts: NDArray[np.float64]) -> bool:
    """True if (update·model, |update|², |model|²) show that the update is the model itself."""
    product, mine, its = float(parts[0]), float(parts[1]), float(parts[2])
    if mine <= 0.0 or its <= 0.0:
        return False
    low, high = FULL_WEIGHTS_RATIO
    ratio = float(np.sqrt(mine / its))
    return product > FULL_WEIGHTS_COSINE * float(np.sqrt(mine * its)) and low <= ratio <= high
