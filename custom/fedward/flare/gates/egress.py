"""Check every answer that leaves a hospital, rebuild it from its parts, and verify that it is protected as agreed.

FLARE's ``DXOFilter`` passes data on when it raises an error, and never checks meta, headers, metrics or data that is
not a DXO. Here ``process`` is overridden: every path ends in a new message built from checked parts, or in a refusal
that holds one line of text from a closed table.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nvflare.apis.dxo import DataKind
from nvflare.apis.fl_constant import FilterKey, FLContextKey, ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import ReservedHeaderKey, Shareable

from fedward.errors import AuditError, GateError, PolicyError, shown
from fedward.flare.gates.audit import note_opened, note_update
from fedward.flare.gates.gate import Gate, gate_state, task_of
from fedward.flare.gates.state import GateState
from fedward.flare.protocol import (
    COUNTS,
    METRICS,
    PART_KINDS,
    PATIENTS,
    REFUSAL,
    UPDATE,
    Reply,
    Task,
    refuse,
    to_shareable,
)
from fedward.flare.refusal import CODES, SENTENCES, Code, public_reason
from fedward.flare.secagg_context import OPENED
from fedward.privacy.attestation import PROOF
from fedward.privacy.disclosure.release import release
from fedward.privacy.disclosure.rule import Rule
from fedward.privacy.outgoing import check_difference, check_length, check_tensors
from fedward.weights import Weights, add, digest

_HEADERS, _DXO = ReservedHeaderKey.HEADERS, "DXO"
_FROM_EXECUTOR = (UPDATE, METRICS, COUNTS)
"""Parts that an executor may pass to the gate; the gate itself makes all others."""


class EgressGate(Gate):
    """Filter of every answer of this site: passes a refusal, metrics, and in a round one protected update.

    Guarantee: a message that leaves holds the return code and, if it is an answer, one DXO with empty meta: metrics
    from the hospital's list, rounded and with its minimum count, and in a round a finite difference of the agreed
    layout, with the protection that job and hospital agreed on. In an encrypted job, updates and counts leave only
    sealed, and the only model that may leave opened is the final one, as the ingress gate verified it. After any error,
    one line of text leaves, and then no answer of this job; where only the hospital's audit log could not record an
    answer, that answer alone does not leave.
    """

    title = "egress gate"

    def process(self, shareable: Shareable, fl_ctx: FLContext) -> Shareable:
        try:
            reason = self.standing(fl_ctx) or self.refused_task(fl_ctx)
            if reason is None:
                return _passed(shareable, fl_ctx)
        except AuditError as error:  # nothing left; whatever comes next is recorded first, or refused too
            self.log_error(fl_ctx, f"{self.title} refused: {error}", fire_event=False)
            reason = self.public_sentence(error)
        except Exception as error:  # noqa: BLE001 - fail closed on any error
            reason = self.fail(error, fl_ctx)
            with contextlib.suppress(Exception):
                self.refused_task(fl_ctx)  # it is told now
        return refuse(reason)


def require_gates(context: FLContext) -> None:
    """Refuse to work where FLARE would not call the gates: a kit without ``privacy.json`` has no control at all.

    Raises:
        GateError: the job's scope at this site does not begin with ``IngressGate`` and with ``EgressGate``.
    """
    from fedward.flare.gates.ingress import IngressGate

    scope = context.get_prop(FLContextKey.SCOPE_OBJECT)
    doors = ((IngressGate, "task_data_filters", FilterKey.IN), (EgressGate, "task_result_filters", FilterKey.OUT))
    for gate, chain, direction in doors:
        filters = getattr(scope, chain, {}).get(direction, [])
        if not filters or type(filters[0]) is not gate:
            raise GateError(f"{gate.title} is not first in this site's privacy.json", remedy="provision the kit anew")


def _passed(shareable: Shareable, context: FLContext) -> Shareable:
    headers = shareable.get(_HEADERS) if isinstance(shareable, Shareable) else None
    if type(headers) is not dict:
        raise GateError("answer has no headers")
    code = headers.get(ReservedHeaderKey.RC, ReturnCode.OK)
    if type(code) is not str or code != ReturnCode.OK:
        return _refusal(shareable, headers, context)
    task, state = task_of(context), gate_state(context)
    parts = _parts(shareable)
    metrics = _metrics(parts.get(METRICS, {}), state, task)
    update = _update(parts.get(UPDATE), headers.get(PROOF), state, task, context)
    if state.job.encryption is None:
        if parts.get(COUNTS):
            raise GateError("counts would leave in the clear")
        _leaves(update, state, context)
        return to_shareable(Reply(metrics=metrics, update=update.made if update else None))
    start = time.perf_counter()
    sealed = _sealed(update, parts.get(COUNTS, {}), headers.get(PATIENTS), state, task)
    if update is not None:
        metrics |= _seal_seconds(time.perf_counter() - start, state)
    _leaves(update, state, context)
    return to_shareable(
        Reply(metrics=metrics, sealed=sealed, model=_opened(state, context) if task is Task.OPEN else None)
    )


def _refusal(shareable: Shareable, headers: Mapping[str, Any], context: FLContext) -> Shareable:
    """Convert the executor's refusal, which is a code, to the gate's own sentence.

    For a refusal by the policy, the gate determines the refused settings itself.
    """
    code = headers.get(REFUSAL)
    if set(shareable) != {_HEADERS}:
        raise GateError("refusal carries a payload")
    if type(code) is not str or code not in CODES:
        raise GateError("refusal is of no known code")
    if code == Code.POLICY:
        try:
            _ = gate_state(context).agreement
        except PolicyError as error:
            return refuse(public_reason(error))
    return refuse(SENTENCES[Code(code)])


def _parts(shareable: Shareable) -> dict[str, Any]:
    """Return the content of each part of an answer, by name; check kinds and names, and drop meta."""
    if set(shareable) != {_HEADERS, _DXO}:
        raise GateError("answer has parts that are not its payload")
    collection = _content(shareable[_DXO], kind=DataKind.COLLECTION, name="answer")
    parts = {}
    for name, part in collection.items():
        if name not in _FROM_EXECUTOR:
            raise GateError(f"payload {shown(name)} is of no kind that may leave")
        parts[name] = _content(part, kind=PART_KINDS[name], name=name)
    return parts


def _content(part: object, *, kind: DataKind, name: str) -> dict[Any, Any]:
    """Return the data of a DXO, which is an object or the table to which FLARE converts it for sending."""
    fields = part if type(part) is dict else getattr(part, "__dict__", {})
    found = fields.get("kind", fields.get("data_kind"))
    if not isinstance(found, str | DataKind) or found != kind:
        reported = shown(found.value if isinstance(found, DataKind) else found)
        raise GateError(f"payload {name} is of kind {reported} where {kind.value} may leave")
    if type(fields.get("data")) is not dict:
        raise GateError(f"payload {name} holds no table")
    content: dict[Any, Any] = fields["data"]
    return content


def _metrics(content: dict[Any, Any], state: GateState, task: Task) -> dict[str, Any]:
    """Rebuild the metrics by the same rules as the executor.

    Raises:
        GateError: the metrics are not those that these rules release.
    """
    private, alone = state.agreement.mechanism != "none", task is Task.ALONE
    decision = release(content, Rule.of(state.job, state.policy.disclosure, private=private, alone=alone))
    if decision.refused:
        raise GateError(f"metrics may not leave: {'; '.join(decision.refused)}")
    return decision.metrics


def _seal_seconds(seconds: float, state: GateState) -> dict[str, Any]:
    """Return the gate's own metric of a round, where the hospital lists it."""
    rule = Rule.of(state.job, state.policy.disclosure, private=state.agreement.mechanism != "none")
    return release({"seal_s": round(seconds, 3)}, rule).metrics


