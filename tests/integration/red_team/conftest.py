"""Provide one federation for all tests of this folder, and its attackers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fedward.flare.export import export_job
from tests.integration.federation.test_federation import named
from tests.integration.red_team.raw import Participant, participant
from tests.integration.red_team.scene import LEAD, MEMBER, OPERATOR, ROGUE, Scene, scene, until_training


@pytest.fixture(scope="package")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with scene(tmp_path_factory.mktemp("red-team")) as up:
        yield up


@pytest.fixture(scope="module", params=[MEMBER, LEAD, OPERATOR, ROGUE])
def attacker(stage: Scene, request: pytest.FixtureRequest) -> Iterator[Participant]:
    """Each with the kit that the operator made for it: a person who may only look, two who may more, a hospital."""
    name: str = request.param
    kit = stage.kits.people[name] if "@" in name else stage.kits.folder / name
    with participant(kit, stage.spec, name=name, is_console="@" in name) as connected:
        yield connected


@pytest.fixture(scope="module")
def running_job(stage: Scene, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A job that goes on until the tests of a module are done with it."""
    job = named("asked", federation={"rounds": 500, "local_baseline": False})
    job_id = stage.session.submit(export_job(job, tmp_path_factory.mktemp("jobs")))
    until_training(stage, job_id)
    yield job_id
    stage.session.abort(job_id)
    assert stage.session.wait(job_id, each=stage.federation.check) == "FINISHED:ABORTED"
