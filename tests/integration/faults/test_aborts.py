"""A person aborts a job in each of its stages: within seconds every view says who it was."""

from __future__ import annotations

from functools import partial

import pytest

from fedward.demo.federate import LEAD
from fedward.ends import OPEN
from fedward.privacy.policy.canonical_job import Task
from tests.integration.faults.conftest import Player
from tests.integration.faults.fault import SOON_S, Act, Fault, aborted_by, after_round
from tests.integration.faults.jobs import ROUNDS, private
from tests.integration.faults.play import Play, wait_for
from tests.integration.faults.views import load
from tests.support.rehearsal import rehearsal

pytestmark = pytest.mark.integration


def abort(play: Play) -> None:
    """Abort, and wait until FLARE says that the job has ended."""
    session = play.federation.running.session
    session.abort(play.job_id)
    took_s = wait_for(lambda: session.status(play.job_id) not in OPEN, what="FLARE says the end")
    assert took_s <= SOON_S * load(), f"FLARE says the end after {took_s:.1f} s"


def asked(task: Task) -> Act:
    return lambda play: play.until(lambda: play.task(task), what=task)


def fault(stage: str, when: Act) -> Fault:
    job = partial(private, local_baseline=True)
    return Fault(name=f"abort in {stage}", when=when, does=abort, job=job, promised=aborted_by(LEAD))


IN_A_ROUND = fault("a round", after_round(1))
"""Played by ``test_processes``, on whose federation ``make test`` plays all of its faults."""
STAGES = [
    fault("admission", asked(Task.ADMIT)),
    fault("the final validation", after_round(ROUNDS)),
    fault("alone", asked(Task.ALONE)),
]


@rehearsal("aborts a job in every stage")
@pytest.mark.parametrize("fault", STAGES, ids=lambda fault: fault.name)
def test_an_abort_in_any_stage_names_the_person(fault: Fault, player: Player) -> None:
    player(fault)
