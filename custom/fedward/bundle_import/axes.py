"""Turn what a bundle says of axes into Fedward's order of axes.

MONAI's readers give arrays as (x, y) or (x, y, z); Fedward's are (rows, columns) or (slices, rows, columns), so in the
opposite order. A convolution with its kernels turned likewise gives the same output, turned.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fedward.weights import Weights

_INDEX = ("spatial_axis", "spatial_axes")
_REVERSED = ("rotate_range", "translate_range", "scale_range", "min_zoom", "max_zoom")
_NOT_TURNED = ("shear_range", "spatial_size", "max_spatial_size", "num_cells", "radius", "sigma")
"""Arguments with a value for each axis that are not turned: one number for all axes is taken."""
_KERNELS = ("kernel_size", "up_kernel_size", "patch_size", "window_size", "conv1_t_size", "conv1_t_stride")
_PER_LEVEL = ("DynUNet",)
"""Networks whose flat lists are of levels, and not of axes."""


class NotTurnedError(ValueError):
    """An argument whose order of axes is not known here."""


def turned_transform(args: Mapping[str, Any], *, dims: int) -> dict[str, Any]:
    """Return a transform's arguments in Fedward's order of axes.

    Raises:
        NotTurnedError: names the argument.
    """
    stems: dict[str, list[Any]] = {}
    for name, value in args.items():
        if name[-2:] in ("_x", "_y", "_z"):
            stems.setdefault(name[:-2], []).append(value)
        elif isinstance(value, list) and (
            name in _NOT_TURNED or (name in _REVERSED and len(value) not in (1, dims) and any(value))
        ):
            raise NotTurnedError(name)
    for stem, values in stems.items():
        in_plane = dims == 2 and stem == "range"
        if not in_plane and (len(values) < dims or any(one != values[0] for one in values)):
            raise NotTurnedError(f"{stem}_x")
    return {name: _turned(name, value, dims) for name, value in args.items()}


def _turned(name: str, value: Any, dims: int) -> Any:
    if name in _INDEX and value is not None:
        return [_axis(one, dims) for one in value] if isinstance(value, list) else _axis(value, dims)
    if name in _REVERSED and isinstance(value, list) and len(value) == dims:
        return value[::-1]
    return value


def _axis(number: Any, dims: int) -> int:
    if isinstance(number, bool) or not isinstance(number, int) or not -dims <= number < dims:
        raise NotTurnedError("spatial_axis")
    return dims - 1 - number % dims


def turned_network(name: str, args: Mapping[str, Any], *, dims: int) -> dict[str, Any]:
    """Return a network's arguments in Fedward's order of axes: kernels and strides that are no cubes.

    Raises:
        NotTurnedError: names the argument.
    """
    turned = {}
    for argument, value in args.items():
        found = value
        if isinstance(value, list) and value and all(isinstance(one, list) and len(one) == dims for one in value):
            found = [one[::-1] for one in value]
        elif argument in _KERNELS and isinstance(value, list) and name not in _PER_LEVEL:
            if len(value) not in (1, dims):
                raise NotTurnedError(argument)
            found = value[::-1]
        turned[argument] = found
    return turned


def turned_weights(weights: Weights, *, dims: int) -> Weights:
    """Return weights with each kernel's axes in Fedward's order; a kernel has two axes of channels first."""
    return {
        name: np.ascontiguousarray(array.transpose(0, 1, *range(array.ndim - 1, 1, -1)))
        if array.ndim == dims + 2
        else array
        for name, array in weights.items()
    }
