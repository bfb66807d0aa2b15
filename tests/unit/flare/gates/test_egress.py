"""For each way in which a hospital's answer can be wrong: what leaves is one line of text, now and ever after."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from nvflare.apis.dxo import DXO, DataKind
from nvflare.apis.fl_constant import FilterKey, FLContextKey, ReturnCode
from nvflare.apis.shareable import ReservedHeaderKey, Shareable, make_reply

from fedward.errors import GateError
from fedward.flare.gates.egress import EgressGate, require_gates
from fedward.flare.gates.ingress import IngressGate
from fedward.flare.protocol import REFUSAL, Task, refusal, refuse
from fedward.flare.refusal import SENTENCES, Code
from fedward.privacy.attestation import PROOF
from fedward.weights import digest
from tests.support.flare.hospital import METRICS, Hospital, assert_refused, nan, parts, serialised

Make = Callable[..., Hospital]


def norm(update: dict[str, Any]) -> float:
    return float(np.sqrt(sum(np.sum(array.astype(np.float64) ** 2) for array in update.values())))


# what passes


def test_an_unprotected_update_passes_as_it_is_in_a_message_made_anew(make: Make) -> None:
    hospital = make()
    update, answer = hospital.honest()
    found = parts(hospital.send(answer))
    assert found["update"].data_kind == DataKind.WEIGHT_DIFF
    assert found["metrics"].data_kind == DataKind.METRICS
    assert found["metrics"].data == METRICS
    for name, array in found["update"].data.items():
        assert np.array_equal(array, update[name]) and not np.shares_memory(array, update[name])


def test_a_clip_alone_is_kept(make: Make) -> None:
    hospital = make("clipped")
    update, answer = hospital.honest()
    assert norm(update) > 0.02
    assert norm(parts(hospital.send(answer))["update"].data) == pytest.approx(0.01, rel=1e-4)


def test_update_noise_is_begun_noised_and_released(make: Make) -> None:
    hospital = make("update-noise")
    update, answer = hospital.honest()
    sent = parts(hospital.send(answer))["update"].data
    noise = np.concatenate([(sent[name] - update[name]).astype(np.float64).ravel() for name in update])
    assert abs(noise.std() / 3.0 - 1) < 0.05
    kinds = [entry.kind for entry in hospital.ledger.entries()]
    assert kinds[-3:] == ["begin", "release", "run-leave"]


def test_an_update_with_its_proof_passes_and_the_proof_stays(make: Make) -> None:
    hospital = make("dp-sgd")
    update, answer = hospital.honest()
    message = hospital.send(answer)
    assert all(np.array_equal(array, update[name]) for name, array in parts(message)["update"].data.items())
    wire = serialised(message)
    begun = answer.get_header(PROOF)["begun"]
    assert PROOF.encode() not in wire and begun.encode() not in wire
    released, left = hospital.ledger.entries()[-2:]
    assert released.body == {"begun": begun, "digest": answer.get_header(PROOF)["digest"]}
    assert left.body == {"job_id": hospital.job_id, "round": 0, "model": digest(hospital.model)}


@pytest.mark.parametrize("task", [Task.ADMIT, Task.FINAL, Task.ALONE])
def test_metrics_alone_pass(make: Make, task: Task) -> None:
    hospital = make(received=False)
    assert set(parts(hospital.send(hospital.answer(), task))) == {"metrics"}


def test_a_refusal_of_the_executor_passes_and_does_not_latch(make: Make) -> None:
    hospital = make()
    said = refuse(Code.STOPPED.value)
    said.set_header("more", "MARK")
    assert assert_refused(hospital.send(said)) == "the job was stopped"
    assert assert_refused(hospital.send(refuse(Code.COHORT.value))) == SENTENCES[Code.COHORT]
    parts(hospital.send(hospital.honest()[1]))


# the message's form


def _with_key(hospital: Hospital, answer: Shareable) -> Shareable:
    answer["control"] = hospital.model
    return answer


def _kind(kind: str) -> Callable[[Hospital, Shareable], Shareable]:
    def change(hospital: Hospital, answer: Shareable) -> Shareable:
        return DXO(data_kind=kind, data=hospital.update()).to_shareable()

    return change


def _part(name: str, kind: str, data: Any) -> Callable[[Hospital, Shareable], Shareable]:
    def change(hospital: Hospital, answer: Shareable) -> Shareable:
        answer["DXO"]["data"][name] = DXO(data_kind=kind, data=data)
        return answer

    return change


def _not_dxo(hospital: Hospital, answer: Shareable) -> Shareable:
    return Shareable({"weights": hospital.update()})


def _refusal_with_payload(hospital: Hospital, answer: Shareable) -> Shareable:
    answer.set_return_code(ReturnCode.EXECUTION_EXCEPTION)
    answer.set_header(REFUSAL, "no")
    return answer


def _refusal_of_data(hospital: Hospital, answer: Shareable) -> Shareable:
    said = make_reply(ReturnCode.EXECUTION_EXCEPTION)
    said.set_header(REFUSAL, hospital.update())
    return said


def _bare(hospital: Hospital, answer: Shareable) -> Any:
    return dict(answer)


def _no_headers(hospital: Hospital, answer: Shareable) -> Shareable:
    del answer[ReservedHeaderKey.HEADERS]
    return answer


FORMS: dict[str, tuple[Callable[[Hospital, Shareable], Any], str]] = {
    "an extra key": (_with_key, "parts that are not its payload"),
    "no DXO": (_not_dxo, "parts that are not its payload"),
    "full weights kind": (_kind(DataKind.WEIGHTS), "payload … is of kind … where … may leave"),
    "a bare difference": (_kind(DataKind.WEIGHT_DIFF), "payload … is of kind … where … may leave"),
    "FLModel": (_kind(DataKind.FL_MODEL), "payload … is of kind … where … may leave"),
    "app defined": (_kind(DataKind.APP_DEFINED), "payload … is of kind … where … may leave"),
    "analytics": (_kind(DataKind.ANALYTIC), "payload … is of kind … where … may leave"),
    "unheard-of": (_kind("MARK DOE"), "payload … is of kind … where … may leave"),
    "counts": (
        _part("counts", DataKind.STATISTICS, {"a": [1]}),
        "payload … is of kind … where … may leave",
    ),
    "histogram": (_part("histogram", DataKind.STATISTICS, {"a": [1]}), "payload … is of no kind that may leave"),
    "control variates": (_part("control", DataKind.WEIGHT_DIFF, {}), "payload … is of no kind that may leave"),
    "nested": (_part("update", DataKind.COLLECTION, {}), "payload … is of kind … where … may leave"),
    "update as weights": (_part("update", DataKind.WEIGHTS, {"a": 1}), "payload … is of kind … where … may leave"),
    "metrics as weights": (_part("metrics", DataKind.WEIGHTS, {"a": 1}), "payload … is of kind … where … may leave"),
    "a refusal with a payload": (_refusal_with_payload, "refusal carries a payload"),
    "a refusal of data": (_refusal_of_data, "refusal is of no known code"),
    "no shareable": (_bare, "answer has no headers"),
    "no headers": (_no_headers, "answer has no headers"),
    "nothing": (lambda hospital, answer: None, "answer has no headers"),
}


@pytest.mark.parametrize("form", FORMS)
def test_another_form_is_refused_and_the_job_with_it(make: Make, form: str) -> None:
    hospital = make()
    change, says = FORMS[form]
    update, answer = hospital.honest()
    reason = assert_refused(hospital.send(change(hospital, answer)), says=says, payload=hospital.model | update)
    assert reason.startswith("egress gate: ")
    hospital.receive()
    assert_refused(hospital.send(hospital.honest()[1]), says=reason, payload=update)
    assert_refused(hospital.send(hospital.answer(), Task.FINAL), says=reason)
    assert_refused(hospital.send(refuse("another")), says=reason)


def test_headers_and_meta_are_left_behind(make: Make) -> None:
    hospital = make()
    _, answer = hospital.honest()
    answer.set_header("smuggled", hospital.model)
    answer.set_header("DOE", "MARK")
    answer["DXO"]["meta"] = {"control": hospital.model, "note": "MARK"}
    for part in answer["DXO"]["data"].values():
        part.meta = {"note": "MARK", "NUM_STEPS_CURRENT_ROUND": 10}
        part.extra = "MARK"
    message = hospital.send(answer)
    assert set(parts(message)) == {"update", "metrics"}
    wire = serialised(message)
    assert b"MARK" not in wire and b"DOE" not in wire and b"smuggled" not in wire
    assert b"NUM_STEPS" not in wire


# the update


def _inf(update: dict[str, Any], name: str) -> dict[str, Any]:
    array = update[name].copy()
    array.flat[-1] = np.inf
    return update | {name: array}


UPDATES: dict[str, tuple[Callable[[dict[str, Any], str], dict[Any, Any]], str]] = {
    "nan": (nan, "tensor {name} holds a value that is not finite"),
    "infinity": (_inf, "tensor {name} holds a value that is not finite"),
    "extra": (lambda update, name: update | {"extra.weight": update[name]}, "tensor extra.weight is not in the agreed"),
    "extra with a patient's name": (lambda u, name: u | {"DOE JANE": u[name]}, "tensor (of a name that is not shown)"),
    "missing": (lambda u, name: {other: u[other] for other in u if other != name}, "tensor {name} is missing"),
    "renamed": (
        lambda u, name: {("other" if other == name else other): u[other] for other in u},
        "tensor other is not in the agreed layout",
    ),
    "shape": (lambda u, name: u | {name: u[name].reshape(-1, 1)}, "tensor {name} has shape"),
    "dtype": (lambda u, name: u | {name: u[name].astype(np.float64)}, "tensor {name} has dtype <f8"),
    "text": (lambda u, name: u | {name: "MARK"}, "tensor {name} is not a plain array"),
    "empty": (lambda u, name: {}, "is missing"),
}


@pytest.mark.parametrize("privacy", ["none", "dp-sgd", "update-noise"])
@pytest.mark.parametrize("fault", UPDATES)
def test_an_update_of_another_layout_or_not_finite(
    make: Make, caplog: pytest.LogCaptureFixture, fault: str, privacy: str
) -> None:
    hospital = make(privacy)
    change, says = UPDATES[fault]
    name = next(name for name in hospital.model if hospital.model[name].ndim == 4)
    update = change(hospital.update(), name)
    proof = hospital.proof(hospital.update()) if privacy == "dp-sgd" else None
    before = len(hospital.ledger.entries())
    reason = assert_refused(hospital.send(hospital.answer(update, proof=proof)), says="tensor …", payload=update)
    assert says.format(name=name) in caplog.text and name not in reason, "the name is for the site's own log"
    assert [entry.kind for entry in hospital.ledger.entries()[before:]] == ["run-end"]


@pytest.mark.parametrize("privacy", ["none", "dp-sgd", "update-noise"])
def test_full_weights_are_refused(make: Make, privacy: str) -> None:
    hospital = make(privacy)
    trained = {name: array + hospital.update()[name] for name, array in hospital.model.items()}
    for full in (hospital.model, trained):
        one = make(privacy)
        answer = one.answer(full, proof=one.proof(full) if privacy == "dp-sgd" else None)
        assert_refused(one.send(answer), says="own weights where a difference is due", payload=full)


@pytest.mark.parametrize("task", [Task.ADMIT, Task.FINAL, Task.ALONE])
def test_an_update_on_a_task_that_carries_none(make: Make, task: Task) -> None:
    hospital = make()
    update, answer = hospital.honest()
    assert_refused(hospital.send(answer, task), says="answers with an update where none is due", payload=update)


@pytest.mark.parametrize("privacy", ["none", "dp-sgd"])
def test_an_update_that_no_training_explains_stays(make: Make, privacy: str) -> None:
    hospital = make(privacy)
    hospital.receive()
    update = {name: array * np.float32(1e7) for name, array in hospital.update().items()}
    sent = hospital.send(hospital.answer(update, proof=hospital.proof(update) if privacy == "dp-sgd" else None))
    assert_refused(sent, says="long where at most", payload=update)
    assert hospital.record.require(hospital.job_id).left == -1


def test_a_round_without_an_update_and_an_unknown_task(make: Make) -> None:
    hospital = make()
    assert_refused(hospital.send(hospital.answer()), says="round answers without an update")
    other = make()
    update, answer = other.honest()
    assert_refused(other.send(answer, "upload_everything"), says="task is none of Fedward's", payload=update)


def test_an_update_needs_a_model_that_came_in_and_each_model_is_good_for_one(make: Make) -> None:
    hospital = make(received=False)
    update, answer = hospital.honest()
    assert_refused(hospital.send(answer), says="no model that came through the ingress gate", payload=update)
    hospital = make()
    parts(hospital.send(hospital.honest()[1]))
    update, answer = hospital.honest()
    assert_refused(hospital.send(answer), says="no model that came", payload=update)


# metrics

NO_METRIC = "egress gate: metrics may not leave: …"


@pytest.mark.parametrize(
    ("metrics", "says"),
    [
        ({"patient": "DOE"}, "metric patient is unknown"),
        ({"DOE^JANE": 1}, "metric (of a name that is not shown) is unknown"),
        ({"scores": {"roc": [1, 2]}}, "metric roc is unknown"),
        ({"train_s": 0.12345}, "metric train_s is not rounded"),
        ({"patients": 3}, "metric patients is not rounded, not above the floor"),
        ({"steps": np.arange(100)}, "metric steps"),
        ({"scores": {"labels": {"DOE^JANE": {}}}}, "no label, class or structure of the job"),
    ],
)
def test_a_metric_that_may_not_leave(
    make: Make, caplog: pytest.LogCaptureFixture, metrics: dict[str, Any], says: str
) -> None:
    hospital = make()
    update, _ = hospital.honest()
    reason = assert_refused(hospital.send(hospital.answer(update, metrics=metrics)), payload=update)
    assert reason == NO_METRIC and says in caplog.text


class Noted(str):
    """Equal to a metric's name, with more in it."""

    def __init__(self, _: str) -> None:
        self.note = "MARK DOE^JANE"


