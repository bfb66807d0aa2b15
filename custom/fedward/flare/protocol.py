"""Define the messages between server and sites: task names, one reply per task, weights as FLARE ``DXO``.

A reply is a ``DXO`` of kind COLLECTION. To the server it has at most these parts: ``metrics`` (METRICS: plain numbers
and short fixed strings); ``update`` (WEIGHT_DIFF: float32 differences, never full weights) of an unencrypted job;
``sealed`` (APP_DEFINED: messages of ``fedward.encryption``) of an encrypted job; ``model`` (WEIGHTS) where a hospital
opens the final model of an encrypted job. No other part is ever sent, so that a site's gate recognises every payload by
its kind. From a site's executor to its gate, a reply may also have ``counts`` (ANALYTIC), which the gate seals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nvflare.apis.dxo import DXO, DataKind, from_shareable
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.shareable import ReservedHeaderKey, Shareable, make_reply

from fedward.encryption.sums import pack_sums
from fedward.flare.refusal import Code, Sentence, one_line
from fedward.privacy.policy.canonical_job import Task as Task
from fedward.weights import Weights

ROUND_NUMBER = "fedward_round_number"
AFTER = "fedward_after"
"""Header of a task that carries a model: number of rounds that made the model; 0 is the initial model."""
ROSTER = "fedward_roster"
"""Header of each task of an encrypted job after admission: nonce of each participating hospital, by hospital id."""
MEMBERS, JOB_KEY, GRAPH = "fedward_members", "fedward_job_key", "fedward_graph"
"""Headers of a task of a masked job after admission, for a site that does not have them yet: the certificate and signed
public key of each hospital, by hospital id; the job's key, as its ``maker`` sealed it to this site; and what each
hospital drew for a sparse mask graph, signed, by hospital id."""
STEPS = "fedward_steps"
"""Header of a round's task: most local steps that a slow site is asked for; it never takes more than the job's."""
PATIENTS = "fedward_patients"
"""Header from a site's executor to its gate, never sent: number of training patients, for weighting by patients."""
REFUSAL = "fedward_refusal"
REFUSED_AT_DOOR = "fedward_refused_at_door"
"""Header that a site's ``IngressGate`` sends in place of a refused task, with the reason; the executor answers
``Code.AT_DOOR`` and never forwards the text."""
UPDATE, METRICS, SEALED, COUNTS, MODEL = "update", "metrics", "sealed", "counts", "model"
_KINDS = (DataKind.WEIGHT_DIFF, DataKind.METRICS, DataKind.APP_DEFINED, DataKind.ANALYTIC, DataKind.WEIGHTS)
PART_KINDS = dict(zip((UPDATE, METRICS, SEALED, COUNTS, MODEL), _KINDS, strict=True))
"""Parts that a reply may have, each with its kind."""
SEALED_FIELDS = dict.fromkeys(("purpose", "sum", "confirmed", "proof")).keys()
"""Fields of a payload that carries a sum for hospitals to open, in order."""
COUNTED = {"scores": "pooled", "cohort": "cohort_statistics"}
"""Purpose of a sum of counts -> metrics that a hospital reports from it; a hospital that lists them takes part."""
CONFIRM = "confirm "
"""Prefix of a sum's purpose in a site's ``sealed`` part: confirms that the site opened that sum."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A site's answer to one task.

    Attributes:
        metrics: JSON-ready numbers and strings.
        update: difference to the model that the task carried, or None for a task that trains nothing.
        sealed: content sealed by the site's gate: message by purpose, key's id and scheme, number of clipped values.
        model: the final model of an encrypted job, opened.
        counts: for the site's own gate, never sent as they are: int64 vectors by purpose.
        patients: for the site's own gate, never sent: training patients.
        proof: for the site's own gate, never sent: entry of the ledger to which the update was charged.
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
        after: number of rounds that made it; 0 is the initial model.
        weights: the model itself, in an unencrypted job.
        sealed: the sum that hospitals open, in an encrypted job; None after 0 rounds: that model follows from the seed.
        confirmed: sum of the hospitals' confirmations that they opened it.
        proof: of a sum of models that were compared, ``encryption.distances.sketched_sum.SketchedSum``.
        earlier: sums of the rounds before that one hospital has not had, in a job with noise for the sum.
    """

    after: int
    weights: Weights | None = None
    sealed: bytes | None = None
    confirmed: bytes | None = None
    proof: bytes | None = None
    earlier: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sum:
    """A sum for a hospital to open that is not a model.

    Attributes:
        purpose: quantity that it counts.
        sealed: the message.
        confirmed: sum of the hospitals' confirmations that they opened it.
    """

    purpose: str
    sealed: bytes
    confirmed: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unmask:
    """Request to one hospital to help open masked sums.

    Attributes:
        requests: purpose -> ``UnmaskRequest.plain``.
    """

    requests: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskedRun:
    """Hospitals and key of a masked job, as the server has them to forward.

    Attributes:
        members: hospital -> its ``certificate``, ``public`` key, ``signature`` and whom it ``introduces``.
        maker: hospital that made the job's key; None before it has.
        sealed: hospital -> the job's key, sealed to it.
        drawn: hospital -> ``seed`` and ``signature`` of its part of a sparse mask graph; None: the graph is complete.
    """

    members: Mapping[str, Mapping[str, Any]]
    maker: str | None = None
    sealed: Mapping[str, bytes] = field(default_factory=dict)
    drawn: Mapping[str, Mapping[str, bytes]] | None = None

    @property
    def seeds(self) -> dict[str, bytes] | None:
        """Seed of each hospital in a sparse mask graph; None: the graph is complete."""
        return None if self.drawn is None else {site: content["seed"] for site, content in self.drawn.items()}

    def headers(self, site: str) -> dict[str, Any]:
        """Return the headers of a task for one hospital."""
        found: dict[str, Any] = {MEMBERS: {name: dict(content) for name, content in self.members.items()}}
        if self.maker is not None:
            found[JOB_KEY] = {"maker": self.maker, "sealed": self.sealed.get(site)}
        if self.drawn is not None:
            found[GRAPH] = {name: dict(content) for name, content in self.drawn.items()}
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskedSum:
    """Sum with its masks still on, as the server keeps it until hospitals have helped to take them off.

    Attributes:
        purpose: of the sum.
        sealed: the message, with the hospitals in it.
        shares: their commitments and packages, one hospital's after the other's.
        seed: of the sketches by which its hospitals were chosen; empty: all were summed.
        sketches: number of hospitals that must add their shares of these.
    """

    purpose: str
    sealed: bytes
    shares: bytes
    seed: bytes = b""
    sketches: int = 0


