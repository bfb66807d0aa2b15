"""The line of one hospital drops, or is slow: the others go on, and the hospital comes back by itself.

Times are scaled: a line that is down six minutes in a job of hours is one that is down for a minute in one of minutes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial

import pytest

from tests.integration.faults.conftest import VICTIM, Player
from tests.integration.faults.fault import Fault, Promised, nothing
from tests.integration.faults.jobs import GRACE_S, SHORT_S, private, sealed
from tests.integration.faults.play import Federation, Play, wait_for
from tests.support.packages import absent
from tests.support.rehearsal import rehearsal

pytestmark = pytest.mark.integration
LONG = 12
LOSSY_GRACE_S = 90.0
"""Grace for a line that loses half of all answers, where TCP waits twice as long at each loss; a job's own is 600 s."""


@pytest.fixture(autouse=True)
def free(federation: Federation) -> Iterator[None]:
    """The line is free again after each test, and the site is heard on it."""
    yield
    federation.line.set()
    heard(federation)


def heard(federation: Federation) -> None:
    """Wait until the site is connected on the line as it is now."""
    began = datetime.now(UTC)
    wait_for(lambda: federation.running.session.last_seen().get(VICTIM, began) > began, what="the site is heard")


def down(play: Play, *, seconds: float) -> None:
    play.federation.line.cut(seconds)


def broken(play: Play) -> None:
    """All connections break at once, and come back on the same line."""
    play.federation.line.set()


@contextmanager
def slow(federation: Federation) -> Iterator[None]:
    """8 Mbit/s, 300 ms there and back, and a stall of a second now and then, as lost packets make them."""
    federation.line.set(mbit_s=8.0, round_trip_ms=300.0, stall_s=1.0)
    heard(federation)
    yield


@contextmanager
def lossy(federation: Federation) -> Iterator[None]:
    """The kernel drops three of ten packets, there and back."""
    if os.geteuid() != 0 or absent("iptables"):
        pytest.skip("needs root and iptables: a line that loses packets")
    federation.line.lose(30.0)
    heard(federation)
    yield


MISSED = Promised(
    end=rf"success: every round counted|success with 1 site missing at the end: .*{VICTIM} .*",
    lost=LONG - 1,
    within_s=90.0,
)
FAULTS = [
    Fault(name="line breaks and is there again", does=broken, promised=Promised(lost=1)),
    Fault(name="line down for less than the grace", does=partial(down, seconds=GRACE_S / 3), promised=Promised(lost=1)),
    Fault(
        name="line down for a minute, ten times the grace",
        does=partial(down, seconds=10 * SHORT_S),
        job=partial(private, rounds=LONG, grace_s=SHORT_S),
        promised=MISSED,
    ),
    Fault(name="8 Mbit/s, 300 ms and stalls", around=slow, does=nothing, promised=Promised(lost=1, within_s=90.0)),
    Fault(
        name="30 % of all packets lost",
        around=lossy,
        does=nothing,
        job=partial(private, grace_s=LOSSY_GRACE_S),
        promised=Promised(lost=1, within_s=90.0),
    ),
    Fault(
        name="30 % lost, encrypted", around=lossy, does=nothing, job=sealed, promised=Promised(lost=0, within_s=90.0)
    ),
]


@rehearsal("cuts and slows a hospital's line")
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_line_that_drops_costs_its_hospital_alone(fault: Fault, player: Player) -> None:
    player(fault)
