"""What server and sites say to each other: task names, one reply a task, weights as FLARE ``DXO``.

A reply is a ``DXO`` of kind COLLECTION with at most two parts: ``update`` (WEIGHT_DIFF: float32 differences, never full
weights) and ``metrics`` (METRICS: plain numbers and short fixed words). Nothing else is ever sent, so that a site's
gate can know every payload by its kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from nvflare.apis.dxo import DXO, DataKind, from_shareable
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.shareable import Shareable, make_reply

from fedward.training.weights import Weights


class Task(StrEnum):
    """What the server may ask of a site, in the order in which a job asks it."""

    ADMIT = "fedward_admit"
    ROUND = "fedward_round"
    FINAL = "fedward_final"
    ALONE = "fedward_alone"


ROUND_NUMBER = "fedward_round_number"
REFUSAL = "fedward_refusal"
REFUSED_AT_DOOR = "fedward_refused_at_door"
"""Set by a site's IngressGate in the place of what it refused, with the reason; the executor only passes it on."""
UPDATE, METRICS = "update", "metrics"
MODEL_FILE = "FL_global_model.pt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A site's answer to one task.

    Attributes:
        metrics: JSON-ready numbers and words.
        update: difference to the model that the task carried, or None for a task that trains nothing.
        proof: for the site's own gate, never sent: which entry of the ledger the update was charged to.
    """

    metrics: Mapping[str, Any] = field(default_factory=dict)
    update: Weights | None = None
    proof: Mapping[str, Any] | None = None


def question(weights: Weights | None, *, round_number: int, wait_s: float) -> Shareable:
    """The data of a task: the global model, or nothing, and the round's number.

    ``wait_s`` is how long a site waits, after its answer, before it asks for the next task.
    """
    from nvflare.private.defs import TaskConstant

    data = Shareable() if weights is None else DXO(data_kind=DataKind.WEIGHTS, data=dict(weights)).to_shareable()
    data.set_header(ROUND_NUMBER, round_number)
    data.set_header(TaskConstant.WAIT_TIME, wait_s)
    return data


def global_weights(data: Shareable) -> Weights:
    """The model that a task carries."""
    dxo = from_shareable(data)
    if dxo.data_kind != DataKind.WEIGHTS:
        raise ValueError(f"a task carries {dxo.data_kind!r} where a model was expected")
    return dict(dxo.data)


def to_shareable(reply: Reply) -> Shareable:
    """A site's answer, ready to be sent through the site's filters."""
    parts = {METRICS: DXO(data_kind=DataKind.METRICS, data=dict(reply.metrics))}
    if reply.update is not None:
        parts[UPDATE] = DXO(data_kind=DataKind.WEIGHT_DIFF, data=dict(reply.update))
    return DXO(data_kind=DataKind.COLLECTION, data=parts).to_shareable()


def to_reply(result: Shareable) -> Reply:
    """The inverse of ``to_shareable``; refuses every other kind of payload."""
    dxo = from_shareable(result)
    if dxo.data_kind != DataKind.COLLECTION or not set(dxo.data) <= {UPDATE, METRICS}:
        raise ValueError(f"a reply of kind {dxo.data_kind!r} where a collection of update and metrics was expected")
    update, metrics = dxo.data.get(UPDATE), dxo.data.get(METRICS)
    if update is not None and update.data_kind != DataKind.WEIGHT_DIFF:
        raise ValueError(f"an update of kind {update.data_kind!r} where a difference was expected")
    return Reply(metrics={} if metrics is None else metrics.data, update=None if update is None else update.data)


def refuse(reason: str) -> Shareable:
    """The answer of a site that did not do a task; it is asked again next round.

    Args:
        reason: one line without patient data.
    """
    reply = make_reply(ReturnCode.EXECUTION_EXCEPTION)
    reply.set_header(REFUSAL, reason)
    return reply


def refusal(result: Shareable) -> str | None:
    """Why a site did not do its task, or None when it did."""
    code = result.get_return_code(ReturnCode.OK)
    if code == ReturnCode.OK:
        return None
    return str(result.get_header(REFUSAL) or f"site answered {code}")
