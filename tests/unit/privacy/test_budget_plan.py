"""Check the planned privacy cost of a job for each hospital's patients."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from fedward.errors import JobError
from fedward.privacy.accountant import Event, epsilon
from fedward.privacy.budget_plan import plan_site, repeated_rounds, steps_a_round
from fedward.settings import JobSpec, parse
from tests.conftest import tiny_job_content

DP_SGD = {"delta": 1e-3, "clip_norm_l2": 1.5, "patients_per_step": 10.0, "noise_multiplier": 2.0}
UPDATE = {"clip_norm_l2": 3.0, "noise_multiplier": 5.0, "delta": 1e-3}


def job(*, dp_sgd: dict[str, Any] | None = None, update: dict[str, Any] | None = None, **training: Any) -> JobSpec:
    content = tiny_job_content()
    content["training"] |= training
    content["federation"]["rounds"] = 3
    if dp_sgd is not None:
        content["privacy"] = {"mechanism": "dp-sgd", "dp_sgd": DP_SGD | dp_sgd}
    elif update is not None:
        content["privacy"] = {"mechanism": "update-noise", "update": UPDATE | update}
    return parse(JobSpec, content, where="tiny")


def test_epsilon_of_a_given_noise() -> None:
    plan = plan_site(job(dp_sgd={}), site="north", patients=80, steps_a_round=8)
    assert (plan.sampling_rate, plan.steps, plan.clip_norm_l2) == (0.125, 24, 1.5)
    assert plan.event == Event(sampling_rate=0.125, noise_multiplier=2.0, steps=24)
    assert plan.epsilon == epsilon([plan.event], delta=1e-3)


def test_noise_for_a_wanted_epsilon() -> None:
    asked = job(dp_sgd={"noise_multiplier": None, "epsilon": 4.0})
    plan = plan_site(asked, site="north", patients=80, steps_a_round=8)
    assert 3.98 < plan.epsilon <= 4.0
    assert epsilon([plan.event], delta=1e-3) == plan.epsilon


@pytest.mark.parametrize(
    "asked", [job(dp_sgd={}), job(dp_sgd={"noise_multiplier": None, "epsilon": 1.0}), job(update={})]
)
def test_a_plan_says_what_the_repeated_rounds_come_to_and_allows_no_more(asked: JobSpec) -> None:
    plan = plan_site(asked, site="north", patients=80)
    in_a_round = plan.steps // asked.federation.rounds
    assert plan.allowance == 2 * in_a_round
    more = replace(plan.event, steps=plan.steps + 2 * in_a_round)
    assert plan.limit == more
    assert plan.epsilon < plan.ceiling == epsilon([more], delta=plan.delta)


@pytest.mark.parametrize(("rounds", "repeated"), [(1, 2), (2, 2), (20, 2), (29, 2), (30, 3), (200, 20)])
def test_two_rounds_or_a_tenth_may_be_repeated(rounds: int, repeated: int) -> None:
    assert repeated_rounds(rounds) == repeated


def test_noise_on_the_update_protects_against_any_change_of_a_patient() -> None:
    plan = plan_site(job(update={}), site="north", patients=80)
    assert (plan.sampling_rate, plan.noise_multiplier, plan.steps, plan.clip_norm_l2) == (1.0, 5.0, 3, 3.0)
    assert plan.event == Event(sampling_rate=1.0, noise_multiplier=2.5, steps=3)
    assert plan.epsilon == epsilon([plan.event], delta=1e-3)


@pytest.mark.parametrize(
    ("training", "patients", "steps"),
    [
        ({"local_epochs": 2}, 80, 16),
        ({"local_epochs": 1}, 96, 10),
        ({"local_epochs": 3}, 4, 3),
        ({"local_epochs": None, "local_steps": 7}, 80, 7),
    ],
)
def test_steps_a_round(training: dict[str, Any], patients: int, steps: int) -> None:
    assert steps_a_round(job(dp_sgd={}, **training), patients=patients) == steps
    if patients >= 10:
        assert plan_site(job(dp_sgd={}, **training), site="a", patients=patients).steps == 3 * steps


@pytest.mark.parametrize(
    ("asked", "patients", "said"),
    [
        (job(), 80, "tiny: no differential privacy"),
        (job(dp_sgd={}), 101, "north: delta is too large: 0.001; give at most 0.00099"),
        (job(update={}), 101, "north: delta is too large: 0.001; give at most 0.00099"),
        (job(dp_sgd={}), 9, "north: a step expects more patients than the 9 there are: 10.0"),
        (job(update={"noise_multiplier": 0.0}), 80, "north: privacy.update adds no noise"),
        (job(update={"delta": None}), 80, "north: privacy.update.delta is missing"),
        (job(dp_sgd={}), 0, "north: no training patient"),
    ],
)
def test_what_has_no_epsilon_is_refused_in_one_line(asked: JobSpec, patients: int, said: str) -> None:
    with pytest.raises(JobError) as refusal:
        plan_site(asked, site="north", patients=patients, steps_a_round=5)
    assert str(refusal.value).startswith(said)
    assert len(str(refusal.value).splitlines()) == 1


def test_a_round_without_a_step_is_refused() -> None:
    with pytest.raises(JobError, match="at least one step"):
        plan_site(job(dp_sgd={}), site="north", patients=80, steps_a_round=0)


def test_the_accountant_counts_what_is_hardly_noise_as_none() -> None:
    plan = plan_site(job(dp_sgd={"noise_multiplier": 1e-4}), site="north", patients=80)
    assert plan.epsilon == math.inf
