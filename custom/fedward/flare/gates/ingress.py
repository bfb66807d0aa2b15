"""Check every task from the server before any filter of the job and before the executor.

A filter cannot answer in the executor's place. A refused task reaches the executor as a message that holds the
header ``REFUSED_AT_DOOR`` and FLARE's cookies; the executor answers that the gate refused, and does nothing else.
"""

from __future__ import annotations

import contextlib
from typing import Any

from nvflare.apis.dxo import DataKind
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import ReservedHeaderKey, Shareable

from fedward.errors import GateError
from fedward.flare.gates.gate import Gate, gate_state, task_of
from fedward.flare.gates.state import GateState, identity_of
from fedward.flare.protocol import (
    AFTER,
    GRAPH,
    JOB_KEY,
    MEMBERS,
    MODEL,
    REFUSED_AT_DOOR,
    ROSTER,
    ROUND_NUMBER,
    SEALED_FIELDS,
    STEPS,
    Task,
    opened_counts,
    question,
)
from fedward.privacy.incoming import check_initial, check_jump, check_traps
from fedward.privacy.outgoing import check_tensors
from fedward.weights import Weights, layout_hash, layout_of

_CARRIES_MODEL = frozenset({Task.ROUND, Task.VALIDATE, Task.FINAL, Task.OPEN})
_HEADERS, _DXO = ReservedHeaderKey.HEADERS, "DXO"


class IngressGate(Gate):
    """Filter of every task from the server: passes the content that the job allows, rebuilt from its parts.

    Guarantee: the executor sees a model only if its names, shapes, dtypes and architecture are the job's, its values
    are finite, and it passes ``fedward.privacy.incoming``; in an encrypted job only if it is the sum of at least three
    hospitals' models of the round before, or follows from the job's seed. It sees a task only in the job's order
    (``flare.gates.task_order``), in a run that the hospital's record holds. Of the headers it sees the round's number,
    FLARE's cookies, and where the job allows it a wish for fewer local steps. After any error it sees a refusal.
    """

    title = "ingress gate"

    def process(self, shareable: Shareable, fl_ctx: FLContext) -> Shareable:
        try:
            self.refused_task(fl_ctx)  # of a task before this one
            reason = self.standing(fl_ctx)
            if reason is None:
                return self._admit(shareable, fl_ctx)
        except Exception as error:  # noqa: BLE001 - fail closed on any error
            reason = self.fail(error, fl_ctx)
        refused = _refused(reason)
        # without cookies the server cannot match the refusal to its task, and asks again until the time-out
        with contextlib.suppress(Exception):
            _with_cookies(refused, shareable[_HEADERS])
        return refused

    def _admit(self, shareable: Shareable, context: FLContext) -> Shareable:
        headers = shareable.get(_HEADERS)
        if type(headers) is not dict or REFUSED_AT_DOOR in headers:
            raise GateError("task has headers that a server does not set")
        task, state = task_of(context), gate_state(context)
        state.in_hand.model, state.in_hand.sums, state.in_hand.shares = None, (), {}
        if state.job.encryption is not None and not state.job.is_masked:
            state.secure_aggregation.require_key()  # keys of a masked run are made once the run has begun
        number = headers.get(ROUND_NUMBER)
        if type(number) is not int or not -1 <= number < state.job.federation.rounds:
            raise GateError("task has no round's number of this job")
        purpose, sealed, confirmed, _ = _sealed(shareable, task=task) if task is Task.POOL else ("", None, None, None)
        state.enter(task, number=number, purpose=purpose)
        _take_keys(headers, state, task=task)
        if task in _CARRIES_MODEL:
            steps = _steps(headers, state, task=task)
            model = _model(shareable, state, task=task, number=number)
            passed = question(model, round_number=number, steps=steps)
        elif task is Task.POOL:
            passed = opened_counts(purpose, state.secure_aggregation.open_counts(purpose, sealed))
            state.secure_aggregation.confirmations.require_counts(confirmed, purpose)
            passed.set_header(ROUND_NUMBER, number)
        elif task is Task.UNMASK:
            requests = _table(shareable, "requests to open a sum")
            state.in_hand.shares = state.secure_aggregation.unmask(requests, round_number=number)
            passed = question(None, round_number=number)
        elif task is Task.CONFIRM:
            state.in_hand.sums = _counted(shareable, state)
            passed = question(None, round_number=number)
        elif _DXO in shareable or headers.get(ReservedHeaderKey.CONTENT_TYPE) is not None:
            raise GateError(f"task {task} brings a payload where none is due")
        else:
            passed = question(None, round_number=number)
        return _with_cookies(passed, headers)


def _refused(reason: str) -> Shareable:
    refused = Shareable()
    refused.set_header(REFUSED_AT_DOOR, reason)
    return refused


def _take_keys(headers: dict[str, Any], state: GateState, *, task: Task) -> None:
    """Take the hospitals and keys of an encrypted job from a task's headers, and refuse any that do not fit."""
    if state.job.encryption is None:
        return
    if state.job.is_masked:
        state.secure_aggregation.require_key()
    if task is Task.ADMIT:
        return
    state.secure_aggregation.take_roster(headers.get(ROSTER))
    if MEMBERS in headers:
        state.secure_aggregation.take_members(headers[MEMBERS], headers.get(GRAPH))
    if JOB_KEY in headers:
        brought = headers[JOB_KEY]
        if type(brought) is not dict or set(brought) != {"maker", "sealed"}:
            raise GateError("task brings no key of the job")
        state.secure_aggregation.take_job_key(brought["maker"], brought["sealed"])
    if state.job.is_masked and task is not Task.KEY:
        state.secure_aggregation.require_graph()


