"""Check which jobs a hospital admits, and from what no approval can be made."""

from __future__ import annotations

import json
import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fedward.errors import PolicyError, SettingsError
from fedward.privacy.policy.agreement import agree
from fedward.privacy.policy.approvals import (
    UNKNOWN,
    Approval,
    Origin,
    admission,
    approvals,
    approve,
    last_approved,
    read_approval,
    revoke,
)
from fedward.privacy.policy.job_hash import job_hash, policy_hash
from fedward.settings import JobSpec, SitePolicy, parse
from tests.conftest import OPEN_COHORT, OPEN_SITE, tiny_job_content

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
LEAD = Origin(submitter="lead@uni.org", organisation="uni", study="chest")


def a_job(**header: Any) -> JobSpec:
    content = tiny_job_content()
    content["job"] |= header
    return parse(JobSpec, content, where="test")


def a_policy(**site: Any) -> SitePolicy:
    cohort = {"images": "images", "index": "index", "max_quarantined_fraction": 0.1, "validation_fraction": 0.3}
    cohorts = {"chest": cohort | {"privacy": OPEN_COHORT}}
    content = {"site": "north", "key": "site.key", **OPEN_SITE, "cohorts": cohorts, "approved_jobs": [], **site}
    return parse(SitePolicy, content, where="test")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "approvals"


def put(folder: Path, job: JobSpec, *, now: datetime = NOON) -> Path:
    approval = approve(folder, job, policy=a_policy(approvals=folder), by="it", now=now)
    return folder / f"{approval.hash}.json"


def refused(job: JobSpec, policy: SitePolicy, origin: Origin = UNKNOWN) -> str:
    """The refusal of a job that nothing admits: by ``admission`` and, with all else in order, by ``agree``."""
    with pytest.raises(PolicyError) as alone:
        admission(job, policy, origin=origin)
    with pytest.raises(PolicyError) as among:
        agree(job, policy, origin=origin)
    told = str(alone.value)
    assert told in str(among.value)
    assert job_hash(job) in told and "fedward site approve" in told, "hash and remedy are told"
    return told


def admitted(job: JobSpec, policy: SitePolicy, origin: Origin = UNKNOWN) -> str:
    agree(job, policy, origin=origin)
    return admission(job, policy, origin=origin)


def test_nothing_is_admitted_by_default(folder: Path) -> None:
    refused(a_job(), a_policy())
    assert not folder.exists()
    refused(a_job(), a_policy(approvals=folder))
    refused(a_job(), a_policy(approvals=folder), LEAD)


def test_a_hash_or_any(folder: Path) -> None:
    job = a_job()
    assert admitted(job, a_policy(approved_jobs="any")) == "any"
    assert admitted(job, a_policy(approved_jobs=[job_hash(job)])) == "approved_jobs"
    refused(job, a_policy(approved_jobs=[job_hash(a_job(seed=8))]))


def test_an_approval_admits_its_job_and_no_other(folder: Path) -> None:
    job, policy = a_job(), a_policy(approvals=folder)
    path = put(folder, job)
    assert admitted(job, policy) == "approval"
    refused(a_job(seed=8), policy)
    approval = read_approval(folder, job_hash(job))
    assert approval is not None and approval.spec == job and approval.policy == policy_hash(policy)
    assert (approval.job, approval.by, approval.approved_at) == ("tiny", "it", NOON)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640 and stat.S_IMODE(folder.stat().st_mode) == 0o750
    assert [one.name for one in folder.iterdir()] == [path.name], "no draft is left"


def test_the_caps_hold_for_an_approved_job(folder: Path) -> None:
    job = a_job()
    put(folder, job)
    closed = {"dp": "required", "epsilon_cap": 1.0, "delta": 1e-4, "encryption": "not-required"}
    policy = a_policy(approvals=folder)
    cohort = policy.cohorts["chest"].model_copy(
        update={"privacy": type(policy.cohorts["chest"].privacy).model_validate(closed)}
    )
    strict = policy.model_copy(update={"cohorts": {"chest": cohort}})
    assert admission(job, strict) == "approval"
    with pytest.raises(PolicyError, match="for jobs with differential privacy"):
        agree(job, strict)


ADMITS = [
    ({"submitter": "lead@uni.org"}, LEAD, True),
    ({"organisation": "uni"}, LEAD, True),
    ({"study": "chest"}, LEAD, True),
    ({"submitter": "lead@uni.org", "organisation": "uni", "study": "chest"}, LEAD, True),
    ({"submitter": "other@uni.org"}, LEAD, False),
    ({"submitter": "LEAD@uni.org"}, LEAD, False),
    ({"submitter": "lead@uni.org", "study": "brain"}, LEAD, False),
    ({"submitter": "lead@uni.org", "study": "chest"}, Origin(submitter="lead@uni.org", organisation="uni"), False),
    ({"submitter": "lead@uni.org"}, UNKNOWN, False),
    ({"study": "chest"}, UNKNOWN, False),
]


@pytest.mark.parametrize(("entry", "origin", "holds"), ADMITS)
def test_an_entry_holds_in_every_line_that_it_gives(entry: dict[str, str], origin: Origin, holds: bool) -> None:
    policy = a_policy(auto_approve=[{"submitter": "nobody@uni.org"}, entry])
    if holds:
        assert admitted(a_job(), policy, origin) == "auto_approve"
    else:
        refused(a_job(), policy, origin)


