"""The jobs that a doctor offers: refused by the handler that is here, and seen where a handler takes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from nvflare.private.fed.client.training_cmds import DeployProcessor

from fedward.doctor.findings import Voice
from fedward.doctor.probes.judgement import judge_jobs
from fedward.errors import FederationError, JobError
from fedward.flare.admin_session import Console
from fedward.flare.job_checks import form
from fedward.flare.job_checks.form import UNCHECKED
from fedward.flare.probes import jobs
from fedward.privacy.policy.canonical_job import job_files, require_job
from fedward.privacy.policy.job_archive import Contents, read_folder
from tests.support.doctor_case import SITE, levels, write_kit


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_kit(tmp_path_factory.mktemp("kit") / "kit")


def said(kit: Path) -> list[str]:
    refusals = jobs.site_refusals(kit, SITE)
    return [one.level for one in judge_jobs(Voice("job-form"), refusals=refusals, unchecked=UNCHECKED, remedy="mend")]


def test_all_are_refused_and_nothing_is_written(kit: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in kit.rglob("*")}
    assert said(kit) == ["pass", "pass", "pass"]
    assert {path: path.stat().st_mtime_ns for path in kit.rglob("*")} == before


def test_the_job_that_they_differ_from_is_canonical() -> None:
    files = job_files(jobs.probe_job())
    assert require_job(Contents(files, frozenset({"app", "app/config"}))).job == jobs.probe_job()


def test_flares_own_handler_takes_them_all(kit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The handler that a kit of before has."""
    monkeypatch.setattr(jobs, "PROCESSORS", (DeployProcessor,))
    assert [one.reason for one in jobs.site_refusals(kit, SITE)] == [None, None, None]
    assert said(kit) == ["fail", "fail", "fail"]


def test_a_handler_that_looks_at_no_signature_is_seen(kit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(form, "require_signer", lambda *given: None)
    assert said(kit) == ["pass", "pass", "fail"]


def test_a_handler_that_looks_at_no_form_is_seen(kit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Any_:
        job, study, sites = jobs.probe_job(), None, ()

    monkeypatch.setattr(form, "require_app", lambda app: Any_())
    assert said(kit) == ["fail", "fail", "pass"], "all three are refused for their signature"


def test_a_check_that_throws_shows_nothing(kit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def throws(*given: Any, **named: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(form, "require_app", throws)
    assert said(kit) == ["fail", "fail", "fail"]


JOB_ID = "11111111-2222-4333-8444-555555555555"


class Server:
    """A session with a server that takes every job, or that refuses one for want of a right."""

    def __init__(self, *, deletes: bool = True) -> None:
        self.held: list[str] = []
        self.seen: list[Path] = []
        self.aborted: list[str] = []
        self._deletes = deletes

    def submit_job(self, folder: str) -> str:
        self.seen.append(Path(folder))
        read_folder(Path(folder))
        self.held.append(JOB_ID)
        return JOB_ID

    def abort_job(self, job_id: str) -> None:
        self.aborted.append(job_id)

    def delete_job(self, job_id: str) -> None:
        if not self._deletes:
            raise RuntimeError
        self.held.remove(job_id)


def test_a_job_that_a_server_takes_is_deleted_at_once_and_leaves_no_folder() -> None:
    server = Server()
    refusals = jobs.server_refusals(Console(server))
    assert levels(judge_jobs(Voice("x"), refusals=refusals, unchecked=UNCHECKED, remedy="mend")) == {"fail"}
    assert server.held == [] and len(server.aborted) == len(server.seen) == 2
    assert not any(folder.exists() or folder.parent.exists() for folder in server.seen)


def test_a_job_that_cannot_be_deleted_is_named() -> None:
    with pytest.raises(FederationError, match=JOB_ID):
        jobs.server_refusals(Console(Server(deletes=False)))


def test_a_person_without_the_right_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from nvflare.fuel.flare_api.api_spec import AuthorizationError

    def refuses(folder: str) -> str:
        raise AuthorizationError("not yours")

    server = Server()
    monkeypatch.setattr(server, "submit_job", refuses)
    with pytest.raises(JobError, match="may not submit"):
        jobs.server_refusals(Console(server))