@dataclass(frozen=True, slots=True)
class _Update:
    """A round's protected update, and the model, with its identity, and the round that it answers.

    With noise for the sum, ``sealed`` holds the noised gradients instead, and nothing of them is in the clear.
    """

    made: Weights
    model: Weights
    identity: str
    round_number: int
    sealed: Mapping[str, Any] | None = None


def _update(
    content: dict[Any, Any] | None, proof: object, state: GateState, task: Task, context: FLContext
) -> _Update | None:
    """Return the protected update of a round; each model that came in permits one update."""
    if task is not Task.ROUND:
        if content is not None or proof is not None:
            raise GateError(f"task {task} answers with an update where none is due")
        return None
    hand = state.in_hand
    model, number, hand.model = hand.model, hand.round_number, None
    if content is None:
        raise GateError("round answers without an update")
    if model is None or number is None:
        raise GateError("update answers no model that came through the ingress gate")
    from fedward.flare.gates.update_check import (
        checked_update,  # loaded late: the accountant takes a second, and FLARE's start must not wait for it
    )

    if state.job.noises_sum:
        from fedward.flare.gates.gradient_check import noised_gradients

        sealed = noised_gradients(content, proof, state, round_number=number, base=hand.identity)
        return _Update({}, model, hand.identity, number, sealed)
    update = check_tensors(content, state.layout)
    check_difference(update, model)
    made = check_tensors(checked_update(update, proof, state, round_number=number, context=context), state.layout)
    check_length(made, model, noise_l2=state.noise_l2)
    return _Update(made, model, hand.identity, number)


