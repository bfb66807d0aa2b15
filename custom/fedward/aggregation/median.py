"""Take each value's median over the sites: a few sites cannot move the model beyond the others' values. NumPy only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedward.aggregation.checks import check_updates, require_finite
from fedward.weights import Weights


def coordinate_median(updates: Mapping[str, Weights]) -> Weights:
    """Return the coordinate-wise median (Yin et al. 2018, Definition 1): of each value separately, each site once.

    While fewer than half of the sites are wrong, each value lies between the smallest and the largest that the others
    sent. For an even number of sites it is the mean of the middle two. It is computed in float64 and returned in each
    array's own dtype; an integer or boolean array is rounded to the nearest integer, halves to even. The result is
    bit-identical for every order in which the sites answer.

    Args:
        updates: site -> arrays by name, as for ``fedavg.weighted_mean``, without a weight.

    Returns:
        New arrays, names sorted; no input is changed.

    Raises:
        JobError: there is no site; names, shapes or dtypes differ between sites; or a value is not finite.
    """
    sites = check_updates(updates)
    with np.errstate(over="ignore"):
        median = {name: _median([updates[site][name] for site in sites]) for name in sorted(updates[sites[0]])}
    require_finite(median, where="median of the updates")
    return median


def _median(arrays: list[NDArray[Any]]) -> NDArray[Any]:
    stack = np.stack([np.asarray(array, dtype=np.float64) for array in arrays])
    median = np.median(stack, axis=0, overwrite_input=True)
    dtype = arrays[0].dtype
    return np.asarray(median if dtype.kind == "f" else np.rint(median), dtype=dtype)
