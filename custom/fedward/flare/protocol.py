"""What server and sites say to each other: task names, one reply a task, weights as FLARE ``DXO``.

A reply is a ``DXO`` of kind COLLECTION. To the server it has at most these parts: ``metrics`` (METRICS: plain numbers
and short fixed words); ``update`` (WEIGHT_DIFF: float32 differences, never full weights) of a job in the clear;
``sealed`` (APP_DEFINED: messages of ``fedward.encryption``) of an encrypted one; ``model`` (WEIGHTS) where a hospital
opens the final model of an encrypted job. Nothing else is ever sent, so that a site's gate can know every payload by
its kind. From a site's executor to its gate there may be ``counts`` (ANALYTIC) beside, which the gate seals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nvflare.apis.dxo import DXO, DataKind, from_shareable
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.shareable import Shareable, make_reply

from fedward.flare.refusal import Code, Sentence, one_line
from fedward.privacy.policy.canonical_job import Task as Task
from fedward.weights import Weights

ROUND_NUMBER = "fedward_round_number"
AFTER = "fedward_after"
"""Header of a task that goes with a model: how many rounds made it; 0 is the initial one."""
ROSTER = "fedward_roster"
"""Header of each task of an encrypted job after admission: the nonce of each hospital that takes part, by its id."""
PATIENTS = "fedward_patients"
"""Header from a site's executor to its gate, never sent: what the site counts for where weighting is by patients."""
REFUSAL = "fedward_refusal"
REFUSED_AT_DOOR = "fedward_refused_at_door"
"""Set by a site's IngressGate in the place of what it refused, with the reason; the executor answers
``Code.AT_DOOR`` and never hands the text on."""
UPDATE, METRICS, SEALED, COUNTS, MODEL = "update", "metrics", "sealed", "counts", "model"
PART_KINDS = {
    UPDATE: DataKind.WEIGHT_DIFF,
    METRICS: DataKind.METRICS,
    SEALED: DataKind.APP_DEFINED,
    COUNTS: DataKind.ANALYTIC,
    MODEL: DataKind.WEIGHTS,
}
"""Every part that a reply may have, and its kind."""
COUNTED = {"scores": "pooled", "cohort": "cohort_statistics"}
"""What a sum of counts is for -> the metrics that a hospital tells of it; one that lists them takes part."""
CONFIRM = "confirm "
"""In a site's ``sealed`` part, before the purpose of a sum: that it opened that sum."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A site's answer to one task.

    Attributes:
        metrics: JSON-ready numbers and words.
        update: difference to the model that the task carried, or None for a task that trains nothing.
        sealed: what the site's gate sealed: message by purpose, the key's id and scheme, how many values it clipped.
        model: the final model of an encrypted job, opened.
        counts: for the site's own gate, never sent as they are: int64 vectors by purpose.
        patients: for the site's own gate, never sent: training patients.
        proof: for the site's own gate, never sent: which entry of the ledger the update was charged to.
    """

    metrics: Mapping[str, Any] = field(default_factory=dict)
    update: Weights | None = None
    sealed: Mapping[str, Any] | None = None
    model: Weights | None = None
    counts: Mapping[str, Any] | None = None
    patients: int | None = None
    proof: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A global model as the server has it.

    Attributes:
        after: rounds that made it; 0 is the initial one.
        weights: in a job in the clear, the model itself.
        sealed: in an encrypted job the sum that hospitals open; None after 0 rounds, since it follows from the seed.
        confirmed: hospitals' sum of words that they opened it.
    """

    after: int
    weights: Weights | None = None
    sealed: bytes | None = None
    confirmed: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sum:
    """A sum that is no model, for a hospital to open.

    Attributes:
        purpose: what it counts.
        sealed: the message.
        confirmed: hospitals' sum of words that they opened it.
    """

    purpose: str
    sealed: bytes
    confirmed: bytes | None = None


def question(
    carried: Model | Sum | Sequence[Sum] | Weights | None,
    *,
    round_number: int,
    wait_s: float,
    roster: Mapping[str, str] | None = None,
) -> Shareable:
    """The data of a task: a global model, a sum, several or nothing, and the round's number.

    ``wait_s`` is how long a site waits, after its answer, before it asks for the next task. ``roster`` goes with each
    task of an encrypted job after admission.
    """
    from nvflare.private.defs import TaskConstant

    data = _payload(carried)
    if isinstance(carried, Model):
        data.set_header(AFTER, carried.after)
    if roster is not None:
        data.set_header(ROSTER, dict(roster))
    data.set_header(ROUND_NUMBER, round_number)
    data.set_header(TaskConstant.WAIT_TIME, wait_s)
    return data


def _payload(carried: Model | Sum | Sequence[Sum] | Weights | None) -> Shareable:
    if isinstance(carried, Sum):
        return sealed_payload(carried.purpose, carried.sealed, carried.confirmed)
    if isinstance(carried, Model):
        if carried.sealed is not None:
            return sealed_payload(MODEL, carried.sealed, carried.confirmed)
        carried = carried.weights
    if isinstance(carried, dict):
        return DXO(data_kind=DataKind.WEIGHTS, data=dict(carried)).to_shareable()
    if carried is None:
        return Shareable()
    return DXO(data_kind=DataKind.APP_DEFINED, data={one.purpose: one.sealed for one in carried}).to_shareable()


def sealed_payload(purpose: str, sealed: bytes, confirmed: bytes | None = None) -> Shareable:
    """A task's payload that only a hospital can open."""
    content = {"purpose": purpose, "sum": sealed, "confirmed": confirmed}
    return DXO(data_kind=DataKind.APP_DEFINED, data=content).to_shareable()


