"""Real training is not flagged as free riding; the updates of Lin et al. 2019 and Fraboni et al. 2021 are."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from fedward.aggregation.fedavg import weighted_mean
from fedward.aggregation.free_rider import NOTHING, _median_without, suspects
from fedward.dataset.manifest import Manifest
from fedward.settings import JobSpec, parse
from fedward.training.networks import initial_weights
from fedward.training.trainer import Trainer
from fedward.weights import Weights, add, difference
from tests.conftest import tiny_job_content

MakeCohort = Callable[..., Manifest]
ROUNDS = 4


@dataclass(frozen=True)
class Honest:
    """A round of real training: what each site sent, and the step before."""

    updates: dict[str, Weights]
    previous: Weights | None


def train(make_cohort: MakeCohort, sizes: tuple[int, ...], *, seed: int, **training: object) -> list[Honest]:
    content = tiny_job_content()
    content["job"]["seed"] = seed
    content["federation"]["rounds"] = ROUNDS
    content["training"] |= training
    job = parse(JobSpec, content, where="test")
    sites = {f"site-{at}": make_cohort(size, site=f"site-{at}", seed=10 * seed + at) for at, size in enumerate(sizes)}
    trainers = {site: Trainer(job, [manifest], site=site) for site, manifest in sites.items()}
    weights, previous, rounds = initial_weights(job), None, []
    for number in range(ROUNDS):
        trained = {site: one.train(weights, round_number=number) for site, one in trainers.items()}
        updates = {site: difference(one.weights, weights) for site, one in trained.items()}
        rounds.append(Honest(updates, previous))
        previous = weighted_mean({site: (updates[site], float(one.patients)) for site, one in trained.items()})
        weights = add(weights, previous)
    return rounds


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "training",
    [{"optimizer": "AdamW", "lr": 0.003}, {"optimizer": "SGD", "lr": 0.05}],
    ids=["AdamW", "SGD"],
)
def test_honest_sites_of_any_size_are_not_flagged(
    make_cohort: MakeCohort, seed: int, training: dict[str, object]
) -> None:
    for number, honest in enumerate(train(make_cohort, (12, 48, 24, 16), seed=seed, **training)):
        assert suspects(honest.updates, previous=honest.previous) == {}, number


def test_full_passes_at_a_small_rate_bring_everybody_near_everybody_and_nobody_is_flagged(
    make_cohort: MakeCohort,
) -> None:
    """One step on all images a round: all updates are nearly the gradient, and nearly the last step."""
    full = {"optimizer": "SGD", "lr": 1e-3, "local_epochs": None, "local_steps": 1, "batch_size": 64}
    for honest in train(make_cohort, (32, 32, 32), seed=1, **full):
        assert suspects(honest.updates, previous=honest.previous) == {}


@pytest.fixture
def honest(make_cohort: MakeCohort) -> Honest:
    return train(make_cohort, (24, 32, 16, 28), seed=2, optimizer="AdamW", lr=0.003)[2]


def with_rider(honest: Honest, update: Weights) -> dict[str, str]:
    return suspects({**honest.updates, "site-2": update}, previous=honest.previous)


def noise(like: Weights, *, seed: int, scale: float | None = None) -> Weights:
    """Gaussian, of one scale or of each layer's own as Lin et al.'s STD."""
    rng = np.random.default_rng(seed)
    return {
        name: rng.normal(0, float(np.std(array)) if scale is None else scale, array.shape).astype(array.dtype)
        for name, array in like.items()
    }


def scaled(update: Weights, factor: float) -> Weights:
    return {name: np.asarray(array * factor, dtype=array.dtype) for name, array in update.items()}


@pytest.mark.parametrize("factor", [0.0, 1e-6])
def test_the_model_sent_back_is_flagged(honest: Honest, factor: float) -> None:
    found = with_rider(honest, scaled(honest.updates["site-2"], factor))
    assert set(found) == {"site-2"} and "changes nothing" in found["site-2"]


@pytest.mark.parametrize("factor", [1.0, 0.3, 5.0])
def test_the_last_step_sent_again_is_flagged_however_it_is_scaled(honest: Honest, factor: float) -> None:
    assert honest.previous is not None
    found = with_rider(honest, scaled(honest.previous, factor))
    assert set(found) == {"site-2"} and "last global step" in found["site-2"]


@pytest.mark.parametrize("factor", [1.0, 0.5, 3.0])
def test_a_copy_is_flagged_with_the_one_that_it_copies(honest: Honest, factor: float) -> None:
    found = with_rider(honest, scaled(honest.updates["site-0"], factor))
    assert set(found) == {"site-0", "site-2"}
    assert "site-0" in found["site-2"] and "site-2" in found["site-0"]


@pytest.mark.parametrize("scale", [1e-4, 1e-1, None], ids=["small", "large", "of each layer"])
def test_noise_is_flagged_in_nearly_every_draw(honest: Honest, scale: float | None) -> None:
    found = [with_rider(honest, noise(honest.updates["site-2"], seed=seed, scale=scale)) for seed in range(40)]
    assert all(set(one) <= {"site-2"} for one in found), "the honest ones are left alone"
    assert sum("noise" in one.get("site-2", "") for one in found) >= 38


def test_two_who_send_noise_are_flagged_among_five(honest: Honest) -> None:
    updates = dict(honest.updates)
    updates |= {site: noise(updates["site-0"], seed=at) for at, site in enumerate(("site-8", "site-9"))}
    assert set(suspects(updates, previous=honest.previous)) == {"site-8", "site-9"}


def test_hand_worked_norms() -> None:
    """Norms 1, 1 and just at, or just above, the hundredth of their median."""
    axes = np.eye(3, dtype=np.float64)
    for norm, flagged in ((NOTHING, True), (NOTHING * 1.01, False)):
        updates = {"a": {"w": axes[0]}, "b": {"w": axes[1]}, "c": {"w": axes[2] * norm}}
        assert ("c" in suspects(updates)) == flagged


def test_few_sites_nobody_and_nothing_at_all() -> None:
    one = {"w": np.ones(8, np.float32)}
    still = {"w": np.zeros(8, np.float32)}
    assert suspects({}) == {} and suspects({"a": one}) == {}
    assert suspects({"a": still, "b": still, "c": still}, previous=still) == {}, "nobody moved: nobody is odd"
    assert set(suspects({"a": one, "b": still})) == {"b"}
    assert suspects({"a": one, "b": dict(one)}) == {}, "two alone are no yardstick for a copy"


def test_whole_numbers_scalars_and_empty_tensors_are_passed_over_and_no_input_changes(honest: Honest) -> None:
    extra: Weights = {"count": np.array([3], np.int64), "none": np.zeros((0, 2), np.float32), "one": np.float32(0.5)}
    updates = {site: {**update, **extra} for site, update in honest.updates.items()}
    before = {site: {name: array.copy() for name, array in update.items()} for site, update in updates.items()}
    assert suspects(updates) == {}
    for site, update in updates.items():
        for name, array in update.items():
            np.testing.assert_array_equal(array, before[site][name])


def test_the_median_without_one_value_is_that_of_the_others() -> None:
    draw = np.random.default_rng(3)
    for size in range(2, 9):
        ordered = np.sort(draw.integers(0, 4, size).astype(float))
        for place in range(size):
            assert _median_without(ordered, place) == np.median(np.delete(ordered, place))


def test_two_hundred_sites_are_compared_within_seconds_and_the_first_copy_is_named() -> None:
    draw = np.random.default_rng(5)
    updates: dict[str, Weights] = {f"site-{at:03}": {"w": draw.normal(size=300)} for at in range(200)}
    for copy in ("site-120", "site-150"):
        updates[copy] = {"w": 2.0 * updates["site-007"]["w"]}
    start = time.process_time()
    found = suspects(updates)
    assert time.process_time() - start < 5.0
    assert set(found) == {"site-007", "site-120", "site-150"}
    assert "site-120" in found["site-007"] and "site-007" in found["site-120"] and "site-007" in found["site-150"]
