"""Check the contribution of each site of a simulated federation."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest

from fedward.dataset.manifest import Manifest
from fedward.demo.contribution import CoalitionModels, Contribution, contributions, mean_score
from fedward.demo.simulate import run_rounds, take_part, trainers
from fedward.errors import CohortError, FedwardError
from fedward.settings import JobSpec
from fedward.training.networks import initial_weights

MakeCohort = Callable[..., Manifest]
PATIENTS = 24


def with_rounds(job: JobSpec, **changes: object) -> JobSpec:
    return job.model_copy(update={"federation": job.federation.model_copy(update=changes)})


def swapped() -> dict[str, list[str]]:
    """The sick are called well, and the well sick."""
    return {"lesion": [str((number + 1) % 2) for number in range(PATIENTS)]}


def shuffled(seed: int) -> dict[str, list[str]]:
    """Labels unrelated to the image: half of the sick and half of the well are labelled sick."""
    rng = np.random.default_rng(seed)
    values = np.empty(PATIENTS, dtype=int)
    for parity in (0, 1):
        values[parity::2] = rng.permutation(np.arange(PATIENTS // 2) % 2)
    return {"lesion": [str(value) for value in values]}


def three(make_cohort: MakeCohort, labels: dict[str, list[str]], *, seed: int) -> dict[str, Manifest]:
    cohorts = {site: make_cohort(PATIENTS, site=site, seed=seed + i) for i, site in enumerate(("east", "north"))}
    return cohorts | {"noisy": make_cohort(PATIENTS, site="noisy", seed=seed + 9, labels=labels)}


def least(found: Mapping[str, Contribution]) -> tuple[str, str]:
    """Return the site with the smallest Shapley value, and the site whose leaving out costs least."""
    shares = min(found, key=lambda site: found[site].shapley)
    return shares, min(found, key=lambda site: found[site].leave_one_out)


@pytest.mark.parametrize("seed", range(3))
def test_a_site_whose_labels_are_swapped_brings_least(tiny_job: JobSpec, make_cohort: MakeCohort, seed: int) -> None:
    """So for each of the seeds 0 to 19 by Shapley's value, for 17 of them by leaving one out."""
    found = contributions(with_rounds(tiny_job, rounds=5), three(make_cohort, swapped(), seed=seed))
    assert least(found)[0] == "noisy"
    assert found["noisy"].shapley < 0


@pytest.mark.parametrize("seed", range(3))
def test_a_site_whose_labels_are_shuffled_brings_least(tiny_job: JobSpec, make_cohort: MakeCohort, seed: int) -> None:
    """So for 15 of the seeds 0 to 19: a model of noise ranks nine patients at a site well by chance every so often."""
    found = contributions(with_rounds(tiny_job, rounds=5), three(make_cohort, shuffled(seed), seed=seed))
    assert least(found) == ("noisy", "noisy")


def test_the_shares_add_up_to_what_the_federation_gained(tiny_job: JobSpec, make_cohort: MakeCohort) -> None:
    job, cohorts = tiny_job, three(make_cohort, swapped(), seed=0)
    sites = trainers(job, take_part(job, cohorts)[0])
    final, _ = run_rounds(job, sites)
    gained = mean_score(job, sites, final) - mean_score(job, sites, initial_weights(job))
    assert sum(one.shapley for one in contributions(job, cohorts).values()) == pytest.approx(gained, abs=1e-12)


@pytest.mark.parametrize("aggregation", ["mean", "fedadam", "median"])
def test_the_whole_coalitions_model_is_the_federations(
    tiny_job: JobSpec, make_cohort: MakeCohort, aggregation: str
) -> None:
    """And a single site's is what a federation of that site alone would make of the same updates."""
    job = with_rounds(tiny_job, aggregation=aggregation)
    cohorts = {site: make_cohort(12, site=site, seed=i) for i, site in enumerate(("east", "north"))}
    sites = trainers(job, take_part(job, cohorts)[0])
    models = CoalitionModels(job, sorted(sites))
    final, _ = run_rounds(job, sites, on_updates=models.add)
    np.testing.assert_equal(models.of(frozenset(sites)), final)
    np.testing.assert_equal(models.of(frozenset()), initial_weights(job))


def test_what_cannot_be_valued_is_one_line(tiny_job: JobSpec, make_cohort: MakeCohort) -> None:
    with pytest.raises(CohortError, match="no contribution to compare"):
        contributions(tiny_job, {"north": make_cohort(12)})
    many = {f"site-{i}": make_cohort(8, site=f"site-{i}", held_out=2) for i in range(9)}
    with pytest.raises(FedwardError, match="512 coalitions"):
        contributions(tiny_job, many)
