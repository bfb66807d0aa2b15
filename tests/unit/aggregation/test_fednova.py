"""Check FedNova's mean by hand, against the paper written down again, and against FedAvg where steps are equal."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedward.aggregation.fedavg import weighted_mean
from fedward.aggregation.fednova import FEWEST, LEAST, accumulation, normalised_mean, steps_taken
from fedward.aggregation.step import ServerStep
from fedward.settings import JobSpec, parse
from fedward.weights import Weights
from tests.conftest import tiny_job_content


def job(**training: Any) -> JobSpec:
    content = tiny_job_content()
    content["training"] |= {"optimizer": "SGD", "momentum": 0.0, "lr": 0.1, **training}
    return parse(JobSpec, content, where="test")


def test_worked_by_hand() -> None:
    """Shares 3/4 and 1/4; norms 4 and 2, so τ_eff = 3.5; 3.5 · (3/4 · 8/4 + 1/4 · 2/2) = 6.125."""
    updates = {"city": ({"w": np.float32([8.0])}, 30.0), "north": ({"w": np.float32([2.0])}, 10.0)}
    made = normalised_mean(updates, {"city": 4.0, "north": 2.0})
    assert made["w"].dtype == np.float32 and made["w"].tolist() == [6.125]


def restated(updates: Mapping[str, tuple[Weights, float]], steps: Mapping[str, int], rho: float) -> Weights:
    """Wang et al. 2020, section 3 and 4, from the vectors a themselves: local momentum, no proximal term."""
    total = sum(weight for _, weight in updates.values())
    share = {site: weight / total for site, (_, weight) in updates.items()}
    a = {site: [(1 - rho ** (taken - k)) / (1 - rho) for k in range(taken)] for site, taken in steps.items()}
    effective = sum(share[site] * np.abs(a[site]).sum() for site in updates)
    return {
        name: effective * sum(share[s] * updates[s][0][name].astype(np.float64) / np.abs(a[s]).sum() for s in updates)
        for name in next(iter(updates.values()))[0]
    }


drawn = st.lists(st.tuples(st.integers(1, 40), st.integers(1, 200)), min_size=1, max_size=6)


@given(drawn, st.sampled_from([0.0, 0.5, 0.9]), st.integers(0, 2**32 - 1))
def test_it_is_what_the_paper_says(sites: list[tuple[int, int]], momentum: float, seed: int) -> None:
    made, rng = job(momentum=momentum), np.random.default_rng(seed)
    updates = {
        f"s{place}": ({"w": rng.normal(size=3).astype(np.float32)}, float(patients))
        for place, (_, patients) in enumerate(sites)
    }
    steps = {f"s{place}": taken for place, (taken, _) in enumerate(sites)}
    found = ServerStep(made).difference(updates, steps=steps)
    np.testing.assert_allclose(found["w"], restated(updates, steps, momentum)["w"], rtol=1e-5, atol=1e-7)


@given(drawn, st.integers(1, 40), st.sampled_from([0.0, 0.9]), st.integers(0, 2**32 - 1))
def test_equal_steps_give_fedavg_to_the_bit(
    sites: list[tuple[int, int]], taken: int, momentum: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    updates = {
        f"s{place}": ({"w": rng.normal(size=(2, 2)).astype(np.float32), "n": np.int64([place])}, float(patients))
        for place, (_, patients) in enumerate(sites)
    }
    found = ServerStep(job(momentum=momentum)).difference(updates, steps=dict.fromkeys(updates, taken))
    plain = weighted_mean(updates)
    assert all(found[name].tobytes() == plain[name].tobytes() for name in plain)


def test_the_fixed_point_is_that_of_the_shares_and_not_of_the_steps() -> None:
    """Two quadratics with minima -1 and 1 in equal shares: FedAvg ends nearer to who takes more steps."""
    minima, steps, ends = {"city": -1.0, "north": 1.0}, {"city": 20, "north": 5}, {}
    for name, how in {"fedavg": None, "fednova": steps}.items():
        step, model = ServerStep(job(lr=0.01)), 0.3
        for _ in range(400):
            updates = {}
            for site, taken in steps.items():
                local = model
                for _ in range(taken):
                    local -= 0.01 * (local - minima[site])
                updates[site] = ({"w": np.float64([local - model])}, 1.0)
            model += float(step.difference(updates, steps=how)["w"][0])
        ends[name] = model
    assert ends["fedavg"] < -0.5 and abs(ends["fednova"]) < 0.1


@pytest.mark.parametrize("steps", [1, 2, 7, 40])
def test_the_norm_of_each_solver(steps: int) -> None:
    rho, alpha = 0.9, 0.1 * 0.5
    momentum = (steps - rho * (1 - rho**steps) / (1 - rho)) / (1 - rho)
    proximal = (1 - (1 - alpha) ** steps) / alpha
    assert accumulation(job(), steps) == steps
    assert accumulation(job(momentum=rho), steps) == pytest.approx(momentum)
    assert accumulation(job(fedprox_mu=0.5), steps) == pytest.approx(proximal)
    assert accumulation(job(weight_decay=0.5), steps) == pytest.approx(proximal)
    assert accumulation(job(optimizer="AdamW"), steps) == steps
    assert accumulation(job(momentum=rho, keep_optimizer=True), steps) == steps


def test_counts_are_not_scaled_and_nothing_is_changed() -> None:
    updates = {
        "city": ({"n": np.int64([4]), "w": np.float32([1.0])}, 1.0),
        "north": ({"n": np.int64([2]), "w": np.float32([1.0])}, 1.0),
    }
    made = normalised_mean(updates, {"city": 4.0, "north": 2.0})
    assert made["n"].tolist() == [3] and updates["north"][0]["w"].tolist() == [1.0]


@given(st.integers(1, 10_000), st.one_of(st.none(), st.integers(-5, 20_000)))
def test_a_site_takes_no_more_than_the_jobs_steps_and_no_fewer_than_a_share(planned: int, asked: int | None) -> None:
    taken = steps_taken(planned, asked)
    assert planned / FEWEST <= taken <= planned and taken >= min(planned, LEAST)
    if asked is None or asked >= planned:
        assert taken == planned
    assert steps_taken(planned, taken) == taken, "what a site took is a number that it can take"


@given(st.integers(1, 500))
def test_the_difference_of_two_numbers_of_steps_is_never_the_gradient_of_a_few(planned: int) -> None:
    """The batches are a fixed sequence: two updates of 8 and 9 steps would give the ninth batch's gradient."""
    numbers = sorted({steps_taken(planned, asked) for asked in range(planned + 2)})
    fewest = numbers[0]
    assert all(later - earlier >= min(fewest, LEAST) for earlier, later in itertools.pairwise(numbers))
    assert fewest >= min(planned, LEAST)
