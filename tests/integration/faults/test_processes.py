"""Processes die and come back: the job goes on, and every view tells the same end."""

from __future__ import annotations

import time
from functools import partial

import pytest

from tests.integration.faults.conftest import Player
from tests.integration.faults.fault import Fault, Promised
from tests.integration.faults.jobs import GRACE_S, ROUNDS, SHORT_S, plain, private, sealed
from tests.integration.faults.play import SERVER, Play, wait_for
from tests.integration.faults.test_aborts import IN_A_ROUND
from tests.support.rehearsal import rehearsal

pytestmark = pytest.mark.integration
AWAY_S, LONG_S = 3.0, 15.0
BACK_S = 20.0
"""Seconds from a server that listens again until its next whole round."""


def site_process(play: Play) -> None:
    play.kill(play.victim, job=True)


def site_parent(play: Play) -> None:
    play.kill(play.victim)
    time.sleep(AWAY_S)
    play.federation.start(play.victim)


def site_gone(play: Play) -> None:
    play.kill(play.victim)
    for process in play.federation.processes(play.victim, job_id=play.job_id):
        process.kill()


def server_process(play: Play) -> None:
    play.kill(SERVER, job=True)


def server_back(play: Play, *, away_s: float = AWAY_S) -> None:
    time.sleep(away_s)
    play.federation.start(SERVER)
    wait_for(play.federation.listens, what="the server listens")
    play.begins()


def server_parent(play: Play, *, away_s: float = AWAY_S) -> None:
    play.kill(SERVER)
    server_back(play, away_s=away_s)


def in_admission(play: Play) -> None:
    play.until(lambda: play.of("started"), what="admission")


def server_and_site(play: Play) -> None:
    play.kill(SERVER, play.victim)
    play.federation.start(play.victim)
    server_back(play)


def power(play: Play) -> None:
    for process in play.federation.running.federation.processes():
        process.kill()
    server_back(play)
    for site in play.federation.running.kits.sites:
        play.federation.start(site)


NOBODY_LOST = Promised(within_s=BACK_S)
ANEW = Promised(lost=2, within_s=BACK_S + GRACE_S)
POWER = Promised(within_s=2 * BACK_S, same_model=True)
SAME = Promised(within_s=BACK_S, same_model=True)
GONE = Promised(
    end=r"success with 1 site missing at the end: every round counted, without coast-institute since round \d, .+",
    lost=ROUNDS,
    within_s=6 * SHORT_S,
)

QUICK = [  # in `make test`
    Fault(name="kill -9 of a site's job process", does=site_process, promised=Promised(lost=2)),
    Fault(name="kill -9 of the server's job process, no noise", does=server_process, job=plain, promised=SAME),
    Fault(name="power: all processes killed and started again, no noise", does=power, job=plain, promised=POWER),
    IN_A_ROUND,
]
REHEARSED = [
    Fault(name="kill -9 of a site's job process, no noise", does=site_process, job=plain, promised=SAME),
    Fault(name="kill -9 of a site's parent, back in 3 s", does=site_parent, promised=ANEW),
    Fault(name="kill -9 of the server's job process", does=server_process, promised=NOBODY_LOST),
    Fault(name="kill -9 of the server's parent, back in 3 s", does=server_parent, promised=NOBODY_LOST),
    Fault(
        name="kill -9 of the server's parent, back in 15 s, when sites have ended their round",
        does=partial(server_parent, away_s=LONG_S),
        promised=NOBODY_LOST,
    ),
    Fault(
        name="kill -9 of the server's parent in the admission, back in 15 s",
        when=in_admission,
        does=partial(server_parent, away_s=LONG_S),
        promised=NOBODY_LOST,
    ),
    Fault(name="kill -9 of the server's parent, no noise", does=server_parent, job=plain, promised=SAME),
    Fault(name="kill -9 of server and a site, both back", does=server_and_site, promised=ANEW),
    Fault(name="power: all processes killed and started again", does=power, promised=ANEW),
    Fault(name="encrypted, a site's job process killed", does=site_process, job=sealed, promised=Promised(lost=2)),
    Fault(name="encrypted, a site's parent killed, back in 3 s", does=site_parent, job=sealed, promised=ANEW),
    Fault(name="encrypted, the server's job process killed", does=server_process, job=sealed, promised=NOBODY_LOST),
    Fault(name="a site gone for good", does=site_gone, job=partial(private, grace_s=SHORT_S), promised=GONE),
]


@pytest.mark.parametrize("fault", QUICK, ids=lambda fault: fault.name)
def test_the_job_goes_on(fault: Fault, player: Player) -> None:
    player(fault)


@rehearsal("kills every process of a federation")
@pytest.mark.parametrize("fault", REHEARSED, ids=lambda fault: getattr(fault, "name", None))
def test_the_job_goes_on_rehearsed(fault: Fault, player: Player) -> None:
    player(fault)
