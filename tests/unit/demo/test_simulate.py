"""A federation in one process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fedward.dataset.manifest import Manifest
from fedward.demo.simulate import Simulated, run_rounds, simulate, take_part, trainers
from fedward.errors import CohortError, JobError
from fedward.privacy.budget_plan import plan_site, steps_a_round
from fedward.settings import JobSpec, parse, plain
from fedward.training.networks import initial_weights
from fedward.training.trainer import Progress, Trainer
from fedward.weights import Weights, add, difference

MakeCohort = Callable[..., Manifest]


@pytest.fixture
def two(make_cohort: MakeCohort) -> dict[str, Manifest]:
    return {"north": make_cohort(16, site="north"), "south": make_cohort(24, site="south", seed=1)}


def simulated(job: JobSpec, cohorts: dict[str, Manifest]) -> Simulated:
    return simulate(job, take_part(job, cohorts)[0])


def with_rounds(job: JobSpec, **changes: object) -> JobSpec:
    return job.model_copy(update={"federation": job.federation.model_copy(update=changes)})


def by_hand(job: JobSpec, cohorts: dict[str, Manifest]) -> list[Weights]:
    """Two sites, FedAvg written out: w + (n1·d1 + n2·d2) / (n1 + n2), in float64 as FLARE's run has it."""
    north, south = (Trainer(job, [manifest], site=site) for site, manifest in cohorts.items())
    weights, rounds = initial_weights(job), []
    for number in range(job.federation.rounds):
        done = [trainer.train(weights, round_number=number) for trainer in (north, south)]
        moved = [difference(one.weights, weights) for one in done]
        counts = [1.0, 1.0] if job.federation.weighting == "equal" else [float(one.patients) for one in done]
        mean = {
            name: (
                sum(count * update[name].astype(np.float64) for count, update in zip(counts, moved, strict=True))
                / sum(counts)
            ).astype(weights[name].dtype)
            for name in weights
        }
        weights = add(weights, mean)
        rounds.append(weights)
    return rounds


@pytest.mark.parametrize("weighting", ["patients", "equal"])
def test_the_rounds_are_federated_averaging(tiny_job: JobSpec, two: dict[str, Manifest], weighting: str) -> None:
    job = with_rounds(tiny_job, weighting=weighting)
    done, expected = simulated(job, two), by_hand(job, two)
    assert len(done.rounds) == len(expected) == 2
    for weights, wanted in zip(done.rounds, expected, strict=True):
        for name, array in wanted.items():
            np.testing.assert_array_equal(weights[name], array)
    np.testing.assert_equal(done.weights, done.rounds[-1])
    assert set(done.scores) == {"north", "south"}
    assert done.scores["north"] == Trainer(job, [two["north"]], site="north").validate(done.weights)


def test_the_sites_order_does_not_matter(tiny_job: JobSpec, two: dict[str, Manifest]) -> None:
    turned = dict(reversed(two.items()))
    np.testing.assert_equal(simulated(tiny_job, two).weights, simulated(tiny_job, turned).weights)


