"""Cleaning the kits of a real federation, while a job runs in it and afterwards."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from fedward.demo.hospitals import DemoHospital
from fedward.flare.export import export_job
from fedward.flare.kits.central import Kits
from fedward.settings import JobSpec, parse
from fedward.upkeep.clean import Cleaning, clean_server, clean_site
from tests.conftest import tiny_job_content
from tests.integration.conftest import started

pytestmark = pytest.mark.integration

LIMITS = "keep_days = 1\nkeep_jobs = 0\nmax_gb = 0.000001\n"
LATER_S = 90 * 86_400.0


def _limit(kits: Kits) -> None:
    for kit in kits.sites.values():
        policy = kit / "local" / "site.toml"
        policy.write_text(f"upkeep = {{ {', '.join(LIMITS.splitlines())} }}\n{policy.read_text()}")
    (kits.server / "local" / "upkeep.toml").write_text(LIMITS)


def _job(rounds: int) -> JobSpec:
    content = tiny_job_content()
    content["federation"] |= {"rounds": rounds, "local_baseline": False}
    return parse(JobSpec, content, where="tiny")


def _gone(done: Cleaning) -> set[str]:
    return {one.unit.name for one in done.removals if one.unit.kind == "job"}


def test_what_ended_goes_and_what_runs_goes_on(hospitals: list[DemoHospital], tmp_path: Path) -> None:
    job, long = _job(1), _job(6)
    with started(hospitals, tmp_path / "federation", prepare=_limit) as up:
        server, site = up.kits.server, next(iter(up.kits.sites.values()))
        ended = up.session.submit(export_job(job, tmp_path / "one"))
        assert up.session.wait(ended, each=up.federation.check) == "FINISHED:COMPLETED"
        runs = up.session.submit(export_job(long, tmp_path / "two"))
        end = time.monotonic() + 60.0
        while not (site / runs).is_dir() and time.monotonic() < end:
            time.sleep(0.1)
        later = time.time() + LATER_S
        assert _gone(clean_server(server, now=later)) == {ended}
        assert _gone(clean_site(site / "local" / "site.toml", now=later)) == {ended}
        assert up.session.wait(runs, each=up.federation.check) == "FINISHED:COMPLETED"
        assert not _gone(clean_server(server)), "it changed within the last hour"
        assert _gone(clean_server(server, now=later)) == {runs}
        assert _gone(clean_site(site / "local" / "site.toml", now=later)) == {runs}
        assert not list((server / "storage" / "jobs").iterdir())
        last = up.session.submit(export_job(job, tmp_path / "three"))
        assert up.session.wait(last, each=up.federation.check) == "FINISHED:COMPLETED"
