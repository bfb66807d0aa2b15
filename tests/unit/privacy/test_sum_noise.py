"""Shares of a sum's noise: how much is left against whom, what fits into a sum, and what a job may say."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fedward.errors import JobError, PolicyError, SettingsError
from fedward.privacy.accountant import Event, epsilon
from fedward.privacy.budget_plan import plan_site, union_patients
from fedward.privacy.noise import SecureRandom
from fedward.privacy.policy.linter import CohortFacts, faults, remarks
from fedward.privacy.rounded_normal import MOST
from fedward.privacy.sum_noise import (
    LEAST_SHARE,
    MARGIN,
    RARE_BITS,
    Shares,
    _most_drawn,
    check_ring,
    shares_of,
    strangers_of,
    sum_grid,
)
from fedward.privacy.sum_words import against, sum_words
from fedward.settings import JobSpec, parse
from tests.support.flare.sum_job import sum_job


def job_of(*, dp_sgd: Any = None, encryption: Any = None, training: Any = None, **federation: Any) -> JobSpec:
    return sum_job(encryption=encryption, training=training, federation=federation, **(dp_sgd or {}))


@given(sites=st.integers(3, 60), missing=st.integers(0, 20), colluding=st.integers(0, 20))
def test_the_noise_that_counts_is_never_below_the_promise(sites: int, missing: int, colluding: int) -> None:
    if sites <= missing + colluding:
        with pytest.raises(JobError, match="none is left whose noise counts"):
            Shares(sites=sites, missing=missing, colluding=colluding)
        return
    shares = Shares(sites=sites, missing=missing, colluding=colluding)
    assert shares.known_to(colluding, 1.5) == pytest.approx(1.5)
    assert shares.known_to(0, 1.5) >= 1.5 - 1e-12
    assert shares.known_to(sites, 1.5) == 0.0
    grid = sum_grid(job_of(), values=1000)
    kept = sites - missing - colluding
    assert shares.std(grid, 1.5) * math.sqrt(kept) == pytest.approx(grid.std(1.5))


def test_shares_add_up_to_the_promise() -> None:
    grid, shares = sum_grid(job_of(), values=1000), Shares(sites=8, missing=2, colluding=2)
    source = SecureRandom()
    drawn = [source.rounded_normal(200_000, shares.std(grid, 1.5)) for _ in range(6)]
    due = grid.std(1.5)
    assert np.sum(drawn, axis=0).std() / due == pytest.approx(math.sqrt(6 / 4), rel=0.01), "six are there"
    assert np.sum(drawn[2:], axis=0).std() / due == pytest.approx(1.0, rel=0.01), "two of them tell theirs"


@pytest.mark.parametrize("expected", [0.5, 8.0, 40.0, 1000.0])
def test_more_patients_than_a_sum_has_room_for_are_rare(expected: float) -> None:
    most = _most_drawn(expected)
    assert stats.poisson.sf(most - 1, expected) < 2.0 ** -(RARE_BITS + 1)
    assert most < 6 * expected + 60, "and not many more than needed"


@pytest.mark.parametrize("precision", ["compact", "precise"])
@pytest.mark.parametrize("values", [100, 100_000, 7_000_000])
def test_patients_and_noise_fit_into_a_sum(values: int, precision: str) -> None:
    job = job_of(encryption={"precision": precision})
    grid, bits = check_ring(job, values=values, noise_multiplier=3.0), 32 if precision == "compact" else 48
    patients = _most_drawn(MARGIN * 40.0) * (grid.steps + 1)
    noise = grid.std(3.0) * math.sqrt(3 / 2) * stats.norm.isf(2.0 ** -(RARE_BITS + 2) / values)
    assert patients + noise < 2 ** (bits - 1)
    assert grid.growth < 0.05 and grid.steps & (grid.steps - 1) == 0


@pytest.mark.parametrize(
    ("changes", "noise", "says"),
    [
        ({"patients_per_step": 1.0}, 200.0, "would wrap around"),
        ({"patients_per_step": 1e6, "sampling_rate": 1.0}, 8.0, "would enlarge the noise"),
    ],
)
def test_what_does_not_fit_is_refused_with_a_remedy(changes: Any, noise: float, says: str) -> None:
    with pytest.raises(JobError, match=says) as error:
        check_ring(job_of(dp_sgd=changes), values=7_000_000, noise_multiplier=noise)
    assert "precise" in str(error.value)


@settings(deadline=None, max_examples=200)
@given(
    precision=st.sampled_from(["compact", "precise"]),
    sites=st.integers(3, 40),
    patients=st.floats(1.0, 1e4),
    noise=st.floats(0.1, 1e3),
    values=st.integers(10, 10_000_000),
)
def test_every_job_that_passes_has_a_share_that_can_be_drawn(
    precision: str, sites: int, patients: float, noise: float, values: int
) -> None:
    job = job_of(
        min_sites=sites, encryption={"precision": precision, "max_sites": 64}, dp_sgd={"patients_per_step": patients}
    )
    try:
        grid = check_ring(job, values=values, noise_multiplier=noise)
    except JobError:
        return
    for taking_part in (sites, 64):
        std = shares_of(job, sites=taking_part).std(grid, noise)
        assert LEAST_SHARE <= std <= MOST


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, ""),
        ({"encryption": False}, "only masks hide it"),
        ({"encryption": {"scheme": "aes-ctr"}}, "only masks hide it"),
        ({"training": {"local_steps": 2}}, "training.local_steps"),
        ({"training": {"fedprox_mu": 0.1}}, "training.fedprox_mu"),
        ({"training": {"keep_optimizer": True}}, "training.keep_optimizer"),
        ({"weighting": "patients"}, "federation.weighting"),
        ({"dp_sgd": {"ema_decay": 0.5}}, "privacy.dp_sgd.ema_decay"),
        ({"dp_sgd": {"max_missing": 2}}, "none is left whose noise counts"),
    ],
)
def test_settings_that_do_not_go_with_it(changes: Any, says: str) -> None:
    found = faults(job_of(**changes))
    assert found == [] if not says else says in " | ".join(found)


@pytest.mark.parametrize("setting", ["sampling_rate", "max_missing", "max_colluding"])
def test_settings_of_the_sum_are_for_it_alone(setting: str) -> None:
    with pytest.raises(SettingsError, match="is for noise = 'sum' alone"):
        job_of(dp_sgd={"noise": "site", "sampling_rate": None, setting: 1})
    with pytest.raises(SettingsError, match="needs sampling_rate"):
        job_of(dp_sgd={"sampling_rate": None})


def test_delta_is_held_against_the_patients_of_all_hospitals() -> None:
    job = job_of(dp_sgd={"delta": 5e-4})
    assert union_patients(job.privacy.dp_sgd) == 400  # type: ignore[arg-type]
    assert "1/(10 · 400 training patients)" in " ".join(faults(job, cohort=CohortFacts(patients=40, images=40)))
    with pytest.raises(JobError, match="delta is too large"):
        plan_site(job, site="north", patients=40)


def test_a_small_hospital_takes_part_and_one_too_large_does_not() -> None:
    plan = plan_site(job_of(), site="north", patients=5)
    assert (plan.sampling_rate, plan.steps, plan.absent_noise) == (0.1, 60, 1)
    assert plan.epsilon == plan_site(job_of(), site="south", patients=300).epsilon
    with pytest.raises(JobError, match="are more than 2 times what a step of all hospitals expects"):
        plan_site(job_of(), site="north", patients=900)


def test_epsilon_against_those_who_know_some_of_the_noise() -> None:
    job = job_of(dp_sgd={"max_missing": 1, "max_colluding": 1}, encryption={"max_colluding": 1})
    rows = {one.hospitals: one for one in against(job, sites=5, noise_multiplier=1.5)}
    assert rows[1].epsilon == pytest.approx(
        epsilon([Event(sampling_rate=0.1, noise_multiplier=1.5, steps=60)], delta=1e-5)
    )
    assert rows[0].epsilon < rows[1].epsilon < rows[2].epsilon
    assert [one.within for one in rows.values()] == [True, True, False]
    words = " ".join(sum_words(job, sites=5, noise_multiplier=1.5))
    assert "each of 5 adds a share, and 3 shares are the noise" in words
    assert "a sum of fewer than 4 is not opened" in words and "the server alone" in words
    alone = " ".join(sum_words(job_of(dp_sgd={"max_colluding": 0}), sites=3))
    assert "counts on the noise of every hospital" in alone


@pytest.mark.parametrize(
    ("sites", "says"),
    [
        (3, "no hospital may be missing from a round, for masks of 3 hospitals open no other sum: max_missing 1 adds"),
        (4, "1 may be missing from a round, and a sum of fewer than 3 is not opened"),
    ],
)
def test_what_masks_cannot_bear_is_not_promised(sites: int, says: str) -> None:
    job = job_of(dp_sgd={"max_missing": 1, "max_colluding": 1}, encryption={"max_colluding": 1})
    words = " ".join(sum_words(job, sites=sites, noise_multiplier=1.5))
    assert says in words
    assert ("1 share is" in words) == (sites == 3)


def test_strangers_are_no_more_than_the_noise_bears() -> None:
    job = job_of(dp_sgd={"max_colluding": 1}, encryption={"max_colluding": 3}, min_sites=8)
    assert strangers_of(job) == 1 and shares_of(job, sites=8).counted == 7
    assert any("the noise bears 1 hospitals" in remark for remark in remarks(job))


def policy(**privacy: Any) -> Any:
    from fedward.settings import SitePolicy

    content = {
        "site": "north",
        "key": "key",
        "ledger": "ledger.db",
        "approved_jobs": "any",
        "disclosure": {"metrics": [], "decimals": 3, "min_count": 5},
        "cohorts": {
            "chest": {
                "images": "images",
                "index": "index",
                "max_quarantined_fraction": 0.1,
                "validation_fraction": 0.3,
                "privacy": {"dp": "not-required", "encryption": "not-required", **privacy},
            }
        },
    }
    return parse(SitePolicy, content, where="site.toml")


@pytest.mark.parametrize(
    ("privacy", "says"),
    [
        ({}, "adds all of the noise that its patients need"),
        ({"noise_for_sum": True}, ""),
        ({"noise_for_sum": True, "sum_min_sites": 4}, "noise for a sum of fewer hospitals than this hospital's 4"),
        ({"noise_for_sum": True, "sum_min_colluding": 2}, "fewer hospitals that tell others their noise"),
        ({"noise_for_sum": True, "update_clip_norm_l2": 1.0}, "clips every whole update"),
    ],
)
def test_a_hospital_allows_it_explicitly(privacy: Any, says: str) -> None:
    from fedward.privacy.policy.agreement import agree

    if not says:
        assert agree(job_of(), policy(**privacy)).mechanism == "dp-sgd"
        return
    with pytest.raises(PolicyError, match=says):
        agree(job_of(), policy(**privacy))
