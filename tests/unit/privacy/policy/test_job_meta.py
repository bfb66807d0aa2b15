"""Check a job's meta from the server: a closed list of keys; FLARE knows more keys than a job of Fedward has."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nvflare.apis.job_def import JobMetaKey, RunStatus

from fedward.errors import JobError
from fedward.privacy.policy.canonical_job import CanonicalJob
from fedward.privacy.policy.job_meta import CHANGES, _due, require_reported, require_unchanged
from fedward.settings import JobSpec, parse
from tests.conftest import tiny_job_content

JOB_ID = "6a3f1f0e-6a35-4a7e-9c3e-1f3a4b5c6d7e"
CANONICAL = CanonicalJob(job=parse(JobSpec, tiny_job_content(), where="tiny"))
META: dict[str, Any] = {
    "name": "tiny",
    "resource_spec": {},
    "min_clients": 2,
    "mandatory_clients": [],
    "deploy_map": {"app": ["@ALL"]},
    "fedward_version": "0.1.0",
    "study": "default",
    "submitter_name": "lead@uni.org",
    "submitter_org": "uni",
    "submitter_role": "lead",
    "job_folder_name": "tmp3k_2",
    "job_id": JOB_ID,
    "submit_time": 1.5,
    "submit_time_iso": "2026-01-01T00:00:00+00:00",
    "start_time": "",
    "duration": "N/A",
    "data_storage_format": 2,
    "status": RunStatus.SUBMITTED.value,
    "schedule_count": 1,
    "last_schedule_time": 2.5,
    "schedule_history": ["2026-01-01 00:00:00: scheduled"],
    "job_deploy_detail": ["server: OK"],
    "job_clients": [{"name": "north", "site_config": {"format_version": 2}}],
}


def told(
    meta: dict[str, Any], *, job: CanonicalJob = CANONICAL, job_id: str = JOB_ID, site: str | None = "north"
) -> None:
    require_reported(meta, job, job_id=job_id, site=site)


def refused(meta: Any, **given: Any) -> None:
    with pytest.raises(JobError, match=r"^meta\.json"):
        told(meta, **given)


def test_what_flares_server_says_of_an_ordinary_job_is_taken() -> None:
    assert require_reported(META, CANONICAL, job_id=JOB_ID, site="north") == META


def test_a_cloned_job_is_taken() -> None:
    """FLARE keeps some keys of the job that it clones, and not Fedward's."""
    kept = {key: value for key, value in META.items() if key != "fedward_version"}
    told(kept | {"cloned_from": "0b0c4ab1-4c7e-4f0a-9a70-0d7a8f7f9b11"})


def test_every_key_that_flare_knows_is_on_the_list_or_refused() -> None:
    """A FLARE that reads one more key of a job's meta is to be looked at: it is refused until it is on the list."""
    known = {key.value for key in JobMetaKey}
    closed = known - set(_due(CANONICAL, JOB_ID))
    assert closed == {
        *("content_location", "result_location", "approvals", "scope", "stats_pool_config"),
        *("custom_props", "edge_method", "launcher_spec"),
    }
    assert set(_due(CANONICAL, JOB_ID)) - known == {"fedward_version"}
    for key in (*closed, "byoc", "flower_predeployed", "submit_token"):
        for value in ("", None, {}, [], False, "lax"):
            refused(META | {key: value})


@given(st.text(max_size=20), st.none() | st.booleans() | st.integers() | st.text(max_size=5))
def test_no_other_key_is_taken(key: str, value: Any) -> None:
    if key not in META and key != "cloned_from":
        refused(META | {key: value})


OTHER: list[tuple[str, Any]] = [
    *(("name", "other"), ("resource_spec", {"north": {"num_of_gpus": 1}}), ("resource_spec", None), ("min_clients", 1)),
    *(("mandatory_clients", ["south"]), ("mandatory_clients", None), ("mandatory_clients", "")),
    *(("min_clients", True), ("min_clients", "2"), ("deploy_map", {"app": ["server", "south"]}), ("deploy_map", {})),
    *(("deploy_map", {"other": ["@ALL"]}), ("study", "chest"), ("study", ""), ("study", None), ("job_id", "x")),
    *(("job_folder_name", "../x"), ("job_folder_name", ".x"), ("submitter_name", 1), ("submitter_org", {"a": 1})),
    *(("submitter_role", "x" * 2000), ("submitter_role", "a\nb"), ("submit_time", "1"), ("data_storage_format", 1)),
    *(("schedule_history", "x"), ("schedule_history", [1]), ("job_clients", [{"name": "a", "token": "b"}])),
    *(("job_clients", ["north"]), ("job_clients", {}), ("cloned_from", "../x"), ("fedward_version", "../x")),
    *(("job_deploy_detail", ["x"] * 5000),),
]


@pytest.mark.parametrize(("key", "value"), OTHER)
def test_a_known_key_with_another_value_is_refused(key: str, value: Any) -> None:
    refused(META | {key: value})


@pytest.mark.parametrize("job_id", ["", "..", "startup", JOB_ID.upper(), "{" + JOB_ID + "}", JOB_ID + "/..", "a" * 32])
def test_a_job_id_is_no_path(job_id: str) -> None:
    """FLARE removes the folder of that name before it deploys."""
    refused(META | {"job_id": job_id}, job_id=job_id)
    refused(META, job_id=job_id)


@pytest.mark.parametrize("key", ["name", "job_id", "deploy_map", "min_clients", "mandatory_clients", "resource_spec"])
def test_what_is_due_is_there(key: str) -> None:
    refused({name: value for name, value in META.items() if name != key})


@pytest.mark.parametrize("meta", [None, [], "x", {"name": float("nan")}, {1: {2: object()}}])
def test_what_is_no_table_is_refused(meta: Any) -> None:
    refused(meta)


def test_a_study_is_the_one_that_was_signed() -> None:
    job = CanonicalJob(job=CANONICAL.job, study="chest")
    told(META | {"study": "chest"}, job=job)
    refused(META, job=job)
    refused(META | {"study": "brain"}, job=job)


def test_a_job_that_names_its_sites_is_deployed_to_those_alone() -> None:
    meta = META | {"deploy_map": {"app": ["north", "server"]}}
    told(meta)
    told(meta, site=None)
    refused(meta, site="south")


def test_a_start_has_the_words_of_the_deployment() -> None:
    for key in META:
        changed = META | {key: "other"}
        if key in CHANGES:
            require_unchanged(changed, META)
        else:
            with pytest.raises(JobError, match="other words"):
                require_unchanged(changed, META)
    with pytest.raises(JobError, match="other words"):
        require_unchanged(META | {"cloned_from": JOB_ID}, META)
