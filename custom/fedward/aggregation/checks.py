"""Check the sites' updates before an aggregation uses them. NumPy only."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fedward.errors import JobError
from fedward.weights import Weights

LEAVE_OUT = "leave the site out of this round and look into its log"


def check_updates(updates: Mapping[str, Weights]) -> list[str]:
    """Check that the sites' arrays are finite and have the same names, shapes and dtypes; none is changed.

    Args:
        updates: site -> arrays by name.

    Returns:
        The sites, sorted: the order in which they are summed.

    Raises:
        JobError: there is no site; names, shapes or dtypes differ between sites; or a value is not finite.
    """
    sites = sorted(updates)
    if not sites:
        raise JobError("no site sent an update", where="aggregation", remedy="wait for federation.min_sites sites")
    for site in sites:
        _check(updates[site], updates[sites[0]], site=site, first=sites[0])
    return sites


def _check(arrays: Weights, expected: Weights, *, site: str, first: str) -> None:
    mismatched = sorted(set(arrays) ^ set(expected))
    if mismatched:
        raise JobError(f"tensor {mismatched[0]} is in the update of only one of {first} and {site}", remedy=LEAVE_OUT)
    for name, array in arrays.items():
        if (array.shape, array.dtype) != (expected[name].shape, expected[name].dtype):
            raise JobError(
                f"tensor {name} differs in shape or dtype from that of {first}",
                where=site,
                value=f"{array.dtype}{list(array.shape)}",
                remedy=LEAVE_OUT,
            )
        if not np.isfinite(array).all():
            raise JobError(f"tensor {name} holds a value that is not finite", where=site, remedy=LEAVE_OUT)


def require_finite(made: Weights, *, where: str) -> None:
    """Refuse a result that overflowed, although each update was finite.

    Raises:
        JobError: names the first tensor with a value that is not finite.
    """
    for name in sorted(made):
        if not np.isfinite(made[name]).all():
            remedy = "find the site whose update is too large, and submit the job again without it"
            raise JobError(f"tensor {name} holds a value that is not finite", where=where, remedy=remedy)
