"""What a model from the server must be before a hospital trains on it: the job's own, and no trap.

A server that may choose weights freely can make one layer remember single images ("imprint": Fowl et al. 2022,
Robbing the Fed, section 3; "trap weights": Boenisch et al. 2023, When the Curious Abandon Honesty, section 4). The
layout and the first round's weights are pinned; what later rounds bring is held to what averaging can give. Clipping
and noise are what protects; this finds the crude attacks and whatever is broken.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedward.errors import GateError, shown
from fedward.weights import l2_norm

MAX_JUMP = 10.0
"""Most that a round may move the model, in units of the last model's L2 norm, noise set aside."""
INITIAL_TOLERANCE = 1e-6
"""Largest difference between the first round's weights and those that follow from the job's seed."""
IMPRINT_COSINE = 0.999
IMPRINT_FRACTION = 0.1
"""A matrix in which more than this fraction of pairs of rows has a cosine above ``IMPRINT_COSINE`` is refused."""
FEWEST_INPUTS = 8
FEWEST_ROWS = 8
MOST_ROWS = 512
"""Rows of fewer inputs agree by chance; of more than ``MOST_ROWS`` so many are drawn, from the system's entropy."""

Model = Mapping[str, NDArray[Any]]


def check_initial(model: Model, initial: Model) -> None:
    """Refuse a first round that does not start from the weights of the job's own seed; both of one layout.

    Raises:
        GateError: naming the first tensor that differs by more than ``INITIAL_TOLERANCE``.
    """
    for name in sorted(initial):
        if not np.allclose(model[name], initial[name], rtol=0.0, atol=INITIAL_TOLERANCE):
            raise GateError(f"tensor {shown(name)} of the first round does not follow from the job's seed")


def check_jump(model: Model, last: Model, *, rounds: int = 1, noise_l2: float = 0.0) -> None:
    """Refuse a model that is further from the last than ``rounds`` rounds can bring it; both of one layout, finite.

    Args:
        model: as it came.
        last: the model that this site saw last, or the initial one.
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

    Only tensors of two dimensions or more are looked at: biases and fresh normalisations may be zero or alike. What
    the job's own initial weights show is allowed, since the job was approved with it (class tokens start at zero).

    Args:
        model: as it came, of the agreed layout, finite.
        initial: the weights that follow from the job's seed.

    Raises:
        GateError: naming the tensor and what it shows.
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
    """Fraction of pairs of rows with a cosine above ``IMPRINT_COSINE``; rows of zeros are like none.

    Args:
        matrix: (out, ...), flattened to (out, in). Of fewer than ``FEWEST_ROWS`` rows or ``FEWEST_INPUTS`` inputs the
            answer is 0.0, since so short rows agree by chance.
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
