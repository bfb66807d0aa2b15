"""The door in: what the server sends is looked at before any filter of the job and before the executor.

A filter cannot answer in the executor's place. What is refused reaches the executor as a message with nothing in it but
the header ``REFUSED_AT_DOOR``; it answers with that reason and does nothing else.
"""

from __future__ import annotations

import math
from typing import Any

from nvflare.apis.dxo import DataKind
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import ReservedHeaderKey, Shareable

from fedward.errors import GateRefused
from fedward.flare.door import Door, Gate, open_door, task_of
from fedward.flare.protocol import REFUSED_AT_DOOR, ROUND_NUMBER, Task, question
from fedward.privacy.incoming import check_initial, check_jump, check_traps
from fedward.privacy.payload import check_tensors, layout_hash, layout_of
from fedward.training.weights import Weights

_CARRIES_MODEL = frozenset({Task.ROUND, Task.FINAL})
_HEADERS, _DXO = ReservedHeaderKey.HEADERS, "DXO"


class IngressGate(Gate):
    """Looks at every task that the server sends; lets through what the job may bring, rebuilt from its parts.

    Guarantee: the executor sees a model only if its names, shapes, dtypes and architecture are the job's, its values
    are finite, and it passes ``fedward.privacy.incoming``; of the headers it sees the round's number and FLARE's
    cookies. Whatever goes wrong, it sees a refusal.
    """

    title = "ingress gate"

    def process(self, shareable: Shareable, fl_ctx: FLContext) -> Shareable:
        try:
            reason = self.standing(fl_ctx)
            if reason is None:
                return self._admit(shareable, fl_ctx)
        except Exception as error:  # noqa: BLE001 - fail closed, whatever it was
            reason = self.latch(error, fl_ctx)
        refused = Shareable()
        refused.set_header(REFUSED_AT_DOOR, reason)
        return refused

    def _admit(self, shareable: Shareable, context: FLContext) -> Shareable:
        headers = shareable.get(_HEADERS)
        if type(headers) is not dict or REFUSED_AT_DOOR in headers:
            raise GateRefused("task has headers that a server does not set")
        task, door = task_of(context), open_door(context)
        door.in_hand.model = None
        number = headers.get(ROUND_NUMBER)
        if type(number) is not int or not -1 <= number < door.job.federation.rounds:
            raise GateRefused("task has no round's number of this job")
        model = None
        if task in _CARRIES_MODEL:
            model = _model(shareable, door, task=task, number=number)
        elif _DXO in shareable or headers.get(ReservedHeaderKey.CONTENT_TYPE) is not None:
            raise GateRefused(f"task {task} brings a payload where none is due")
        return _rebuilt(model, number=number, headers=headers)


def _model(shareable: Shareable, door: Door, *, task: Task, number: int) -> Weights:
    content = shareable.get(_DXO)
    if type(content) is not dict or content.get("kind") != DataKind.WEIGHTS:
        raise GateRefused(f"task {task} brings no model")
    model = check_tensors(content.get("data"), door.layout)
    if _architecture(model, door) != door.architecture:
        raise GateRefused("model is of another architecture than the job's")
    if task is Task.ROUND and number < 0:
        raise GateRefused("round has no number")
    hand = door.in_hand
    if task is Task.ROUND and number == 0:
        check_initial(model, door.initial)
    else:
        upto = number if task is Task.ROUND else door.job.federation.rounds
        last, since = (door.initial, 0) if hand.last is None else (hand.last, hand.last_number)
        check_jump(model, last, rounds=upto - since, noise_l2=_noise_l2(door))
    check_traps(model, door.initial)
    hand.round_number, hand.model = number, {name: model[name].copy() for name in model}
    hand.last_number, hand.last = max(number, hand.last_number), hand.model
    return model


def _architecture(model: Weights, door: Door) -> str:
    return layout_hash(layout_of(model), network=door.job.model.network, args=door.job.model.args)


def _noise_l2(door: Door) -> float:
    """Expected L2 norm of the noise on one site's update, which the mean of several only lessens."""
    agreed = door.agreement
    if agreed.mechanism != "update-noise" or agreed.clip_norm_l2 is None:
        return 0.0
    values = sum(math.prod(tensor.shape) for tensor in door.layout.values())
    return agreed.noise_multiplier * agreed.clip_norm_l2 * math.sqrt(values)


def _rebuilt(model: Weights | None, *, number: int, headers: dict[str, Any]) -> Shareable:
    """The task from its checked parts. FLARE's server finds the task again by the cookies, which travel back."""
    task = question(model, round_number=number, wait_s=0.0)
    cookies = headers.get(ReservedHeaderKey.COOKIE_JAR)
    if cookies is not None:
        if type(cookies) is not dict or not all(type(word) is str for pair in cookies.items() for word in pair):
            raise GateRefused("task has cookies that are not words")
        task.set_cookie_jar(dict(cookies))
    return task