Payload = Model | Sum | Unmask | Sequence[Sum] | Weights | None
"""What a task can carry."""


def question(
    carried: Payload,
    *,
    round_number: int,
    roster: Mapping[str, str] | None = None,
    steps: int | None = None,
    headers: Mapping[str, Any] | None = None,
) -> Shareable:
    """Build the data of a task: what it carries, and the round's number.

    ``roster``: of an encrypted job after admission. ``steps``: for a site that is asked for fewer local steps.
    ``headers``: ``MaskedRun.headers``, for a site that does not have them yet.
    """
    data = _payload(carried)
    if isinstance(carried, Model):
        data.set_header(AFTER, carried.after)
    if roster is not None:
        data.set_header(ROSTER, dict(roster))
    if steps is not None:
        data.set_header(STEPS, steps)
    for name, content in (headers or {}).items():
        data.set_header(name, content)
    data.set_header(ROUND_NUMBER, round_number)
    return data


def _payload(carried: Payload) -> Shareable:
    if isinstance(carried, Unmask):
        content = {purpose: dict(request) for purpose, request in carried.requests.items()}
        return DXO(data_kind=DataKind.APP_DEFINED, data=content).to_shareable()
    if isinstance(carried, Sum):
        return sealed_payload(carried.purpose, carried.sealed, carried.confirmed)
    if isinstance(carried, Model):
        if carried.sealed is not None:
            sums = pack_sums([*carried.earlier, carried.sealed]) if carried.earlier else carried.sealed
            return sealed_payload(MODEL, sums, carried.confirmed, carried.proof)
        carried = carried.weights
    if isinstance(carried, dict):
        return DXO(data_kind=DataKind.WEIGHTS, data=dict(carried)).to_shareable()
    if carried is None:
        return Shareable()
    return DXO(data_kind=DataKind.APP_DEFINED, data={one.purpose: one.sealed for one in carried}).to_shareable()


def sealed_payload(
    purpose: str, sealed: bytes, confirmed: bytes | None = None, proof: bytes | None = None
) -> Shareable:
    """Build a task's payload that only a hospital can open."""
    content = dict(zip(SEALED_FIELDS, (purpose, sealed, confirmed, proof), strict=True))
    return DXO(DataKind.APP_DEFINED, data=content).to_shareable()


def opened_counts(purpose: str, counts: Any) -> Shareable:
    """Build the payload that a site's gate passes to its executor in place of a sum that it opened."""
    return DXO(data_kind=DataKind.ANALYTIC, data={"purpose": purpose, "counts": counts}).to_shareable()


def content_of(data: Shareable, kind: DataKind) -> dict[str, Any]:
    """Return the content of a task; refuse any kind except ``kind``."""
    dxo = from_shareable(data)
    if dxo.data_kind != kind:
        raise ValueError(f"a task carries {dxo.data_kind!r} where {kind!r} was expected")
    return dict(dxo.data)


def global_weights(data: Shareable) -> Weights:
    """Return the model that a task carries, as a site's gate passed it on."""
    return content_of(data, DataKind.WEIGHTS)


def to_shareable(reply: Reply) -> Shareable:
    """Convert a site's answer to the message that goes through the site's filters."""
    given = {name: getattr(reply, name) for name in PART_KINDS}
    parts = {
        name: DXO(data_kind=PART_KINDS[name], data=dict(content))
        for name, content in given.items()
        if content is not None
    }
    return DXO(data_kind=DataKind.COLLECTION, data=parts).to_shareable()


def to_reply(result: Shareable) -> Reply:
    """Invert ``to_shareable`` at the server; refuse every other kind of payload."""
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
    """Build the answer of a site that did not perform a task; the server asks the site again in the next round.

    Args:
        reason: a code, from an executor to its gate; a sentence, from the gate.
    """
    reply = make_reply(ReturnCode.EXECUTION_EXCEPTION)
    reply.set_header(REFUSAL, reason.value if isinstance(reason, Code) else reason)
    return reply


def refusal(result: Shareable) -> str | None:
    """Return the reason why a site did not perform its task: one printable line of at most 300 characters, or None.

    A message whose headers are no table is a refusal too.
    """
    if type(result.get(ReservedHeaderKey.HEADERS, {})) is not dict:
        return "site answered with headers that are no table"
    code = result.get_return_code(ReturnCode.OK)
    if type(code) is str and code == ReturnCode.OK:
        return None
    message = result.get_header(REFUSAL)
    return (one_line(message) if type(message) is str else "") or one_line(
        f"site answered {code}" if type(code) is str else "site answered with a code that is none"
    )
