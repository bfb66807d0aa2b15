"""Read the weights of a job's public start, and hold them to the job's network before anything uses them.

The bytes are the submitter's. Nothing of them is executed, and no array is made before it fits the layout. A start with
the patterns of weights that imprint images is refused, as in any model that arrives (``check_traps``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedward.errors import GateError, JobError, shown
from fedward.privacy.incoming import check_traps
from fedward.settings import Model, beginnings
from fedward.weights import Layout, Tensor, Weights, layout_of, read_stored, stored_layout

MOST_NAMED = 5
"""Largest number of tensors that a refusal names of each kind; it counts the others."""
_WHERE = "model.start"
_REMEDY = "make it with this job's network and arguments, and write it with `fedward job start MODEL --out FILE`"


def start_weights(model: Model, drawn: Weights) -> Weights:
    """Return the weights of the job's start; ``drawn`` where the job has none.

    Args:
        model: the job's ``[model]``; its start's bytes have the SHA-256 that the job says.
        drawn: weights drawn from the job's seed: their names, shapes and types are due. With ``start_layers`` the
            tensors outside of these layers stay as drawn, and the file may have further ones, which are not read.

    Raises:
        JobError: the start is not here, or is no model file; its tensors do not fit, and the error lists them; a value
            is not finite; or a matrix is zero, a copy of another, or has near-identical rows.
    """
    if model.start is None:
        return drawn
    if model.start_bytes is None:
        raise JobError("start is not here", where=_WHERE, value=model.start, remedy="put it beside the job's settings")
    due = layout_of({name: drawn[name] for name in started(model, tuple(drawn))})
    has = stored_layout(model.start_bytes, where=_WHERE, remedy=_REMEDY)
    if model.start_layers:
        has = {name: has[name] for name in has if name in due}
    if wrong := misfits(has, due):
        raise JobError(wrong, where=_WHERE, remedy=_REMEDY)
    found = read_stored(model.start_bytes, due, where=_WHERE, remedy=_REMEDY)
    require_trained({**drawn, **found}, drawn, where=_WHERE, remedy=_REMEDY)
    return {**drawn, **found}


def started(model: Model, names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of the tensors that come from the job's start.

    Raises:
        JobError: no tensor's name begins as one of ``start_layers``.
    """
    if not model.start_layers:
        return names
    chosen: set[str] = set()
    for beginning in model.start_layers:
        found = beginnings(names, beginning)
        if not found:
            layers = ", ".join(dict.fromkeys(name.rpartition(".")[0] for name in names))
            remedy = f"give the beginning of one: {layers}"[:400]
            raise JobError("no tensor of the network", where="model.start_layers", value=beginning, remedy=remedy)
        chosen.update(found)
    return tuple(name for name in names if name in chosen)


def misfits(has: Layout, due: Layout) -> str:
    """List in one line the tensors that do not fit, at most ``MOST_NAMED`` of each kind; "" where all fit."""
    both = sorted(set(has) & set(due))
    kinds = {
        "lacks": sorted(set(due) - set(has)),
        "has, and the network does not,": sorted(set(has) - set(due)),
        "has in another shape or type": [
            f"{shown(name)} {_form(has[name])} where {_form(due[name])} is due"
            for name in both
            if has[name] != due[name]
        ],
    }
    parts = [f"{kind} {_some(names)}" for kind, names in kinds.items() if names]
    return f"start does not fit the network: it {'; it '.join(parts)}" if parts else ""


def require_trained(weights: Mapping[str, NDArray[Any]], drawn: Weights, *, where: str, remedy: str) -> None:
    """Refuse weights that no training makes: a value that is not finite, or a pattern that imprints images.

    Raises:
        JobError: names the tensor.
    """
    for name, array in weights.items():
        if not np.isfinite(array).all():
            raise JobError(f"tensor {shown(name)} has a value that is not finite", where=where, remedy=remedy)
    try:
        check_traps(weights, drawn)
    except GateError as refusal:
        raise JobError(f"no weights of a trained network, {refusal.what}", where=where, remedy=remedy) from None


def _form(tensor: Tensor) -> str:
    return f"{tensor.dtype} {tensor.shape}"[:80]


def _some(names: list[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(name if " " in name else shown(name) for name in names[:MOST_NAMED]) + more