def opened_counts(purpose: str, counts: Any) -> Shareable:
    """What a site's gate hands its executor in the place of a sum that it opened."""
    return DXO(data_kind=DataKind.ANALYTIC, data={"purpose": purpose, "counts": counts}).to_shareable()


def content_of(data: Shareable, kind: DataKind) -> dict[str, Any]:
    """What a task carries, of the kind that is due."""
    dxo = from_shareable(data)
    if dxo.data_kind != kind:
        raise ValueError(f"a task carries {dxo.data_kind!r} where {kind!r} was expected")
    return dict(dxo.data)


def global_weights(data: Shareable) -> Weights:
    """The model that a task carries, as a site's gate handed it on."""
    return content_of(data, DataKind.WEIGHTS)


def to_shareable(reply: Reply) -> Shareable:
    """A site's answer, ready to be sent through the site's filters."""
    given = {name: getattr(reply, name) for name in PART_KINDS}
    parts = {
        name: DXO(data_kind=PART_KINDS[name], data=dict(content))
        for name, content in given.items()
        if content is not None
    }
    return DXO(data_kind=DataKind.COLLECTION, data=parts).to_shareable()


def to_reply(result: Shareable) -> Reply:
    """The inverse of ``to_shareable`` at the server; refuses every other kind of payload."""
    dxo = from_shareable(result)
    if dxo.data_kind != DataKind.COLLECTION or not set(dxo.data) <= {UPDATE, METRICS, SEALED, MODEL}:
        raise ValueError(f"a reply of kind {dxo.data_kind!r} where a collection of known parts was expected")
    for name, part in dxo.data.items():
        if type(part) is not DXO or type(part.data) is not dict:
            raise ValueError(f"part {name} is no table where one was expected")
        if part.data_kind != PART_KINDS[name]:
            raise ValueError(f"part {name} of kind {part.data_kind!r} where {PART_KINDS[name]!r} was expected")
    found = {name: part.data for name, part in dxo.data.items()}
    return Reply(
        metrics=found.get(METRICS, {}), update=found.get(UPDATE), sealed=found.get(SEALED), model=found.get(MODEL)
    )


def refuse(reason: Code | Sentence) -> Shareable:
    """The answer of a site that did not do a task; it is asked again next round.

    Args:
        reason: from an executor to its gate a code; from the gate its sentence.
    """
    reply = make_reply(ReturnCode.EXECUTION_EXCEPTION)
    reply.set_header(REFUSAL, reason.value if isinstance(reason, Code) else reason)
    return reply


def refusal(result: Shareable) -> str | None:
    """Why a site did not do its task, as one printable line of at most 300 characters, or None when it did."""
    code = result.get_return_code(ReturnCode.OK)
    if code == ReturnCode.OK:
        return None
    message = result.get_header(REFUSAL)
    return (one_line(message) if type(message) is str else "") or one_line(f"site answered {code}")
