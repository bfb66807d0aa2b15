"""Check that poison in the clear never reaches the model: not finite, scaled up, or by a weight or a step too many."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedward.aggregation.step import ServerStep
from fedward.errors import FedwardError, JobError
from fedward.flare.protocol import Reply, Task
from fedward.flare.server.averaging.norms import NORMS, UsualNorms
from fedward.flare.server.rounds import JobRounds
from fedward.privacy.disclosure.received import received
from fedward.privacy.outgoing import check_tensors
from fedward.settings import JobSpec, parse
from fedward.weights import Weights, layout_of
from tests.support.flare.simulated import Act, Simulated, job_content, on, simulate, steady

BAD = (np.nan, np.inf, -np.inf)
SHAPES: dict[str, tuple[int, ...]] = {"scalar": (), "one": (1,), "matrix": (3, 4), "volume": (2, 3, 2, 2)}


def job(**federation: Any) -> JobSpec:
    return parse(JobSpec, job_content(federation=federation), where="test")


def model(dtype: str = "<f4") -> Weights:
    return {name: np.ones(shape, dtype) for name, shape in SHAPES.items()}


def rounds(spec: JobSpec, dtype: str = "<f4") -> JobRounds:
    return JobRounds(spec, job_id="job-1", initial=model(dtype))


def reply(update: Weights, **metrics: Any) -> Reply:
    return Reply(metrics={"patients": 10, "steps": 16, **metrics}, update=update)


def small(dtype: str = "<f4", factor: float = 1.0) -> Weights:
    return {name: np.full(shape, 0.01 * factor, dtype) for name, shape in SHAPES.items()}


def run(folder: Path, north: Act, *, only: range = range(10_000), **how: Any) -> Simulated:
    script = on(Task.ROUND, north, rounds=only)
    return simulate(folder, {"city": steady(5.0), "coast": steady(1.0), "north": script}, **how)


@pytest.mark.parametrize("value", BAD)
@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8"])
@pytest.mark.parametrize(("tensor", "at"), [(name, at) for name in SHAPES for at in (0, -1)])
def test_a_value_that_is_not_finite_is_refused_wherever_it_stands(
    tensor: str, at: int, dtype: str, value: float
) -> None:
    update = small(dtype)
    update[tensor].flat[at] = value
    with pytest.raises(FedwardError, match=f"{tensor}.*not finite"):
        check_tensors(update, layout_of(model(dtype)))  # as both gates do
    taken = rounds(job(), dtype).round(rounds(job(), dtype).initial)
    with pytest.raises(FedwardError, match=f"{tensor}.*not finite"):
        taken.take("north", reply(update))
    assert taken.sites == []


@pytest.mark.parametrize("kind", ["mean", "median", "fedadam"])
def test_finite_updates_whose_sum_is_not_finite_make_no_model(kind: str) -> None:
    largest = float(np.finfo(np.float64).max)
    updates = {site: ({"w": np.full(3, largest)}, 1.0) for site in ("city", "coast", "north", "south")}
    step = ServerStep(job(aggregation=kind))
    with pytest.raises(JobError, match="not finite"):
        step.difference(updates)
    assert step.last is None and step.state == {}  # a state with infinity would spoil every later round


def test_a_model_that_overflows_is_no_model() -> None:
    spec, largest = job(), float(np.finfo(np.float32).max)
    known = rounds(spec)
    start = known.initial.__class__(after=0, weights={name: np.full(s, largest, "<f4") for name, s in SHAPES.items()})
    taken = known.round(start)
    for site in ("city", "coast"):
        taken.take(site, reply({name: np.full(shape, largest, "<f4") for name, shape in SHAPES.items()}))
    with pytest.raises(JobError, match="not finite"):
        taken.close()
    assert NORMS not in known.step


@pytest.mark.parametrize("value", [*BAD, 10**400, -1, 1e300, "nan", True, [1], {"a": 1}, b"1"])
def test_no_number_of_another_kind_weighs_a_site_or_scores_a_model(value: object) -> None:
    found = received({"patients": value, "steps": value, "scores": {"auc": value}}, names=("finding",))
    assert found["patients"] is None and found["steps"] is None and found["scores"]["auc"] is None
    taken = rounds(job()).round(rounds(job()).initial)
    with pytest.raises(JobError, match="how many patients"):
        taken.take("north", Reply(metrics=found, update=small()))


@pytest.mark.parametrize("steps", [0, -3, 1, 17, 10**9, None])
def test_steps_that_the_job_does_not_allow_scale_no_update(steps: int | None) -> None:
    spec = job(stragglers="fewer_steps")
    taken = rounds(spec).round(rounds(spec).initial)
    with pytest.raises(JobError, match="steps"):
        taken.take("north", reply(small(), steps=steps))


@pytest.mark.parametrize("extra", [{}, {"stragglers": "fewer_steps"}, {"aggregation": "fedadam"}])
def test_an_update_times_a_thousand_leaves_the_others_model(tmp_path: Path, extra: dict[str, Any]) -> None:
    poisoned = run(tmp_path / "a", Act("huge"), federation=extra)
    without = run(tmp_path / "b", Act("refuse"), federation=extra)
    assert poisoned.of("finished") and poisoned.store.final is not None and without.store.final is not None
    for name, array in without.store.final.items():
        np.testing.assert_array_equal(poisoned.store.final[name], array)  # to the bit
    for event in poisoned.of("round"):
        told = event["participation"]["north"]
        assert event["sites"] == ["city", "coast"] and told["outcome"] == "dropped" and told["trained"]
        assert told["reason"].startswith("update is too long to count: norm ")
    assert [event["site"] for event in poisoned.of("dropped")] == ["north"] * 8
    (ended,) = poisoned.of("finished")
    assert list(ended["missing"]) == ["north"] or ended["missing"] == {}


def test_with_too_few_others_the_round_does_not_count(tmp_path: Path) -> None:
    ran = run(tmp_path, Act("huge"), federation={"min_sites": 3})
    (failed,) = ran.of("failed")
    assert "2 sites where min_sites is 3" in failed["reason"] and not ran.of("round")
    named = run(tmp_path / "b", Act("huge"), federation={"must_include": ["north"]})
    assert "north (update is too long to count" in named.of("failed")[0]["reason"]


def test_a_site_that_sends_poison_once_counts_again_afterwards(tmp_path: Path) -> None:
    ran = run(tmp_path, Act("huge"), only=range(3, 4))
    assert [len(event["sites"]) for event in ran.of("round")] == [3, 3, 3, 2, 3, 3, 3, 3]


def test_a_changed_sign_counts_since_its_norm_is_honest(tmp_path: Path) -> None:
    ran = run(tmp_path, Act("flipped"))
    assert [len(event["sites"]) for event in ran.of("round")] == [3] * 8


def test_honest_sites_lose_no_round(tmp_path: Path) -> None:
    assert not run(tmp_path, Act("answer")).of("dropped")


def test_two_sites_are_judged_by_the_rounds_before(tmp_path: Path) -> None:
    sites = {"city": steady(1.0), "north": on(Task.ROUND, Act("huge"), rounds=range(2, 3))}
    ran = simulate(tmp_path, sites, federation={"min_sites": 1})
    assert [event["sites"] for event in ran.of("round")][1:4] == [["city", "north"], ["city"], ["city", "north"]]


def test_the_memory_of_norms_goes_to_the_next_process() -> None:
    spec = job()
    one, other = rounds(spec), rounds(spec)
    taken = one.round(one.initial)
    for site in ("city", "coast"):
        taken.take(site, reply(small()))
    after = taken.close()
    assert json.dumps([float(norm) for norm in one.step[NORMS][NORMS]])
    other.restore(key=None, roster=None, masked=None, step=one.step)
    for known in (one, other):
        again = known.round(after)
        again.take("city", reply(small()))
        again.take("coast", reply(small(factor=1000.0)))
        again.stop()
        assert list(again.left_out) == ["coast"]
    assert one.step[NORMS][NORMS].tolist() == other.step[NORMS][NORMS].tolist()


@pytest.mark.parametrize("kept", [np.array([1.0, np.nan]), np.array([0.0]), np.array([[1.0]]), np.array([1])])
def test_a_damaged_memory_is_refused(kept: Any) -> None:
    with pytest.raises(JobError, match="norms"):
        UsualNorms(job()).restore({NORMS: {NORMS: kept}})
