"""Average the sites' updates (McMahan et al. 2017, algorithm 1). NumPy only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fedward.aggregation.checks import LEAVE_OUT, check_updates, require_finite
from fedward.errors import JobError
from fedward.weights import Weights


def site_weight(weighting: Literal["patients", "equal"], *, patients: int) -> float:
    """Return the weight of one site's update.

    Weights by patients give FedAvg (McMahan 2017, alg. 1). With equal weights, large hospitals do not outvote a small
    one whose images differ from theirs; they suit a budget in local steps, which gives every site the same work.
    """
    return float(patients) if weighting == "patients" else 1.0


def weighted_mean(
    updates: Mapping[str, tuple[Weights, float]], *, scales: Mapping[str, float] | None = None
) -> Weights:
    """Return the weighted mean of all sites' arrays: sum(w_k · x_k) / sum(w_k).

    Sums are computed in float64, in the order of the sites' names, and returned in each array's own dtype. So the
    result is bit-identical for every order in which the sites answer. The mean of an integer or boolean array is
    rounded to the nearest integer, halves to even: a count stays a count.

    Args:
        updates: site -> (arrays by name, weight > 0 or 0, such as the number of training patients).
        scales: site -> factor on its floating arrays, which does not change its weight; see ``fednova``.

    Returns:
        New arrays, names sorted; no input is changed.

    Raises:
        JobError: there is no site; a weight is negative or not finite; the weights sum to 0; names, shapes or dtypes
            differ between sites; or a value, or the sum of the weights or of the arrays, is not finite.
    """
    arrays = {site: update for site, (update, _) in updates.items()}
    sites = check_updates(arrays)
    total = _total_weight(updates, sites)
    weights = [updates[site][1] for site in sites]
    names = sorted(arrays[sites[0]])
    scaled = weights if scales is None else [updates[site][1] * scales[site] for site in sites]
    with np.errstate(over="ignore", invalid="ignore"):
        mean = {name: _mean([arrays[site][name] for site in sites], weights, total, scaled) for name in names}
    require_finite(mean, where="mean of the updates")
    return mean


def _total_weight(updates: Mapping[str, tuple[Weights, float]], sites: list[str]) -> float:
    for site in sites:
        weight = updates[site][1]
        if not np.isfinite(weight) or weight < 0:
            raise JobError("a site's weight must be a number of patients", where=site, value=weight, remedy=LEAVE_OUT)
    total = float(sum(updates[site][1] for site in sites))
    if not np.isfinite(total):
        raise JobError("the sites' weights sum to no number", where=", ".join(sites), remedy=LEAVE_OUT)
    if total <= 0:
        raise JobError("the sites' weights sum to nothing", where=", ".join(sites), remedy=LEAVE_OUT)
    return total


def _mean(arrays: list[NDArray[Any]], weights: list[float], total: float, scaled: list[float]) -> NDArray[Any]:
    mean, dtype = np.zeros(arrays[0].shape, dtype=np.float64), arrays[0].dtype
    for array, weight in zip(arrays, scaled if dtype.kind == "f" else weights, strict=True):
        mean += np.asarray(array, dtype=np.float64) * weight
    mean /= total
    return np.asarray(mean if dtype.kind == "f" else np.rint(mean), dtype=dtype)