def test_the_best_round_where_the_job_asks_for_it(
    tiny_job: JobSpec, two: dict[str, Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made-up scores: 0.5, then 0.9 for the model of one round, then 0.7."""
    job = with_rounds(tiny_job, select="best")
    values = iter([0.5, 0.5, 0.9, 0.9, 0.7, 0.7])

    class Score:
        def plain(self) -> dict[str, float]:
            return {"auc": next(values, 0.0)}

    monkeypatch.setattr(Trainer, "validate", lambda self, weights: Score())
    done = simulated(job, two)
    np.testing.assert_equal(done.weights, done.rounds[0])


def test_a_site_without_the_label_stays_aside_with_its_reason(tiny_job: JobSpec, make_cohort: MakeCohort) -> None:
    cohorts = {"north": make_cohort(), "bare": make_cohort(8, site="bare", labels={"other": ["1"] * 8})}
    parts, aside = take_part(tiny_job, cohorts)
    assert set(parts) == {"north"}
    assert "lesion" in aside["bare"]
    with pytest.raises(CohortError, match="no site can take part"):
        simulate(tiny_job, {})


def test_whoever_follows_sees_every_step_and_can_stop_it(tiny_job: JobSpec, two: dict[str, Manifest]) -> None:
    seen: list[tuple[int, str, int]] = []
    parts = take_part(tiny_job, two)[0]
    simulate(tiny_job, parts, follow=lambda number, site, progress: seen.append((number, site, progress.step)))
    assert seen == sorted(seen)
    assert {(number, site) for number, site, _ in seen} == {(n, s) for n in (0, 1) for s in two}

    def stop(number: int, site: str, progress: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(tiny_job, parts, follow=stop)


def protected(job: JobSpec, **privacy: Any) -> JobSpec:
    content = plain(job)
    content["privacy"] = privacy
    return parse(JobSpec, content, where="test")


DP_SGD = {"noise_multiplier": 1.0, "delta": 1e-3, "clip_norm_l2": 1.0, "patients_per_step": 4}


def test_dp_sgd_takes_the_noise_that_each_site_plans(tiny_job: JobSpec, two: dict[str, Manifest]) -> None:
    job = protected(tiny_job, mechanism="dp-sgd", dp_sgd=DP_SGD)
    parts, _ = take_part(job, two)
    for site, part in parts.items():
        steps = steps_a_round(job, patients=part.patients)
        plan = plan_site(job, site=site, patients=part.patients, steps_a_round=steps)
        assert part.private is not None
        assert part.private.sampling_rate == 4 / part.patients
        assert part.private.noise_multiplier == plan.noise_multiplier
        done = trainers(job, parts)[site].train(initial_weights(job), round_number=0).private
        assert done is not None
        assert (done.steps, done.noise_multiplier) == (steps, plan.noise_multiplier)


def test_two_private_runs_with_one_seed_differ(tiny_job: JobSpec, two: dict[str, Manifest]) -> None:
    job = protected(tiny_job, mechanism="dp-sgd", dp_sgd=DP_SGD)
    parts = take_part(job, two)[0]
    one, other = (simulate(job, parts).weights for _ in range(2))
    assert any((one[name] != other[name]).any() for name in one)


def test_a_site_too_small_for_its_delta_stays_aside(tiny_job: JobSpec, two: dict[str, Manifest]) -> None:
    job = protected(tiny_job, mechanism="dp-sgd", dp_sgd={**DP_SGD, "delta": 7e-3})
    parts, aside = take_part(job, two)
    assert (set(parts), set(aside)) == ({"north"}, {"south"})


def test_every_update_is_clipped_as_the_job_asks(tiny_job: JobSpec, two: dict[str, Manifest]) -> None:
    """One site: the model then moves by its clipped update alone."""
    job = protected(tiny_job, mechanism="none", update={"clip_norm_l2": 0.01})
    parts, _ = take_part(job, {"north": two["north"]})
    before = initial_weights(job)
    for weights in run_rounds(job, trainers(job, parts))[1]:
        moved = difference(weights, before)
        norm = np.sqrt(sum(float(np.square(array, dtype=np.float64).sum()) for array in moved.values()))
        assert norm == pytest.approx(0.01, rel=1e-3)
        before = weights


def test_noise_on_the_update_has_its_promised_size(tiny_job: JobSpec, two: dict[str, Manifest]) -> None:
    update = {"clip_norm_l2": 0.01, "noise_multiplier": 50.0, "delta": 1e-3}
    job = with_rounds(protected(tiny_job, mechanism="update-noise", update=update), rounds=1)
    parts, _ = take_part(job, {"north": two["north"]})
    moved = difference(simulate(job, parts).weights, initial_weights(job))
    values = np.concatenate([array.ravel() for array in moved.values()])
    assert values.std() == pytest.approx(0.5, rel=5 / np.sqrt(2 * values.size))


def test_flares_filters_are_refused(tiny_job: JobSpec, two: dict[str, Manifest]) -> None:
    job = protected(tiny_job, mechanism="none", update={"clip_norm_l2": 1.0, "filters": ["SVTPrivacy"]})
    with pytest.raises(JobError, match="in a federation alone"):
        simulate(job, take_part(job, two)[0])