def _steps(headers: dict[str, Any], state: GateState, *, task: Task) -> int | None:
    """Return the local steps that the server asks for; how many are taken the hospital decides."""
    steps = headers.get(STEPS)
    if steps is None:
        return None
    if type(steps) is not int or steps < 1 or task is not Task.ROUND:
        raise GateError("task asks for a number of steps that is none")
    if state.job.federation.stragglers != "fewer_steps":
        raise GateError("task asks for fewer steps than the job's, which the job does not allow")
    return steps


def _model(shareable: Shareable, state: GateState, *, task: Task, number: int) -> Weights:
    hand, encrypted = state.in_hand, state.job.encryption is not None
    if encrypted:
        model, after, found = _opened(shareable, state, task=task, number=number)
    else:
        model, found = _clear(shareable, state, task=task), None
        after = number if task is Task.ROUND else state.job.federation.rounds
    if _architecture(model, state) != state.architecture:
        raise GateError("model is of another architecture than the job's")
    if after == 0:
        check_initial(model, state.initial)
    else:
        last, since = (state.initial, 0) if hand.last is None else (hand.last, hand.last_number)
        check_jump(model, last, rounds=after - since, noise_l2=state.noise_l2)
    check_traps(model, state.initial)
    named = identity_of(model, sum=found, after=after, encrypted=encrypted)
    if task is Task.ROUND:
        if state.job.noises_sum:
            named = named._replace(model=state.secure_aggregation.gradients.state)
        state.record.require(state.job_id).require_round(number, model=named.model, most=state.repeats)
    elif task is Task.VALIDATE:
        state.record.validate(state.job_id, named)
    elif task is Task.FINAL:
        state.record.finish(state.job_id, named)
    hand.round_number, hand.after, hand.identity = number, after, named.model
    hand.model = {name: model[name].copy() for name in model}
    hand.last_number, hand.last = max(number, hand.last_number), hand.model
    return model


def _clear(shareable: Shareable, state: GateState, *, task: Task) -> Weights:
    content = shareable.get(_DXO)
    if type(content) is not dict or content.get("kind") != DataKind.WEIGHTS:
        raise GateError(f"task {task} brings no model")
    return check_tensors(content.get("data"), state.layout)


def _opened(shareable: Shareable, state: GateState, *, task: Task, number: int) -> tuple[Weights, int, str | None]:
    """Return the model of an encrypted job, the number of its rounds, and its sum's identity (initial model: None).

    The model is the hospitals' sum, never one that the server chose.
    """
    after, limits = shareable.get_header(AFTER), state.job.federation
    if type(after) is not int or not 0 <= after <= limits.rounds:
        raise GateError("model does not say which round made it")
    if task is Task.ROUND and after != number:
        raise GateError("model is not of the round before")
    if (task is Task.VALIDATE or (task is Task.FINAL and limits.select == "last")) and after != limits.rounds:
        raise GateError("model is not that of the last round")
    if after == 0:
        if _DXO in shareable:
            raise GateError(f"task {task} brings a payload where none is due")
        return {name: array.copy() for name, array in state.initial.items()}, 0, None
    purpose, sealed, confirmed, proof = _sealed(shareable, task=task)
    if purpose != MODEL:
        raise GateError(f"task {task} brings no model")
    weights, found = state.secure_aggregation.rounds.open(sealed, round_number=after - 1, proof=proof)
    model = check_tensors(weights, state.layout)
    if task is Task.OPEN and state.secure_aggregation.confirmations.require_final(confirmed) != (after, found):
        raise GateError("model is not the final one that this hospital confirmed")
    return model, after, found


def _counted(shareable: Shareable, state: GateState) -> tuple[str, ...]:
    """Open each sum of counts that a task carries, and return their purposes."""
    sums = _table(shareable, "sums to confirm")
    for purpose, sealed in sums.items():
        state.secure_aggregation.open_counts(purpose, sealed)
    return tuple(sums)


def _table(shareable: Shareable, what: str) -> dict[Any, Any]:
    """Return the table that a task of an encrypted job carries."""
    content = shareable.get(_DXO)
    if type(content) is not dict or content.get("kind") != DataKind.APP_DEFINED:
        raise GateError(f"task brings no {what}")
    table = content.get("data")
    if type(table) is not dict:
        raise GateError(f"task brings no {what}")
    return table


def _sealed(shareable: Shareable, *, task: Task) -> tuple[str, object, object, object]:
    """Return purpose, message, confirmation and proof of a sum, as they were received."""
    content = shareable.get(_DXO)
    if type(content) is not dict or content.get("kind") != DataKind.APP_DEFINED:
        raise GateError(f"task {task} brings no sealed sum where the job is encrypted")
    data = content.get("data")
    if type(data) is not dict or set(data) != SEALED_FIELDS or type(data["purpose"]) is not str:
        raise GateError(f"task {task} brings no sealed sum where the job is encrypted")
    return data["purpose"], data["sum"], data["confirmed"], data["proof"]


def _architecture(model: Weights, state: GateState) -> str:
    return layout_hash(layout_of(model), network=state.job.model.network, args=state.job.model.args)


def _with_cookies(task: Shareable, headers: dict[str, Any]) -> Shareable:
    """Add the cookies by which FLARE's server recognises the task, and return the task; the answer returns them."""
    cookies = headers.get(ReservedHeaderKey.COOKIE_JAR)
    if cookies is not None:
        if type(cookies) is not dict or not all(type(word) is str for pair in cookies.items() for word in pair):
            raise GateError("task has cookies that are not words")
        task.set_cookie_jar(dict(cookies))
    return task
