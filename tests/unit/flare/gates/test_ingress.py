"""Check what the server may send: the job's own model; anything else reaches the executor as an empty refusal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nvflare.apis.dxo import DXO, DataKind
from nvflare.apis.shareable import ReservedHeaderKey, Shareable

from fedward.errors import GateError
from fedward.flare.protocol import REFUSED_AT_DOOR, ROUND_NUMBER, STEPS, Task, global_weights, question
from fedward.weights import Weights
from tests.support.flare.hospital import Hospital, assert_refused, parts


@pytest.fixture
def hospital(tmp_path: Path) -> Hospital:
    return Hospital(tmp_path / "north")


def assert_stopped(message: Shareable, *, says: str = "") -> str:
    """Check that the executor receives a refusal, and nothing else."""
    assert set(message) == {ReservedHeaderKey.HEADERS}
    assert set(message[ReservedHeaderKey.HEADERS]) == {REFUSED_AT_DOOR}
    reason: str = message.get_header(REFUSED_AT_DOOR)
    assert reason.startswith("ingress gate: ") and len(reason) <= 300 and "\n" not in reason
    assert says in reason, reason
    assert "MARK" not in reason
    return reason


def moved(model: Weights, *, scale: float = 0.001) -> Weights:
    rng = np.random.default_rng(0)
    return {name: (array + rng.normal(0, scale, array.shape)).astype(array.dtype) for name, array in model.items()}


def matrix(model: Weights, *, rank: int = 4, least: int = 64) -> str:
    return next(name for name in model if model[name].ndim == rank and model[name].size >= least)


def test_an_honest_job_comes_in_round_by_round(hospital: Hospital) -> None:
    model = hospital.model
    first = hospital.receive(model)
    assert all(np.array_equal(array, model[name]) for name, array in global_weights(first).items())
    assert first.get_header(ROUND_NUMBER) == 0
    second = moved(model)
    assert all(np.array_equal(a, second[n]) for n, a in global_weights(hospital.receive(second, number=1)).items())
    assert global_weights(hospital.receive(second, task=Task.FINAL, number=-1))
    for task in (Task.ADMIT, Task.ALONE):
        data = hospital.ingress.process(question(None, round_number=-1), hospital.context(task))
        assert set(data) == {ReservedHeaderKey.HEADERS}


def test_the_gates_keep_their_own_copy_of_the_model(hospital: Hospital) -> None:
    model = hospital.model
    for array in global_weights(hospital.receive(model)).values():
        array += 7  # an executor that trains in place does not change what the update is compared with
    assert_refused(hospital.send(hospital.answer(hospital.model)), says="own weights")


def test_of_the_headers_only_what_is_needed_comes_in(hospital: Hospital) -> None:
    data = question(hospital.model, round_number=0)
    data.set_header("MARK", "MARK")
    data.set_cookie_jar({"__task_id__": "abc"})
    data["more"] = "MARK"
    data["DXO"]["meta"] = {"MARK": "MARK"}
    found = hospital.ingress.process(data, hospital.context(Task.ROUND))
    assert "MARK" not in repr({name: value for name, value in found.items() if name != "DXO"})
    assert found["DXO"]["meta"] == {}
    assert found.get_cookie_jar() == {"__task_id__": "abc"}
    assert set(found) == {ReservedHeaderKey.HEADERS, "DXO"}


FEWER = {
    "federation": {"stragglers": "fewer_steps"},
    "training": {"local_epochs": None, "local_steps": 16},
}


def asked(hospital: Hospital, steps: object, task: Task = Task.ROUND) -> Shareable:
    data = question(hospital.model, round_number=0 if task is Task.ROUND else -1)
    data.set_header(STEPS, steps)
    return hospital.ingress.process(data, hospital.context(task))


def test_a_wish_for_fewer_steps_comes_in_where_the_job_allows_it(tmp_path: Path) -> None:
    allows = FEWER
    assert asked(Hospital(tmp_path / "allows", changes=allows), 3).get_header(STEPS) == 3
    assert_stopped(asked(Hospital(tmp_path / "default"), 3), says="which the job does not allow")


@pytest.mark.parametrize("steps", [0, -1, True, 2.0, "3", [3]])
def test_a_number_of_steps_that_is_none(tmp_path: Path, steps: object) -> None:
    allows = FEWER
    assert_stopped(asked(Hospital(tmp_path, changes=allows), steps), says="a number of steps that is none")


def test_only_a_round_has_steps(tmp_path: Path) -> None:
    hospital = Hospital(tmp_path, changes=FEWER)
    assert_stopped(asked(hospital, 3, Task.FINAL), says="a number of steps that is none")


def test_a_restarted_site_takes_a_late_round(hospital: Hospital) -> None:
    assert global_weights(hospital.receive(moved(hospital.model, scale=0.1), number=1))


def test_the_last_round_is_taken_again_and_no_round_before_it(hospital: Hospital) -> None:
    hospital.receive()
    hospital.send(hospital.honest()[1])
    assert global_weights(hospital.receive()), "FLARE puts a task again whose answer was lost: that is no lie"
    assert global_weights(hospital.receive(number=1))
    assert_stopped(hospital.receive(), says="out of the job's order")
    assert_stopped(hospital.receive(number=1), says="out of the job's order")


def test_a_site_that_was_restarted_takes_its_last_round_again(hospital: Hospital) -> None:
    hospital.receive()
    hospital.restart()
    assert global_weights(hospital.receive())
    hospital.send(hospital.honest()[1])
    hospital.restart()
    assert global_weights(hospital.receive())


def _imprint(model: Weights) -> Weights:
    name = max((name for name in model if model[name].ndim >= 2), key=lambda name: model[name].size)
    rows = np.ones((len(model[name]), 1)) * model[name].reshape(len(model[name]), -1)[0]
    return model | {name: rows.reshape(model[name].shape).astype(np.float32)}


def _nan(model: Weights) -> Weights:
    name = matrix(model)
    array = model[name].copy()
    array.flat[0] = np.nan
    return model | {name: array}


def _copied(model: Weights) -> Weights:
    shapes: dict[tuple[int, ...], str] = {}
    for name in sorted(model):
        if model[name].ndim >= 2 and model[name].shape in shapes:
            return model | {name: model[shapes[model[name].shape]].copy()}
        shapes[model[name].shape] = name
    raise AssertionError("no two tensors of one shape")


MODELS: dict[str, tuple[Callable[[Weights], dict[Any, Any]], str]] = {
    "nan": (_nan, "holds a value that is not finite"),
    "extra": (lambda model: model | {"fc.extra": np.ones(3, np.float32)}, "tensor … is not in the agreed"),
    "missing": (lambda model: {name: model[name] for name in list(model)[1:]}, "is missing"),
    "dtype": (
        lambda model: {name: array.astype(np.float64) for name, array in model.items()},
        "tensor … has dtype …",
    ),
    "shape": (
        lambda model: model | {matrix(model): np.ones((3, 3), np.float32)},
        "tensor … has shape …",
    ),
    "zeroed": (lambda model: model | {matrix(model): np.zeros_like(model[matrix(model)])}, "is all zero"),
    "copied": (_copied, "is a copy of"),
    "imprint": (_imprint, "near-identical rows"),
    "jump": (lambda model: {name: array * np.float32(30) for name, array in model.items()}, "from the last one where"),
}


@pytest.mark.parametrize("task", [Task.ROUND, Task.FINAL])
@pytest.mark.parametrize("fault", MODELS)
def test_a_model_that_is_not_the_jobs(hospital: Hospital, fault: str, task: Task) -> None:
    change, says = MODELS[fault]
    honest = hospital.model
    hospital.receive(honest)
    number = 1 if task is Task.ROUND else -1
    reason = assert_stopped(hospital.receive(change(moved(honest)), number=number, task=task), says=says)
    # the latch: neither an honest model nor an answer passes any more
    assert assert_stopped(hospital.receive(moved(honest), number=1)) == reason
    update, answer = hospital.honest()
    assert_refused(hospital.send(answer), says=reason, payload=update)


def test_the_first_round_is_pinned_to_the_jobs_seed(hospital: Hospital) -> None:
    assert_stopped(hospital.receive(moved(hospital.model)), says="of the first round does not follow from the job's")


def _carry(kind: str) -> Callable[[Hospital], Shareable]:
    def make(hospital: Hospital) -> Shareable:
        data = DXO(data_kind=kind, data=hospital.model).to_shareable()
        data.set_header(ROUND_NUMBER, 0)
        return data

    return make


def _numbered(number: object) -> Callable[[Hospital], Shareable]:
    return lambda hospital: question(hospital.model, round_number=number)  # type: ignore[arg-type]


def _at_door(hospital: Hospital) -> Shareable:
    data = question(hospital.model, round_number=0)
    data.set_header(REFUSED_AT_DOOR, "MARK")
    return data


def _headless(hospital: Hospital) -> Shareable:
    data = question(hospital.model, round_number=0)
    del data[ReservedHeaderKey.HEADERS]
    return data


def _cookies(hospital: Hospital) -> Shareable:
    data = question(hospital.model, round_number=0)
    data.set_cookie_jar({"a": np.ones(3)})
    return data


TASKS: dict[str, tuple[Callable[[Hospital], Any], Task | str, str]] = {
    "no model in a round": (lambda h: question(None, round_number=0), Task.ROUND, "brings no model"),
    "no model to validate": (lambda h: question(None, round_number=-1), Task.FINAL, "brings no model"),
    "a difference": (_carry(DataKind.WEIGHT_DIFF), Task.ROUND, "brings no model"),
    "a collection": (_carry(DataKind.COLLECTION), Task.ROUND, "brings no model"),
    "a model at admission": (_numbered(-1), Task.ADMIT, "brings a payload where none is due"),
    "a round's number at admission": (_numbered(0), Task.ADMIT, "has a round's number"),
    "a best round where none is chosen": (_numbered(-1), Task.VALIDATE, "does not choose its best round"),
    "a model to train alone": (_numbered(-1), Task.ALONE, "brings a payload where none is due"),
    "a round that the job has not": (_numbered(2), Task.ROUND, "no round's number of this job"),
    "a round before the first": (_numbered(-1), Task.ROUND, "round has no number"),
    "a number that is none": (_numbered("0"), Task.ROUND, "no round's number"),
    "a number that is a truth": (_numbered(True), Task.ROUND, "no round's number"),
    "no number": (_numbered(None), Task.ROUND, "no round's number"),
    "a task of others": (_numbered(0), "train", "none of Fedward's"),
    "a refusal of the server's": (_at_door, Task.ROUND, "headers that a server does not set"),
    "cookies of data": (_cookies, Task.ROUND, "cookies that are not words"),
    "nothing": (lambda hospital: None, Task.ROUND, ""),
    "no headers": (_headless, Task.ROUND, "headers"),
}


@pytest.mark.parametrize("case", TASKS)
def test_a_task_of_another_form(hospital: Hospital, case: str) -> None:
    make, task, says = TASKS[case]
    reason = assert_stopped(hospital.ingress.process(make(hospital), hospital.context(task)), says=says)
    assert assert_stopped(hospital.receive()) == reason
    assert_refused(hospital.send(hospital.answer(), Task.FINAL), says=reason)


CALLS = [
    "fedward.flare.gates.gate._key",
    "fedward.flare.gates.gate.job_context.job_spec",
    "fedward.flare.gates.gate.job_context.site_policy",
    "fedward.flare.gates.state.layout_of",
    "fedward.flare.gates.ingress._architecture",
    "fedward.flare.gates.ingress._model",
    "fedward.flare.gates.ingress._with_cookies",
    "fedward.flare.gates.ingress.check_initial",
    "fedward.flare.gates.ingress.check_tensors",
    "fedward.flare.gates.ingress.check_traps",
    "fedward.flare.gates.ingress.layout_hash",
    "fedward.flare.gates.ingress.gate_state",
    "fedward.flare.gates.ingress.question",
    "fedward.flare.gates.ingress.task_of",
    "fedward.training.networks.initial_weights",
]


@pytest.mark.parametrize("error", [RuntimeError("MARK"), GateError("told", value="MARK")], ids=["any", "own"])
@pytest.mark.parametrize("call", CALLS)
def test_whatever_throws_the_executor_sees_nothing(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch, call: str, error: Exception
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise error

    model = hospital.model
    monkeypatch.setattr(call, fail)
    assert_stopped(hospital.receive(model))
    monkeypatch.undo()
    assert_stopped(hospital.receive(model))
    if call != "fedward.flare.gates.gate._key":
        assert_refused(hospital.send(hospital.answer(hospital.update())), payload=model)


def test_a_jump_that_throws_is_a_refusal(hospital: Hospital, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise RuntimeError("MARK")

    hospital.receive()
    monkeypatch.setattr("fedward.flare.gates.ingress.check_jump", fail)
    assert_stopped(hospital.receive(moved(hospital.model), number=1), says="RuntimeError")


def test_noise_that_the_job_asked_for_is_no_jump(tmp_path: Path) -> None:
    """Noise of standard deviation 8 on every value is far from any initial weights; 3 were agreed, and 9 are let in."""
    hospital = Hospital(tmp_path / "noisy", "update-noise")
    hospital.receive()
    assert global_weights(hospital.receive(moved(hospital.model, scale=8.0), number=1))
    quiet = Hospital(tmp_path / "quiet")
    quiet.receive()
    assert_stopped(quiet.receive(moved(quiet.model, scale=8.0), number=1), says="from the last one where at most")


def test_after_an_honest_round_an_honest_answer_leaves(hospital: Hospital) -> None:
    hospital.receive()
    assert set(parts(hospital.send(hospital.honest()[1]))) == {"update", "metrics"}
