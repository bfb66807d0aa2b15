"""Check when a round counts: sites, hospitals by name, patients, and every reason at once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedward.aggregation.coverage import Coverage, judge
from fedward.settings import JobSpec, parse
from tests.conftest import tiny_job_content

SITES = ("city", "coast", "north", "south")
ACCEPTED = st.dictionaries(st.sampled_from(SITES), st.none() | st.integers(0, 200))
POLICIES = st.builds(
    Coverage,
    min_sites=st.integers(1, 4),
    must_include=st.lists(st.sampled_from(SITES), unique=True).map(tuple),
    min_patients=st.none() | st.integers(1, 400),
)


@given(accepted=ACCEPTED, policy=POLICIES)
def test_a_round_counts_exactly_when_all_three_hold(accepted: dict[str, int | None], policy: Coverage) -> None:
    sites = len(accepted) >= policy.min_sites
    named = all(site in accepted for site in policy.must_include)
    patients = sum(told or 0 for told in accepted.values()) >= (policy.min_patients or 0)
    reason = judge(accepted, policy)
    assert (reason is None) == (sites and named and patients)
    assert ("min_sites" in (reason or "")) == (not sites)
    assert ("must_include" in (reason or "")) == (not named)
    assert ("min_patients" in (reason or "")) == (not patients)


@given(accepted=ACCEPTED, policy=POLICIES, more=st.sampled_from(SITES))
def test_one_more_site_never_makes_a_round_worse(accepted: dict[str, int | None], policy: Coverage, more: str) -> None:
    if judge(accepted, policy) is None and more not in accepted:
        assert judge({**accepted, more: None}, policy) is None


def test_the_reason_names_who_is_missing_and_why_and_who_does_not_say() -> None:
    policy = Coverage(min_sites=3, must_include=("north", "coast"), min_patients=200)
    assert judge({"city": 120, "south": None}, policy, why={"north": "no answer in time"}) == (
        "2 sites where min_sites is 3; must_include names coast (no reason known), north (no answer in time); "
        "120 patients where min_patients is 200 (not reported, and counted as 0, by south)"
    )
    assert judge({"city": 120, "coast": 79, "north": 1}, policy) is None


def test_too_few_sites_are_told_with_those_that_are_not_there() -> None:
    policy, late = Coverage(min_sites=3, must_include=("north",)), "no answer in time"
    why = {"north": late, "coast": "the ledger is gone", "city": late}
    assert judge({"city": 1, "west": 1}, policy, why=why) == (
        "2 sites where min_sites is 3, without coast (the ledger is gone); must_include names north (no answer in time)"
    )
    many = {f"site-{number}": late for number in range(9)}
    assert judge({"city": 1}, Coverage(min_sites=3), why=many) == (
        "1 sites where min_sites is 3, without site-0 (no answer in time), site-1 (no answer in time), "
        "site-2 (no answer in time), 6 more"
    )


def test_a_site_cannot_accuse_another_by_its_own_reason() -> None:
    why = {"north": "disk full), coast (revoked"}
    assert judge({"city": 1}, Coverage(min_sites=2), why=why) == (
        '1 sites where min_sites is 2, without north ("disk full), coast (revoked")'
    )
    assert judge({"city": 1}, Coverage(min_sites=1, must_include=("north",)), why=why) == (
        'must_include names north ("disk full), coast (revoked")'
    )


def test_patients_that_are_not_needed_may_stay_untold() -> None:
    assert judge({"city": None, "coast": None}, Coverage(min_sites=2)) is None
    assert judge({"city": 10, "coast": None}, Coverage(min_sites=2, min_patients=10)) is None


def test_the_policy_is_the_jobs() -> None:
    content = tiny_job_content()
    assert Coverage.of(parse(JobSpec, content, where="test")) == Coverage(min_sites=2)
    content["federation"] |= {"must_include": ["north"], "min_patients": 40}
    policy = Coverage.of(parse(JobSpec, content, where="test"))
    assert policy.plain() == {"min_sites": 2, "must_include": ["north"], "min_patients": 40}
    assert policy.missing(["city"]) == ["north"] and policy.missing(["north", "city"]) == []


@pytest.mark.parametrize("word", ["sites", "patients", "must_include"])
def test_nobody_is_never_enough(word: str) -> None:
    assert word in str(judge({}, Coverage(min_sites=1, must_include=("north",), min_patients=1)))
