"""A person aborts a job in each of its stages, resumed ones too: within seconds every view says who it was."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import pytest

from fedward.demo.federate import LEAD
from fedward.ends import OPEN, End, end_of
from fedward.errors import JobError
from fedward.flare.console.resume_request import request_resume
from fedward.privacy.policy.canonical_job import Task
from tests.integration.faults.conftest import Player
from tests.integration.faults.fault import SOON_S, Act, Fault, aborted_by, after_round
from tests.integration.faults.jobs import ROUNDS, private
from tests.integration.faults.play import SERVER, Federation, Play, played, wait_for
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


def test_a_resumed_job_says_so_at_once_and_an_abort_of_it_stands(federation: Federation, tmp_path: Path) -> None:
    federation.mend()
    session, kit = federation.running.session, federation.kits[SERVER]
    with played(federation, private("resumed", rounds=30), tmp_path) as play:

        def end() -> End:
            stands = session.standing(play.job_id)
            assert stands is not None
            return end_of(stands.flare, stands.job)

        def taken_up() -> None:
            asked = request_resume(kit, play.job_id)
            wait_for(lambda: not asked.file.exists(), what="the request is taken up")
            assert end().state == "resuming"
            with pytest.raises(JobError, match="has not ended: resuming"):
                request_resume(kit, play.job_id)

        def stays_aborted() -> None:
            for _ in range(20):
                assert end().ended and end().agreed and end().words.startswith(f"aborted by {LEAD} after ")
                time.sleep(0.25)

        play.until(lambda: play.of("round"), what="round")
        abort(play)
        taken_up()
        seen: list[End] = []

        def runs() -> bool:
            seen.append(end())
            return seen[-1].state == "running"

        try:
            wait_for(runs, what="runs")
        except AssertionError as error:
            raise AssertionError(f"{error}: {seen[-1]}") from None
        assert {one.state for one in seen} == {"resuming", "running"} and all(one.agreed for one in seen)
        rounds = len(play.of("round"))
        wait_for(lambda: len(play.of("round")) > rounds, what="one more round")
        assert [(one["by"], one["attempt"]) for one in play.of("resumed")] == [("person", 1)]
        abort(play)
        stays_aborted()
        taken_up()
        abort(play)
        stays_aborted()