def test_an_entry_that_says_nothing_admits_nobody() -> None:
    policy = a_policy(auto_approve=[{"study": "chest"}])
    empty = policy.auto_approve[0].model_copy(update={"study": None})
    refused(a_job(), policy.model_copy(update={"auto_approve": (empty,)}), UNKNOWN)
    refused(a_job(), policy.model_copy(update={"auto_approve": (empty,)}), LEAD)


def _lax(path: Path) -> None:
    path.chmod(0o660)


def _lax_folder(path: Path) -> None:
    path.parent.chmod(0o770)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def _empty(path: Path) -> None:
    path.write_text("")


def _swapped(path: Path) -> None:
    """Another job's approval under this job's name."""
    other = put(path.parent, a_job(seed=99))
    other.replace(path)


def _edited(path: Path) -> None:
    """The content of another job, its hash left as it was."""
    content = json.loads(path.read_text())
    content["spec"]["federation"]["rounds"] += 1
    path.write_text(json.dumps(content))


def _rehashed(path: Path) -> None:
    """The content of another job, with that job's hash."""
    content = json.loads(path.read_text())
    other = a_job(seed=99)
    content |= {"hash": job_hash(other), "spec": json.loads(other.model_dump_json())}
    path.write_text(json.dumps(content))


def _renamed_job(path: Path) -> None:
    path.write_text(path.read_text().replace('"job": "tiny"', '"job": "other"', 1))


def _unknown_field(path: Path) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | {"revoked": True}))


def _linked(path: Path) -> None:
    real = path.with_name("real")
    path.rename(real)
    path.symlink_to(real)


def _directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o640)


def _deep(path: Path) -> None:
    path.write_text("[" * 200_000)


def _huge(path: Path) -> None:
    path.write_text(path.read_text() + " " * 2**20)


SPOILED = [
    *(_lax, _lax_folder, _cut, _empty, _swapped, _edited, _rehashed, _renamed_job, _unknown_field),
    *(_linked, _directory, _fifo, _deep, _huge),
]


@pytest.mark.parametrize("spoil", SPOILED)
def test_what_cannot_be_used_does_not_approve(folder: Path, spoil: Any) -> None:
    job, policy = a_job(), a_policy(approvals=folder)
    path = put(folder, job)
    assert admitted(job, policy) == "approval"
    spoil(path)
    told = refused(job, policy)
    assert "its approval" in told and str(folder) not in told, "the server learns no path"
    with pytest.raises(SettingsError):
        read_approval(folder, job_hash(job))
    assert any(isinstance(one, SettingsError) for one in approvals(folder)), "the list tells it"
    folder.chmod(0o750)
    if path.is_dir():
        path.rmdir()
    put(folder, job)
    assert admitted(job, policy) == "approval", "approving again mends it"


@pytest.mark.parametrize("error", [PermissionError(13, "denied"), OSError(5, "input/output error")])
def test_an_approval_that_cannot_be_read_does_not_approve(
    folder: Path, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    put(folder, a_job())

    def fails(*arguments: object, **named: object) -> int:
        raise error

    monkeypatch.setattr(os, "open", fails)
    assert "cannot be read" in refused(a_job(), a_policy(approvals=folder))


def test_no_approval_is_written_where_others_write(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(SettingsError, match="others may write"):
        put(folder, a_job())
    assert not list(folder.iterdir())


def test_a_revoked_job_is_refused_and_its_record_kept(folder: Path) -> None:
    job, policy = a_job(), a_policy(approvals=folder)
    path = put(folder, job)
    text = path.read_text()
    record = revoke(folder, job_hash(job), by="officer", now=NOON + timedelta(days=1))
    refused(job, policy)
    kept = json.loads(record.read_text())
    assert kept == {"revoked_at": "2026-03-02T12:00:00+00:00", "revoked_by": "officer", "approval": text}
    assert list(approvals(folder)) == []
    with pytest.raises(SettingsError, match="no such approval"):
        revoke(folder, job_hash(job), by="officer", now=NOON)
    put(folder, job)
    assert admitted(job, policy) == "approval"
    revoke(folder, job_hash(job), by="officer", now=NOON + timedelta(days=2))
    assert len(list((folder / "revoked").iterdir())) == 2, "each record has its own name"


def test_a_damaged_approval_can_be_revoked(folder: Path) -> None:
    path = put(folder, a_job())
    path.write_text("{")
    assert json.loads(revoke(folder, job_hash(a_job()), by="it", now=NOON).read_text())["approval"] == "{"
    assert not path.exists()


@pytest.mark.parametrize("found", ["", "../site", "0" * 63, "G" * 64, "0" * 64 + "\n"])
def test_what_is_no_hash_names_no_file(folder: Path, found: str) -> None:
    folder.mkdir()
    (folder.parent / "site.json").write_text("{}")
    with pytest.raises(SettingsError, match="not a job's hash"):
        revoke(folder, found, by="it", now=NOON)
    assert (folder.parent / "site.json").exists()


def test_the_last_of_a_name(folder: Path) -> None:
    assert last_approved(folder, "tiny") is None
    put(folder, a_job(seed=2), now=NOON)
    put(folder, a_job(seed=1), now=NOON - timedelta(days=1))
    put(folder, a_job(seed=3, name="else"), now=NOON + timedelta(days=1))
    last = last_approved(folder, "tiny")
    assert last is not None and last.spec == a_job(seed=2)
    assert len([one for one in approvals(folder) if isinstance(one, Approval)]) == 3
