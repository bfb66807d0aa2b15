"""Check a model from the server before a hospital trains on it: it must be the job's own, and no trap.

A server that may choose weights freely can make one layer remember single images ("imprint": Fowl et al. 2022, Robbing
the Fed, section 3; "trap weights": Boenisch et al. 2023, When the Curious Abandon Honesty, section 4). The job fixes
the layout and the first round's weights; later rounds are checked against what averaging can produce. Clipping and
noise give the protection; these checks find crude attacks and broken models.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedward.errors import GateError, shown
from fedward.weights import l2_norm

MAX_JUMP = 10.0
"""Largest move of the model in a round, in units of the last model's L2 norm, noise not counted."""
INITIAL_TOLERANCE = 1e-6
"""Largest difference between the first round's weights and the weights from the job's seed."""
IMPRINT_COSINE = 0.999
IMPRINT_FRACTION = 0.1
"""Largest fraction of pairs of rows with a cosine above ``IMPRINT_COSINE``; a matrix above it is refused."""
FEWEST_INPUTS = 8
FEWEST_ROWS = 8
MOST_ROWS = 512
"""Rows of fewer inputs agree by chance; of more than ``MOST_ROWS``, so many are drawn, with the system's entropy."""

Model = Mapping[str, NDArray[Any]]


def check_initial(model: Model, initial: Model) -> None:
    """Refuse a first round that does not start from the weights of the job's seed; both models have one layout.

    Raises:
        GateError: names the first tensor that differs by more than ``INITIAL_TOLERANCE``.
    """
    for name in sorted(initial):
        if not np.allclose(model[name], initial[name], rtol=0.0, atol=INITIAL_TOLERANCE):
            raise GateError(f"tensor {shown(name)} of the first round does not follow from the job's seed")


def check_jump(model: Model, last: Model, *, rounds: int = 1, noise_l2: float = 0.0) -> None:
    """Refuse a model that is further from the last than ``rounds`` rounds can move it; both of one layout, finite.

    Args:
        model: as received.
        last: the last model that this site received, or the initial one.
        rounds: rounds between the two, at least 1.
        noise_l2: expected L2 norm of the noise that the agreed protection adds in a round.

    Raises:
        GateError: the distance is above ``rounds · (MAX_JUMP · |last| + 3 · noise_l2)``.
    """
    moved = l2_norm(np.subtract(model[name], last[name], dtype=np.float64) for name in last)
    bound = max(1, rounds) * (MAX_JUMP * l2_norm(last[name] for name in last) + 3.0 * noise_l2)
    if not moved <= bound:
        raise GateError(f"model is {moved:.3g} from the last one where at most {bound:.3g} was expected")


def check_traps(model: Model, initial: Model) -> None:
    """Refuse zeroed matrices, copied matrices and matrices of near-identical rows.

    Only tensors of two dimensions or more are checked: biases and fresh normalisations may be zero or alike. A pattern
    of the job's own initial weights is allowed, since the job was approved with it (class tokens start at zero).

    Args:
        model: as received, of the agreed layout, finite.
        initial: the weights from the job's seed.

    Raises:
        GateError: names the tensor and the pattern found.
    """
    seen: dict[tuple[tuple[int, ...], bytes], str] = {}
    for name in sorted(model):
        array, first = model[name], initial[name]
        if array.ndim < 2:
            continue
        if not array.any() and first.any():
            raise GateError(f"tensor {shown(name)} is all zero")
        twin = seen.setdefault((array.shape, array.tobytes()), name)
        if twin != name and not np.array_equal(first, initial[twin]):
            raise GateError(f"tensor {shown(name)} is a copy of {shown(twin)}")
        if identical_rows(array) > IMPRINT_FRACTION >= identical_rows(first):
            raise GateError(f"tensor {shown(name)} has near-identical rows, as a layer that imprints images has")


def identical_rows(matrix: NDArray[Any]) -> float:
    """Compute the fraction of pairs of rows with a cosine above ``IMPRINT_COSINE``; rows of zeros match none.

    Args:
        matrix: (out, ...), flattened to (out, in). With fewer than ``FEWEST_ROWS`` rows or ``FEWEST_INPUTS`` inputs the
            result is 0.0, since such short rows agree by chance.
    """
    rows = matrix.reshape(matrix.shape[0], -1).astype(np.float64)
    if rows.shape[0] < FEWEST_ROWS or rows.shape[1] < FEWEST_INPUTS:
        return 0.0
    if rows.shape[0] > MOST_ROWS:
        rows = rows[np.random.default_rng().choice(rows.shape[0], MOST_ROWS, replace=False)]
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    units = np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0)
    alike = units @ units.T > IMPRINT_COSINE
    pairs = len(rows) * (len(rows) - 1)
    return float((np.count_nonzero(alike) - np.count_nonzero(alike.diagonal())) / pairs)
