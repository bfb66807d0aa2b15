"""Both gates check each task and each answer against the hospital's approvals; a withdrawn approval stops its job."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from nvflare.apis.shareable import ReservedHeaderKey, Shareable

from fedward.errors import PolicyError
from fedward.flare.protocol import REFUSED_AT_DOOR, UPDATE, Task, question
from fedward.flare.site.job_privacy import Protection
from fedward.privacy.policy.approvals import approve, revoke
from fedward.privacy.policy.job_hash import job_hash
from fedward.settings import read_site
from tests.support.flare.hospital import Hospital, assert_refused, parts

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def hospital(tmp_path: Path) -> Hospital:
    """A hospital that approves by file, and has approved nothing."""
    made = Hospital(tmp_path / "north")
    text = (made.local / "site.toml").read_text()
    assert 'approved_jobs = "any"' in text
    changed = text.replace('approved_jobs = "any"', 'approved_jobs = []\napprovals = "approvals"')
    (made.local / "site.toml").write_text(changed)
    return made


def approved(hospital: Hospital) -> None:
    policy = read_site(hospital.local / "site.toml")
    assert policy.approvals is not None
    approve(policy.approvals, hospital.job, policy=policy, by="it", now=NOW)


def revoked(hospital: Hospital) -> None:
    folder = read_site(hospital.local / "site.toml").approvals
    assert folder is not None
    revoke(folder, job_hash(hospital.job), by="it", now=NOW)


def admit(hospital: Hospital) -> Shareable:
    task = question(None, round_number=-1)
    task.set_cookie_jar({"__task_id__": "abc"})
    return hospital.ingress.process(task, hospital.context(Task.ADMIT))


def test_a_job_that_is_not_approved_reaches_no_executor(hospital: Hospital) -> None:
    task = admit(hospital)
    reason = task.get_header(REFUSED_AT_DOOR)
    assert job_hash(hospital.job) in reason and "fedward site approve" in reason and len(reason) <= 300
    assert set(task) == {ReservedHeaderKey.HEADERS}
    assert set(task[ReservedHeaderKey.HEADERS]) == {REFUSED_AT_DOOR, ReservedHeaderKey.COOKIE_JAR}
    assert task.get_cookie_jar() == {"__task_id__": "abc"}, "so that the server knows which task was refused"


def test_its_answer_does_not_leave(hospital: Hospital) -> None:
    update = hospital.update()
    assert_refused(hospital.send(hospital.answer(update)), says=job_hash(hospital.job), payload=update)


def test_the_executor_holds_it_too(hospital: Hospital) -> None:
    with pytest.raises(PolicyError, match="fedward site approve"):
        Protection(hospital.job, read_site(hospital.local / "site.toml"), job_id=hospital.job_id)


def test_approved_its_update_leaves_and_revoked_the_next_one_stays(hospital: Hospital) -> None:
    approved(hospital)
    assert admit(hospital).get_header(REFUSED_AT_DOOR) is None
    assert hospital.receive().get_header(REFUSED_AT_DOOR) is None
    update, answer = hospital.honest()
    assert UPDATE in parts(hospital.send(answer))
    revoked(hospital)
    assert_refused(hospital.send(answer), says="job is not approved here", payload=update)
    approved(hospital)
    assert admit(hospital).get_header(REFUSED_AT_DOOR), "a refusal stands until the job's process ends"


def test_revoked_while_it_trains_the_next_task_is_refused(hospital: Hospital) -> None:
    approved(hospital)
    assert hospital.receive().get_header(REFUSED_AT_DOOR) is None
    revoked(hospital)
    assert "not approved here" in hospital.receive(number=1).get_header(REFUSED_AT_DOOR)