def _leaves(update: _Update | None, state: GateState, context: FLContext) -> None:
    """Record that a round's update leaves, before it leaves; no update of an earlier round can leave later."""
    if update is not None:
        number, model = update.round_number, update.identity
        entry = state.record.leave(state.job_id, round_number=number, model=model, repeats=state.repeats)
        note_update(state, context, round_number=number, entry=entry)


def _sealed(
    update: _Update | None, counts: Mapping[str, Any], patients: object, state: GateState, task: Task
) -> dict[str, Any]:
    """Build the part of an encrypted job's answer that the server can add but not read, with the id of the key."""
    if patients is not None and type(patients) is not int:
        raise GateError("number of patients is no number")
    if set(counts) - _COUNTS.get(task, frozenset()):
        raise GateError(f"task {task} answers with counts where none are due")
    sealed: dict[str, Any] = {**state.secure_aggregation.facts, **state.secure_aggregation.seal_counts(counts)}
    if update is not None and update.sealed is not None:
        sealed |= update.sealed
    elif update is not None:
        model = add(update.model, update.made)
        sealed |= state.secure_aggregation.models.seal(
            model, patients=patients, round_number=update.round_number, base=update.identity
        )
    hand = state.in_hand
    if task is Task.ADMIT:
        sealed |= state.secure_aggregation.admission
    if task is Task.KEY:
        sealed |= state.secure_aggregation.make_job_key()
    if task is Task.UNMASK:
        sealed |= hand.shares
    if task is Task.FINAL and hand.model is not None:
        sealed[OPENED] = digest(hand.model)
        if hand.after > 0:
            sealed |= state.secure_aggregation.confirmations.of_final()
    for purpose in hand.sums if task is Task.CONFIRM else ():
        sealed |= state.secure_aggregation.confirmations.of_counts(purpose)
    return sealed


def _opened(state: GateState, context: FLContext) -> Weights:
    """Return the final model, as the ingress gate verified it: one per job, and only if the job sets ``open_final``.

    The opening is recorded before the model is returned.
    """
    hand, asked = state.in_hand, state.job.encryption
    model, hand.model = hand.model, None
    if asked is None or not asked.open_final:
        raise GateError("this job's final model stays with the hospitals")
    if model is None or hand.after == 0:
        raise GateError("no final model came through the ingress gate")
    run = state.record.require(state.job_id)
    if run.final is None:
        raise GateError("no final model was settled here")
    state.record.reveal(state.job_id, run.final)
    note_opened(state, context)
    return model


_COUNTS: Mapping[Task, frozenset[str]] = {Task.FINAL: frozenset({"cohort", "scores"})}
"""Task -> purposes of the counts that its answer may hold."""