@pytest.mark.parametrize("task", [Task.ROUND, Task.FINAL])
def test_a_name_that_holds_more_than_a_name_does_not_leave(make: Make, task: Task) -> None:
    """FLARE's serializer writes the content of a string's subclass; nothing of it leaves."""
    hospital = make()
    update, _ = hospital.honest()
    update = update if task is Task.ROUND else None
    message = hospital.send(hospital.answer(update, metrics={Noted("steps"): 10}), task)
    assert assert_refused(message) == NO_METRIC
    assert b"MARK" not in serialised(message) and b"DOE" not in serialised(message)


def test_a_metric_that_is_not_on_the_list(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    hospital = make(received=False)
    site = hospital.local / "site.toml"
    site.write_text(site.read_text().replace('"work", ', ""))
    assert assert_refused(hospital.send(hospital.answer(), Task.FINAL)) == NO_METRIC
    assert "metric steps is not on the site's list" in caplog.text


def test_under_privacy_training_loss_and_the_local_models_scores_stay(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    hospital = make("dp-sgd")
    answer = hospital.answer(metrics={"loss": 0.5, "patients": 30})
    assert assert_refused(hospital.send(answer, Task.FINAL)) == NO_METRIC
    assert "metric loss is computed from training data without noise" in caplog.text
    hospital = make("dp-sgd")
    assert assert_refused(hospital.send(hospital.answer(), Task.ALONE)) == NO_METRIC
    assert "metric auc is computed from training data" in caplog.text


def test_a_gate_that_was_refused_stays_refused_in_another_instance(make: Make) -> None:
    hospital = make()
    reason = assert_refused(hospital.send(hospital.answer()))
    hospital.egress = EgressGate()
    hospital.ingress = IngressGate()
    assert hospital.receive().get_header("fedward_refused_at_door") == reason
    assert refusal(hospital.send(hospital.honest()[1])) == reason


def test_the_executor_can_ask_whether_the_gates_stand(make: Make) -> None:
    context = make(received=False).context(Task.ADMIT)

    def scope(data: list[object], result: list[object]) -> None:
        filters = SimpleNamespace(
            task_data_filters={FilterKey.IN: data, FilterKey.OUT: []},
            task_result_filters={FilterKey.IN: [], FilterKey.OUT: result},
        )
        context.set_prop(FLContextKey.SCOPE_OBJECT, filters, private=True)

    with pytest.raises(GateError, match="ingress gate is not first"):
        require_gates(context)
    scope([IngressGate()], [])
    with pytest.raises(GateError, match="egress gate is not first"):
        require_gates(context)
    scope([EgressGate()], [EgressGate()])
    with pytest.raises(GateError, match="ingress gate is not first"):
        require_gates(context)
    scope([IngressGate()], [EgressGate()])
    require_gates(context)
