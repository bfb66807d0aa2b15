"""Hospitals run the jobs that they approve: by file, by who signed them, by study; in a federation of processes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fedward.demo.federate import LEAD, await_sites, federation_of
from fedward.demo.hospitals import DemoHospital
from fedward.errors import FederationError
from fedward.flare.admin_session import console
from fedward.flare.export import export_job
from fedward.flare.job_context import SITE_FILE
from fedward.flare.kits.central import Kits, provision
from fedward.flare.local_federation import LocalFederation, free_port
from fedward.metrics.events import EVENTS_FILE, EventReader
from fedward.privacy.policy.job_hash import job_hash
from fedward.settings import JobSpec, Person, parse
from tests.conftest import tiny_job_content

pytestmark = pytest.mark.integration

OTHER, OPERATOR = "other@demo.org", "operator@demo.org"
COMPLETED = "FINISHED:COMPLETED"
SIGN_IN_S = 60.0
"""A loaded machine takes longer than a person would wait."""


@dataclass(frozen=True)
class Ended:
    """A job that has ended."""

    id: str
    status: str
    events: list[dict[str, Any]]

    def reasons(self) -> dict[str, str]:
        """Why each site took no part, as the server knows it."""
        return {event["site"]: event["reason"] for event in self.events if event["event"] == "declined"}

    def sites(self) -> list[set[str]]:
        """Return the hospitals whose updates made each round."""
        return [set(event["sites"]) for event in self.events if event["event"] == "round"]


class Federation:
    """Three hospitals that are up, with two leads and an operator."""

    def __init__(self, processes: LocalFederation, kits: Kits, folder: Path) -> None:
        self.processes, self.kits, self._folder = processes, kits, folder
        self.names = sorted(kits.sites)

    def policy(self, site: str, *lines: str) -> Path:
        """Write the hospital's site.toml with its own rules on which jobs may run; a job reads it when it starts."""
        path = self.kits.sites[site] / "local" / SITE_FILE
        text = re.sub(r"(?m)^(approved_jobs|approvals|auto_approve) = .*\n", "", path.read_text())
        path.write_text("\n".join(lines) + "\n" + text)
        return path

    def run(self, job: JobSpec, *, by: str = LEAD, study: str | None = None) -> Ended:
        """Submit and wait, whatever comes of it."""
        exported = export_job(job, self._folder / "jobs" / by, study=study)
        with console(self.kits.people[by], study=study, timeout_s=SIGN_IN_S) as session:
            job_id = session.submit(exported)
            status = session.wait(job_id, each=self.processes.check)
            result = session.download(job_id, self._folder / "results")
        return Ended(job_id, status, list(EventReader(result / EVENTS_FILE)))

    def trained(self, site: str, ended: Ended) -> bool:
        """True if the hospital took a step of training in the job."""
        return any(
            event["event"] == "progress" for event in EventReader(self.kits.sites[site] / ended.id / EVENTS_FILE)
        )


@pytest.fixture(scope="module")
def up(hospitals: list[DemoHospital], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    folder = tmp_path_factory.mktemp("approvals")
    people = ((LEAD, "operator", "lead"), (OTHER, "operator", "lead"), (OPERATOR, "operator", "project_admin"))
    spec = federation_of([hospital.site for hospital in hospitals], port=free_port()).model_copy(
        update={"people": tuple(Person(email=e, organisation=o, role=r) for e, o, r in people)}  # type: ignore[arg-type]
    )
    kits = provision(spec, folder)
    for hospital in hospitals:
        (kits.sites[hospital.site] / "local" / SITE_FILE).write_bytes(hospital.config.read_bytes())
    with LocalFederation(spec, kits, threads=1) as processes:
        with console(kits.people[LEAD], timeout_s=SIGN_IN_S) as session:
            await_sites(processes, session, kits, spec)
        yield Federation(processes, kits, folder)


def a_job(name: str, *, min_sites: int = 2) -> JobSpec:
    content = tiny_job_content()
    content["job"]["name"] = name
    content["federation"] |= {"rounds": 1, "local_baseline": False, "min_sites": min_sites}
    return parse(JobSpec, content, where=name)


def fedward(*words: object) -> dict[str, Any]:
    command = [str(Path(sys.executable).parent / "fedward"), *map(str, words), "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_a_job_trains_where_it_is_approved_or_an_entry_admits_who_signed_it_and_nowhere_else(up: Federation) -> None:
    """Both leads are of one organisation; the certificate with which the job is signed says which one it was."""
    job = a_job("approved")
    first, second, third = up.names
    closed, admits = "approved_jobs = []", f'auto_approve = [{{ submitter = "{LEAD}", organisation = "operator" }}]'
    configs = {site: up.policy(site, closed, 'approvals = "approvals"') for site in up.names}
    before = up.run(job)
    assert before.status != COMPLETED
    assert set(before.reasons()) == set(up.names)
    for site in up.names:
        reason = before.reasons()[site]
        assert job_hash(job) in reason and "fedward site approve" in reason
        assert "approved here" in reason and str(up.kits.sites[site]) not in reason
        assert not up.trained(site, before)
        assert not list((up.kits.sites[site] / before.id).rglob("*.npz")), "nothing was made"
    assert {event["event"] for event in before.events} == {"started", "declined", "uncovered", "failed"}, (
        "the server has a refusal of each hospital and nothing else"
    )

    # what is approved is what really came: the run folder of the refused job
    answer = fedward("site", "approve", up.kits.sites[first] / before.id, "--site-toml", configs[first], "--yes")
    assert (answer["state"], answer["hash"]) == ("approved", job_hash(job))
    assert answer["words"]["from"].startswith(f"{LEAD} of operator")
    up.policy(second, closed, admits)
    after = up.run(job)
    assert after.status == COMPLETED
    assert after.sites() == [{first, second}]
    assert set(after.reasons()) == {third}
    assert [up.trained(site, after) for site in up.names] == [True, True, False]

    fedward("site", "approve", "--revoke", job_hash(job), "--site-toml", configs[first])
    theirs = up.run(job, by=OTHER)
    assert theirs.status != COMPLETED
    assert set(theirs.reasons()) == set(up.names), "revoked at the first, signed by another at the second"
    assert not any(up.trained(site, theirs) for site in up.names)


def test_a_study_bounds_which_hospitals_see_a_job(up: Federation) -> None:
    first, second, third = up.names
    with console(up.kits.people[OPERATOR], timeout_s=SIGN_IN_S) as session:
        flare = session._session
        flare.register_study("chest", site_orgs=[f"{first.replace('-', '_')}:{first}"])
        flare.add_study_site("chest", site_orgs=[f"{second.replace('-', '_')}:{second}"])
        flare.add_study_user("chest", LEAD)
    for site in up.names:
        up.policy(site, "approved_jobs = []", f'auto_approve = [{{ study = "chest", submitter = "{LEAD}" }}]')
    ended = up.run(a_job("studied"), study="chest")
    assert ended.status == COMPLETED
    assert ended.sites() == [{first, second}]
    assert (up.kits.sites[first] / ended.id).is_dir()
    assert not (up.kits.sites[third] / ended.id).exists(), "nothing of the job reached the third hospital"
    assert ended.id not in (up.kits.sites[third] / "log.txt").read_text()
    with pytest.raises(FederationError, match="not mapped to study"), console(up.kits.people[OTHER], study="chest"):
        pass
    outside = up.run(a_job("studied"))
    assert outside.status != COMPLETED
    assert set(outside.reasons()) == set(up.names), "in no study, it reaches all and none admits it"
