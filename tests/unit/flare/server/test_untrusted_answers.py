"""Check that a bad answer costs its site that answer, and costs no other site a round or a report."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nvflare.apis.client import Client
from nvflare.apis.dxo import DXO, DataKind
from nvflare.apis.shareable import ReservedHeaderKey, Shareable

from fedward.errors import EncryptionError, FederationError
from fedward.flare.protocol import REFUSAL, Reply, Task, refuse, to_reply, to_shareable
from fedward.flare.server.admission import ADMISSION
from fedward.flare.server.asking.broadcast import Broadcaster
from fedward.flare.server.averaging.round import SecureRound
from fedward.flare.server.clock import Clock
from fedward.flare.server.controller import FederatedRounds
from fedward.flare.server.finalization import _reported_digest
from fedward.flare.server.rounds import JobRounds
from fedward.metrics.events import EventLog
from fedward.settings import JobSpec, parse
from fedward.training.networks import initial_weights
from tests.conftest import tiny_job_content
from tests.support.flare.server import Ran, Site, run
from tests.support.flare.signed import members, signed
from tests.support.flare.three import KEY, OTHER, SITES, Three
from tests.unit.flare.server.test_rounds import refuses, three

MARK = "[red]DOE^JANE[/red]\x1b[2J\u202e\n</script>" + "x" * 5000
ENCRYPTION: dict[str, Any] = {"clipping_range": 8.0, "scheme": "aes-ctr"}
ODD = [
    MARK,
    "",
    b"k" * 32,
    3,
    None,
    ["bfv"],
    {"a": 1},
    "a" * 31,
    "a" * 33,
    "A" * 32,
    "g" * 32,
    "\u0663" * 32,
    "a" * 31 + "\n",
]


@dataclass
class Liar(Site):
    """A site that runs another program: ``lie`` makes something else of its honest answer to a task."""

    lie: Callable[[Task, Shareable], Shareable] = lambda task, honest: honest

    def answer(self, task: Task, data: Shareable, *, seed: int) -> Shareable:
        return self.lie(task, super().answer(task, data, seed=seed))


def with_metrics(metrics: dict[Any, Any], task: Task | None = None) -> Callable[[Task, Shareable], Shareable]:
    """The answer to a task, or to all of them, with these metrics among its own."""

    def lie(asked: Task, honest: Shareable) -> Shareable:
        if task not in (None, asked):
            return honest
        reply = to_reply(honest)
        return to_shareable(Reply(metrics={**reply.metrics, **metrics}, update=reply.update))

    return lie


def assert_told_apart(ran: Ran) -> None:
    """The job went through with the others, and nothing of the mark is in what it wrote."""
    assert ran.of("finished") and not ran.of("failed"), [event for event in ran.events if event["event"] == "failed"]
    for word in words(ran.events):
        assert word.isprintable() and len(word) <= 300 and "DOE" not in word, word[:400]


def words(content: Any) -> Iterator[str]:
    if isinstance(content, dict):
        for name, value in content.items():
            yield name
            yield from words(value)
    elif isinstance(content, list):
        for value in content:
            yield from words(value)
    elif isinstance(content, str):
        yield content


# metrics


@pytest.mark.parametrize("name", ["site", "event", "at", "reason", "self", MARK, 7])
def test_a_metric_with_the_name_of_an_events_field_forges_and_breaks_nothing(tmp_path: Path, name: Any) -> None:
    ran = run(tmp_path, three(north=Liar(lie=with_metrics({name: "city", "quarantined": 12}))))
    assert_told_apart(ran)
    admitted = ran.of("admitted")
    assert [event["site"] for event in admitted] == ["city", "coast", "north"]
    assert all(set(event) <= {"event", "at", "site"} | ADMISSION for event in admitted)
    assert all(type(event["at"]) is float for event in ran.events)
    assert admitted[2]["quarantined"] == 12


def test_words_and_numbers_of_no_metric_are_in_no_event_and_break_no_store(tmp_path: Path) -> None:
    lies = {
        "scores": {"auc": MARK, MARK: 1, "labels": {MARK: {"auc": 0.5}}, "n": 10**400},
        "subgroups": {MARK: {"sex": {"F": {"auc": 0.1}}}},
        "support": {"train_patients": MARK, "train_positives": {MARK: 4}},
        "privacy": {"mechanism": MARK, "epsilon": float("nan")},
        "fedward": MARK,
        "cohort_hash": MARK,
        "loss": float("inf"),
        MARK: MARK,
    }
    ran = run(tmp_path, three(north=Liar(lie=with_metrics(lies))))
    assert_told_apart(ran)
    assert ran.of("admitted")[2]["fedward"] is None
    files = [path for path in ran.store.parent.glob(f"{ran.store.name}*") if path.is_file()]
    assert files and not any(b"DOE" in path.read_bytes() for path in files)


# answers of another form


def nested(depth: int = 100_000) -> Any:
    content: Any = []
    for _ in range(depth):
        content = [content]
    return content


def collection(**parts: Any) -> Shareable:
    return DXO(data_kind=DataKind.COLLECTION, data=parts).to_shareable()


def metrics_part(data: Any) -> DXO:
    part = DXO(data_kind=DataKind.METRICS, data={})
    part.data = data
    return part


def headers(**given: Any) -> Shareable:
    shareable = to_shareable(Reply())
    for name, value in given.items():
        shareable.set_header(name, value)
    return shareable


def without_headers() -> Shareable:
    shareable = Shareable()
    shareable[ReservedHeaderKey.HEADERS] = MARK
    return shareable


ANSWERS: dict[str, Callable[[], Shareable]] = {
    "no payload": Shareable,
    "headers are text": without_headers,
    "payload is text": lambda: _set(to_shareable(Reply()), "DXO", MARK),
    "a part is text": lambda: collection(metrics=MARK),
    "metrics are a list": lambda: collection(metrics=metrics_part([MARK])),
    "metrics are nested": lambda: collection(metrics=metrics_part(nested())),
    "kind is a mark": lambda: _set(to_shareable(Reply()), "DXO", {"kind": MARK, "data": {}, "meta": {}}),
    "an unknown part": lambda: collection(**{MARK: metrics_part({})}),
    "sealed is a list": lambda: collection(sealed=DXO(data_kind=DataKind.APP_DEFINED, data=[MARK])),
    "code is a mark": lambda: headers(**{ReservedHeaderKey.RC: MARK}),
    "code is a list": lambda: headers(**{ReservedHeaderKey.RC: [MARK]}),
    "reason is a mark": lambda: refuse(MARK),
    "reason is no text": lambda: headers(**{ReservedHeaderKey.RC: "EXECUTION_EXCEPTION", REFUSAL: [MARK]}),
}


def _set(shareable: Shareable, name: str, value: Any) -> Shareable:
    shareable[name] = value
    return shareable


@pytest.mark.parametrize("task", [Task.ADMIT, Task.ROUND, Task.FINAL])
@pytest.mark.parametrize("form", ANSWERS)
def test_an_answer_of_another_form_costs_its_site_alone(tmp_path: Path, form: str, task: Task) -> None:
    liar = Liar(lie=lambda asked, honest: ANSWERS[form]() if asked is task else honest)
    ran = run(tmp_path, three(north=liar), federation={"rounds": 1, "round_timeout_s": 5.0, "grace_s": 0.5})
    assert ran.of("finished") and not ran.of("failed")
    assert ran.wall_s < 5, "its answer came, so nobody waited for it"
    (told,) = ran.of("round")
    assert {"city", "coast"} <= set(told["sites"])
    for word in words(ran.events):
        assert word.isprintable() and len(word) <= 300
    if task is Task.ADMIT and form != "no payload":
        assert [event["site"] for event in ran.of("declined")] == ["north"]


UPDATES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "a tensor more": lambda update: update | {MARK: np.zeros(3, np.float32)},
    "a tensor less": lambda update: dict(list(update.items())[1:]),
    "another shape": lambda update: {name: np.zeros((*array.shape, 2), np.float32) for name, array in update.items()},
    "another dtype": lambda update: {name: array.astype(np.float64) for name, array in update.items()},
    "objects": lambda update: {name: np.array([MARK], dtype=object) for name in update},
    "text": lambda update: dict.fromkeys(update, MARK),
    "not finite": lambda update: {name: array * np.float32("nan") for name, array in update.items()},
    "names that are numbers": lambda update: dict(enumerate(update.values())),
}


@pytest.mark.parametrize("form", UPDATES)
def test_an_update_that_is_none_of_the_jobs_costs_its_site_alone(tmp_path: Path, form: str) -> None:
    def lie(asked: Task, honest: Shareable) -> Shareable:
        if asked is not Task.ROUND:
            return honest
        reply = to_reply(honest)
        return to_shareable(Reply(metrics=reply.metrics, update=UPDATES[form](dict(reply.update or {}))))

    ran = run(tmp_path, three(north=Liar(lie=lie)), federation={"rounds": 1})
    assert_told_apart(ran)
    assert ran.of("round")[0]["sites"] == ["city", "coast"]
    (dropped,) = ran.of("dropped")
    assert (dropped["site"], dropped["round"]) == ("north", 0) and "tensor" in dropped["reason"]


# names and keys


@pytest.mark.parametrize("name", [MARK, "x" * 10_000, "train; rm", 7, [1]])
def test_an_answer_to_no_task_is_told_in_the_servers_own_words_and_as_often_as_there_are_tasks(
    tmp_path: Path, name: Any
) -> None:
    events = EventLog(tmp_path / "events")
    job = parse(JobSpec, tiny_job_content(), where="test")
    controller = FederatedRounds()
    controller._broadcaster = Broadcaster(controller, job, events, clock=Clock())
    for _ in range(1000):
        controller.process_result_of_unknown_task(Client("north", ""), name, "id", Shareable(), None)
    controller.process_result_of_unknown_task(Client("city", ""), Task.ROUND.value, "id", Shareable(), None)
    lines = [json.loads(line) for line in (tmp_path / "events").read_text().splitlines()]
    assert len([one for one in lines if one["site"] == "north"]) == job.federation.rounds + len(Task)
    assert {one["reason"] for one in lines if one["site"] == "north"} == {
        "late: a task of another name answered after it was closed"
    }
    assert lines[-1]["reason"] == f"late: {Task.ROUND.value} answered after it was closed"


def exchange() -> JobRounds:
    job = parse(JobSpec, tiny_job_content() | {"encryption": ENCRYPTION}, where="test")
    return JobRounds(job, job_id="job-1", initial=initial_weights(job), members=members())


@pytest.mark.parametrize("scheme", ["aes-ctr", *ODD], ids=range(1 + len(ODD)))
@pytest.mark.parametrize("key", ODD, ids=range(len(ODD)))
def test_a_key_of_another_form_is_none(tmp_path: Path, key: Any, scheme: Any) -> None:
    made = exchange()
    good = {"key": KEY.key_id, "scheme": "aes-ctr", "nonce": "ab" * 16}
    said = {site: Reply(sealed=signed(good, site=site)) for site in ("city", "coast")}
    odd = made.agree_on_key({**said, "north": Reply(sealed={"key": key, "scheme": scheme})})
    assert odd == {"north": "reported no federation key, but the job is encrypted"}
    liars = {site: Reply(sealed={"key": key, "scheme": scheme}) for site in SITES}
    with pytest.raises(FederationError) as refused:
        exchange().agree_on_key(liars)
    assert "city none, coast none, north none" in str(refused.value)


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=st.sampled_from("0123456789abcdefABCDEFg\n \u0660"), max_size=34))
def test_a_key_is_what_our_own_code_names_one(key: str) -> None:
    entries = {"key": key, "scheme": "aes-ctr", "nonce": "ab" * 16}
    said = {site: Reply(sealed=signed(entries, site=site)) for site in SITES}
    if re.fullmatch("[0-9a-f]{32}", key):
        made = exchange()
        assert made.agree_on_key(said) == {} and made.key == ("aes-ctr", key)
    else:
        with pytest.raises(FederationError):
            exchange().agree_on_key(said)
    assert re.fullmatch("[0-9a-f]{32}", KEY.key_id) and re.fullmatch("[0-9a-f]{32}", OTHER.key_id)


@given(st.one_of(st.text(), st.binary(), st.integers(), st.none(), st.just("ab" * 32)))
def test_a_digest_of_the_final_model_is_one(told: Any) -> None:
    assert _reported_digest(Reply(sealed={"opened": told})) == (told if told == "ab" * 32 else None)


def test_what_cannot_be_added_to_a_sum_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(reply: Reply, purpose: str) -> bytes:
        raise EncryptionError(MARK)

    monkeypatch.setattr("fedward.flare.server.averaging.signed_sum.message_of", fail)
    tally = Three(tmp_path).exchange.tally("cohort")
    assert tally is not None
    (reason,) = tally.take({"north": Reply(sealed={"cohort": b"x"})}).values()
    assert reason.isprintable() and len(reason) <= 300


@pytest.mark.parametrize("clipped", [10**400, -1, True, "5", 10**9])
def test_how_many_values_were_clipped_is_a_number_of_the_models(clipped: Any) -> None:
    adder = SimpleNamespace(add=lambda reply, purpose, site: None, sites=("north",))
    taken = SecureRound(adder, after=0, values=100)  # type: ignore[arg-type]
    taken.take("north", Reply(sealed={"model": b"x", "clipped": clipped}))
    taken.take("city", Reply(sealed={"model": b"x", "clipped": 100}))
    assert taken.clipped == {"city": 100}


# an encrypted job that nobody admits


def test_where_every_hospital_refuses_an_encrypted_job_each_reason_is_told_as_in_the_clear(tmp_path: Path) -> None:
    reasons = {site: f"{site} does not admit it" for site in SITES}
    sites = {site: Site(refuses(Task.ADMIT, reason)) for site, reason in reasons.items()}
    changed = {"federation": {"must_include": ["north"]}}
    told = {}
    for name, tables in {"clear": {}, "encrypted": {"encryption": ENCRYPTION}}.items():
        ran = run(tmp_path / name, sites, **changed, **tables)
        assert {event["site"]: event["reason"] for event in ran.of("declined")} == reasons
        assert "north (north does not admit it)" in ran.panic
        told[name] = [{**event, "at": 0} for event in ran.events]
    assert told["clear"] == told["encrypted"]


def test_where_no_key_is_held_by_most_every_hospital_is_told_of(tmp_path: Path) -> None:
    sites = three(north=Site(refuses(Task.ADMIT, "not approved")))
    ran = run(tmp_path, sites, encryption=ENCRYPTION)
    why = {event["site"]: event["reason"] for event in ran.of("declined")}
    nobody = "no key is held by more than half of the sites"
    assert why == {"city": nobody, "coast": nobody, "north": "not approved"}
    assert nobody in ran.panic and nobody in ran.of("failed")[0]["reason"]
