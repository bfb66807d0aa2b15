"""A job against a hospital's policy."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedward.errors import JobError, PolicyError
from fedward.privacy.policy.agreement import agree, check_noise, own_terms
from fedward.privacy.policy.job_hash import job_hash
from fedward.settings import JobSpec, SitePolicy, parse, plain
from tests.conftest import OPEN_COHORT, OPEN_SITE, tiny_job_content

DP_SGD = {"noise_multiplier": 1.0, "delta": 1e-4, "clip_norm_l2": 1.0, "patients_per_step": 8}
CLIPPED = {"clip_norm_l2": 2.0}
CLOSED_COHORT = {"dp": "required", "epsilon_cap": 8.0, "delta": 1e-3, "encryption": "not-required"}


def a_job(privacy: dict[str, Any], *, encrypted: bool = False) -> JobSpec:
    """An encrypted one needs three sites, or the linter finds fault with it."""
    content = {**tiny_job_content(), "privacy": privacy}
    if encrypted:
        content |= {"encryption": {"scheme": "aes-ctr"}, "federation": {**content["federation"], "min_sites": 3}}
    return parse(JobSpec, content, where="test")


def a_policy(privacy: dict[str, Any], **site: Any) -> SitePolicy:
    cohort = {
        "images": "images",
        "index": "index",
        "max_quarantined_fraction": 0.1,
        "validation_fraction": 0.3,
        "privacy": privacy,
    }
    content = {"site": "north", "key": "site.key", **OPEN_SITE, "cohorts": {"chest": cohort}, **site}
    return parse(SitePolicy, content, where="test")


def dp_sgd(**changes: Any) -> dict[str, Any]:
    return {"mechanism": "dp-sgd", "dp_sgd": {**DP_SGD, **changes}}


def faulty(**changes: Any) -> dict[str, Any]:
    """DP-SGD with noise on the update beside it, which the linter finds."""
    return {**dp_sgd(**changes), "update": {"clip_norm_l2": 0.5, "noise_multiplier": 6.0}}


def update_noise(**changes: Any) -> dict[str, Any]:
    return {
        "mechanism": "update-noise",
        "update": {"clip_norm_l2": 1.0, "noise_multiplier": 2.0, "delta": 1e-4} | changes,
    }


def test_an_open_policy_takes_an_open_job() -> None:
    agreed = agree(a_job({"mechanism": "none"}), a_policy(OPEN_COHORT))
    assert (agreed.mechanism, agreed.clip, agreed.clip_norm_l2, agreed.noise_multiplier) == ("none", None, None, 0.0)
    assert (agreed.dp_sgd, agreed.filters, agreed.epsilon_cap, agreed.delta) == (None, (), None, None)


@pytest.mark.parametrize(
    ("job", "site", "expected"),
    [
        (None, None, (None, None)),
        (2.0, None, ("per-layer", 2.0)),
        (None, 0.5, ("global", 0.5)),
        (2.0, 0.5, ("per-layer", 0.5)),
        (0.25, 0.5, ("per-layer", 0.25)),
    ],
)
def test_the_smaller_clip_of_the_update_holds(
    job: float | None, site: float | None, expected: tuple[str | None, float | None]
) -> None:
    update = {} if job is None else {"update": {"clip": "per-layer", "clip_norm_l2": job}}
    agreed = agree(a_job({"mechanism": "none", **update}), a_policy({**OPEN_COHORT, "update_clip_norm_l2": site}))
    assert (agreed.clip, agreed.clip_norm_l2) == expected


@pytest.mark.parametrize(
    ("job", "policy", "words"),
    [
        ({"mechanism": "none"}, CLOSED_COHORT, "privacy.mechanism: this cohort is for jobs with differential privacy"),
        (update_noise(noise_multiplier=0.0), CLOSED_COHORT, "a clip is not differential privacy"),
        (faulty(), CLOSED_COHORT, "privacy.update.noise_multiplier"),
        (faulty(), OPEN_COHORT, "privacy.update.noise_multiplier"),
        (dp_sgd(delta=2e-3), CLOSED_COHORT, "privacy.dp_sgd.delta: δ above this hospital's 0.001: 0.002"),
        (update_noise(delta=2e-3), CLOSED_COHORT, "privacy.update.delta: δ above this hospital's 0.001: 0.002"),
        (dp_sgd(epsilon=9.0, noise_multiplier=None), CLOSED_COHORT, "privacy.dp_sgd.epsilon: ε above this hospital's"),
        (dp_sgd(clip_norm_l2=3.0), {**OPEN_COHORT, "max_clip_norm_l2": 2.0}, "privacy.dp_sgd.clip_norm_l2: clip above"),
        (
            {"mechanism": "none", "update": {"clip_norm_l2": 3.0}},
            {**OPEN_COHORT, "max_clip_norm_l2": 2.0},
            "privacy.update.clip_norm_l2: clip above this hospital's largest of 2: 3.0; give at most 2",
        ),
        ({"mechanism": "none"}, {**OPEN_COHORT, "max_clip_norm_l2": 2.0}, "no clip where this hospital's largest is 2"),
        (dp_sgd(), {**OPEN_COHORT, "min_noise_multiplier": 1.1}, "noise below this hospital's smallest of 1.1: 1.0"),
        (update_noise(), {**OPEN_COHORT, "min_noise_multiplier": 1.1}, "2.0; give at least 2.2"),
        ({"mechanism": "none"}, {**OPEN_COHORT, "encryption": "required"}, "leave encrypted or not at all"),
    ],
)
def test_what_a_policy_does_not_give_is_refused(job: dict[str, Any], policy: dict[str, Any], words: str) -> None:
    with pytest.raises(PolicyError) as refused:
        agree(a_job(job), a_policy(policy))
    assert words in str(refused.value)
    assert str(refused.value).startswith("north: ")
    assert "\n" not in str(refused.value)


def test_what_lies_on_the_bound_passes() -> None:
    policy = {**CLOSED_COHORT, "encryption": "required", "max_clip_norm_l2": 1.0, "min_noise_multiplier": 1.0}
    for job in (dp_sgd(delta=1e-3), dp_sgd(epsilon=8.0, noise_multiplier=None), update_noise(delta=1e-3)):
        agreed = agree(a_job(job, encrypted=True), a_policy(policy, federation_key="federation.key"))
        assert (agreed.epsilon_cap, agreed.delta, agreed.min_noise_multiplier) == (8.0, 1e-3, 1.0)


def test_an_encrypted_job_needs_the_federations_key_here() -> None:
    job, required = a_job({"mechanism": "none"}, encrypted=True), {**OPEN_COHORT, "encryption": "required"}
    for privacy in (OPEN_COHORT, required):
        agreed = agree(job, a_policy(privacy, federation_key="federation.key"))
        assert agreed == agree(a_job({"mechanism": "none"}), a_policy(OPEN_COHORT))
        with pytest.raises(PolicyError, match="federation_key: this hospital has no federation key") as refused:
            agree(job, a_policy(privacy))
        assert " | " not in str(refused.value)
    with pytest.raises(PolicyError, match=r"give the job an \[encryption\] table"):
        agree(a_job({"mechanism": "none"}), a_policy(required, federation_key="federation.key"))


def test_a_masked_job_needs_no_key_here() -> None:
    content = tiny_job_content() | {"privacy": {"mechanism": "none"}, "encryption": {}}
    content["federation"] |= {"min_sites": 3}
    job = parse(JobSpec, content, where="masked")
    agree(job, a_policy({**OPEN_COHORT, "encryption": "required"}))


def test_the_sites_own_clip_serves_for_the_largest() -> None:
    policy = a_policy({**OPEN_COHORT, "max_clip_norm_l2": 2.0, "update_clip_norm_l2": 1.0})
    assert agree(a_job({"mechanism": "none"}), policy).clip_norm_l2 == 1.0


def test_a_site_that_clips_to_more_than_it_gives_to_jobs_means_the_smaller() -> None:
    policy = a_policy({**OPEN_COHORT, "max_clip_norm_l2": 1.0, "update_clip_norm_l2": 2.0})
    assert agree(a_job({"mechanism": "none"}), policy).clip_norm_l2 == 1.0


def test_every_reason_is_in_the_one_line() -> None:
    policy = {**CLOSED_COHORT, "encryption": "required", "max_clip_norm_l2": 0.5, "min_noise_multiplier": 5.0}
    with pytest.raises(PolicyError) as refused:
        agree(a_job(faulty(delta=0.01)), a_policy(policy, approved_jobs=["0" * 64]))
    reasons = str(refused.value).split(" | ")
    keys = ("neither added", "approved", "encryption", "clip_norm_l2", "delta", "smallest")
    assert len(reasons) == len(keys)
    assert all(sum(key in reason for reason in reasons) == 1 for key in keys)


def test_a_cohort_that_the_hospital_does_not_have() -> None:
    policy = a_policy(OPEN_COHORT)
    with pytest.raises(PolicyError, match=r"data\.cohort: this hospital has no such cohort: 'chest'"):
        agree(a_job({"mechanism": "none"}), policy.model_copy(update={"cohorts": {}}))


def test_only_approved_jobs_run_where_jobs_are_approved() -> None:
    job = a_job({"mechanism": "none"})
    assert agree(job, a_policy(OPEN_COHORT, approved_jobs=["0" * 64, job_hash(job)]))
    for approved in ([], ["0" * 64]):
        with pytest.raises(PolicyError, match=f"job is not approved here: '{job_hash(job)}'"):
            agree(job, a_policy(OPEN_COHORT, approved_jobs=approved))


def test_a_jobs_hash_follows_its_settings_and_nothing_else() -> None:
    content = tiny_job_content()
    job = parse(JobSpec, content, where="test")
    turned = dict(reversed(list(content.items())))
    assert (
        job_hash(job)
        == job_hash(parse(JobSpec, turned, where="else"))
        == job_hash(parse(JobSpec, plain(job), where=""))
    )
    assert len(job_hash(job)) == 64
    others = [
        {**content, "training": {**content["training"], "lr": 0.0031}},
        {**content, "privacy": dp_sgd()},
        {**content, "privacy": dp_sgd(clip_norm_l2=1.5)},
        {**content, "encryption": {}},
        {**content, "encryption": {"open_final": False}},
    ]
    assert len({job_hash(parse(JobSpec, other, where="")) for other in [content, *others]}) == 6


def test_a_jobs_own_terms_are_what_an_open_policy_agrees_to() -> None:
    for privacy in ({"mechanism": "none"}, dp_sgd(), update_noise(clip="per-layer")):
        assert own_terms(a_job(privacy)) == agree(a_job(privacy), a_policy(OPEN_COHORT))
    with pytest.raises(JobError, match="neither added nor counted"):
        own_terms(a_job(faulty()))


@pytest.mark.parametrize("noise", [0.0, -1.0, math.nan, 0.79])
def test_noise_worked_out_at_the_site_is_held_against_the_smallest(noise: float) -> None:
    policy = a_policy({**CLOSED_COHORT, "min_noise_multiplier": 0.8})
    agreed = agree(a_job(dp_sgd(epsilon=8.0, noise_multiplier=None)), policy)
    for bound in (agreed, policy.cohorts["chest"].privacy):
        check_noise(bound, 0.8)
        with pytest.raises(PolicyError, match="noise_multiplier"):
            check_noise(bound, noise)


def test_no_noise_is_refused_also_where_the_policy_names_no_smallest() -> None:
    with pytest.raises(PolicyError, match="no noise"):
        check_noise(a_policy(OPEN_COHORT).cohorts["chest"].privacy, 0.0)


SMALL = st.sampled_from([0.25, 0.5, 1.0, 2.0, 4.0])
DELTA = st.sampled_from([1e-6, 1e-4, 1e-3, 1e-2])


@st.composite
def jobs(draw: st.DrawFn) -> JobSpec:
    mechanism = draw(st.sampled_from(["none", "dp-sgd", "update-noise"]))
    privacy: dict[str, Any] = {"mechanism": mechanism}
    if mechanism == "dp-sgd":
        wanted = draw(st.sampled_from(["epsilon", "noise_multiplier"]))
        privacy["dp_sgd"] = {
            wanted: draw(SMALL),
            "delta": draw(DELTA),
            "clip_norm_l2": draw(SMALL),
            "patients_per_step": 4,
        }
    if mechanism == "update-noise" or draw(st.booleans()):
        privacy["update"] = {
            "clip": draw(st.sampled_from(["global", "per-layer"])),
            "clip_norm_l2": draw(SMALL),
            "noise_multiplier": draw(st.sampled_from([0.0, 0.5, 1.0, 4.0])),
            "delta": draw(st.none() | DELTA),
        }
    return a_job(privacy, encrypted=draw(st.booleans()))


@st.composite
def policies(draw: st.DrawFn) -> SitePolicy:
    required = draw(st.booleans())
    counted = required or draw(st.booleans())
    privacy = {
        "dp": "required" if required else "not-required",
        "epsilon_cap": draw(SMALL) if counted else None,
        "delta": draw(DELTA) if counted else None,
        "max_clip_norm_l2": draw(st.none() | SMALL),
        "min_noise_multiplier": draw(st.none() | SMALL),
        "update_clip_norm_l2": draw(st.none() | SMALL),
        "encryption": draw(st.sampled_from(["required", "not-required"])),
    }
    approved, key = draw(st.sampled_from(["any", "any", ["0" * 64]])), draw(st.sampled_from(["federation.key", None]))
    return a_policy(privacy, approved_jobs=approved, federation_key=key)


@given(job=jobs(), policy=policies())
@settings(max_examples=600, deadline=None)
def test_an_agreement_is_nowhere_laxer_than_job_or_policy(job: JobSpec, policy: SitePolicy) -> None:
    """Every bound written out once more, from the settings' own descriptions."""
    try:
        agreed = agree(job, policy)
    except PolicyError:
        return
    asked, given_ = job.privacy, policy.cohorts["chest"].privacy
    assert policy.approved_jobs == "any"
    assert job.encryption is not None or given_.encryption == "not-required"
    assert job.encryption is None or job.encryption.scheme == "masked" or policy.federation_key is not None
    assert agreed.mechanism == asked.mechanism
    assert agreed.mechanism != "none" or given_.dp == "not-required"
    assert (agreed.epsilon_cap, agreed.delta) == (given_.epsilon_cap, given_.delta)
    largest = math.inf if agreed.clip_norm_l2 is None else agreed.clip_norm_l2
    assert largest <= (math.inf if asked.update is None else asked.update.clip_norm_l2)
    assert largest <= (given_.update_clip_norm_l2 or math.inf)
    assert (agreed.clip is None) == (agreed.clip_norm_l2 is None)
    bound = given_.max_clip_norm_l2 or math.inf
    assert min(largest, math.inf if agreed.dp_sgd is None else agreed.dp_sgd.clip_norm_l2) <= bound
    if asked.update is not None:
        assert agreed.noise_multiplier >= asked.update.noise_multiplier
        assert asked.update.clip_norm_l2 <= bound
    if agreed.mechanism == "none":
        return
    assert asked.delta is not None
    assert asked.delta <= (given_.delta or 1.0)
    smallest = given_.min_noise_multiplier or 0.0
    if agreed.mechanism == "update-noise":
        assert agreed.noise_multiplier / 2 >= smallest
        assert agreed.noise_multiplier > 0.0
        return
    assert agreed.dp_sgd == asked.dp_sgd
    assert agreed.dp_sgd is not None
    assert agreed.dp_sgd.clip_norm_l2 <= bound
    assert (agreed.dp_sgd.noise_multiplier or math.inf) >= smallest
    assert (agreed.dp_sgd.epsilon or 0.0) <= (given_.epsilon_cap or math.inf)
    assert agreed.min_noise_multiplier == given_.min_noise_multiplier
