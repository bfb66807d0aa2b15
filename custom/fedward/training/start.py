"""Read the weights of a job's public start, and hold them to the job's network before anything uses them.

The bytes are the submitter's. Nothing of them is executed, and no array is made before it fits the layout. A start with
the patterns of weights that imprint images is refused, as in any model that arrives (``check_traps``).
"""

from __future__ import annotations

import numpy as np

from fedward.errors import GateError, JobError, shown
from fedward.privacy.incoming import check_traps
from fedward.settings import Model
from fedward.weights import Weights, layout_of, read_stored

_WHERE = "model.start"
_REMEDY = "make it with this job's network and arguments, and write it with `fedward job start MODEL --out FILE`"


def start_weights(model: Model, drawn: Weights) -> Weights:
    """Return the weights of the job's start; ``drawn`` where the job has none.

    Args:
        model: the job's ``[model]``; its start's bytes have the SHA-256 that the job says.
        drawn: weights drawn from the job's seed: their names, shapes and types are due.

    Raises:
        JobError: the start is no model file; has a tensor too many or too few, or of another shape or type; a value is
            not finite; or a matrix is zero, a copy of another, or has near-identical rows.
    """
    content = model.start_bytes
    if content is None:
        return drawn
    found = read_stored(content, layout_of(drawn), where=_WHERE, remedy=_REMEDY)
    for name, array in found.items():
        if not np.isfinite(array).all():
            raise JobError(f"tensor {shown(name)} has a value that is not finite", where=_WHERE, remedy=_REMEDY)
    try:
        check_traps(found, drawn)
    except GateError as refusal:
        raise JobError(f"no weights of a trained network, {refusal.what}", where=_WHERE, remedy=_REMEDY) from None
    return found
