"""A hospital is not there, stands still, or loses its certificate: who waits for it, who does not, and who is told."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial

import psutil
import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from fedward.flare.kits.central import certificate_file
from fedward.provisioning.authority import read_authority, read_pem, reissue
from fedward.provisioning.participants import Kind
from tests.integration.faults.conftest import VICTIM, Player
from tests.integration.faults.fault import Fault, Promised, nothing
from tests.integration.faults.jobs import SHORT_S, private
from tests.integration.faults.play import SERVER, Federation, Play, wait_for
from tests.support.packages import needs
from tests.support.rehearsal import rehearsal

pytestmark = pytest.mark.integration
LONG, MANY = 12, 100
DAY = timedelta(days=1)


@contextmanager
def away(federation: Federation) -> Iterator[None]:
    """The victim's process does not run; the server starts anew, since it would count the site for minutes yet."""
    federation.kill(VICTIM)
    federation.kill(SERVER)
    federation.start(SERVER)
    others = set(federation.running.kits.sites) - {VICTIM}
    wait_for(lambda: federation.ask() and federation.running.session.connected() == others, what="the others are back")
    yield


def comes(play: Play) -> None:
    play.until(lambda: any(VICTIM in line for line in play.said()), what="who is missing is told")
    play.begins()
    play.federation.start(VICTIM)


def stopped(play: Play, *, seconds: float) -> None:
    """SIGSTOP, and SIGCONT later."""
    still = [*play.federation.processes(VICTIM), *play.federation.processes(VICTIM, job_id=play.job_id)]
    for process in still:
        process.send_signal(signal.SIGSTOP)
    time.sleep(seconds)
    for process in still:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGCONT)


def certify(federation: Federation, *, ends: datetime) -> None:
    """Give the victim a certificate that ends then."""
    kit = federation.kits[VICTIM]
    path, state = certificate_file(kit, Kind.site), kit.parent.parent / "state"
    new = reissue(read_pem(path), authority=read_authority(state), days=90, now=ends - 90 * DAY)
    path.write_bytes(new.public_bytes(Encoding.PEM))


@contextmanager
def certificate_for(federation: Federation, seconds: float) -> Iterator[None]:
    """The victim's certificate ends so many seconds after it has connected; it is renewed at the end."""
    federation.kill(VICTIM)
    ends = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=seconds)
    certify(federation, ends=ends)
    try:
        federation.mend()
        yield
    finally:
        certify(federation, ends=datetime.now(UTC) + 89 * DAY)
        if federation.processes(VICTIM):
            federation.kill(VICTIM)


@contextmanager
def a_day_ahead(federation: Federation) -> Iterator[None]:
    """The victim's service runs with a clock that is a day ahead, its job processes too."""
    needs("faketime")
    federation.kill(VICTIM)
    shown = subprocess.run(["faketime", "-m", "-f", "+1d", "env"], capture_output=True, text=True, check=True).stdout
    clock = dict(line.split("=", 1) for line in shown.splitlines() if line.startswith(("FAKETIME=", "LD_PRELOAD=")))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**clock, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}.items():
            patch.setenv(name, value)
        federation.mend()
    yield
    federation.kill(VICTIM)


def ahead(play: Play) -> None:
    """Its log has tomorrow's date."""
    log = play.federation.kits[VICTIM] / play.job_id / "log.txt"
    tomorrow = (datetime.now().astimezone() + DAY).strftime("%Y-%m-%d")
    assert tomorrow in log.read_text(errors="replace"), "the hospital's clock is not ahead"


LATE = f"missing {VICTIM}"
COMES = Promised(told=(LATE,), within_s=60.0)
MISSED = Promised(
    end=rf"success: every round counted|success with 1 site missing at the end: .*{VICTIM} .*",
    lost=LONG - 1,
    within_s=90.0,
)
EXPIRED = Promised(
    end=rf"success with 1 site missing at the end: every round counted, without {VICTIM} .*certificate ended on.*",
    lost=MANY,
    within_s=90.0,
)

FAULTS = [
    Fault(
        name="must_include absent at submit, then it comes",
        around=away,
        when=nothing,
        does=comes,
        job=partial(private, must_include=[VICTIM]),
        promised=COMES,
    ),
    Fault(
        name="fewer sites than min_sites at submit, then one comes",
        around=away,
        when=nothing,
        does=comes,
        job=partial(private, min_sites=3),
        promised=COMES,
    ),
    Fault(name="SIGSTOP of a site for 8 s", does=partial(stopped, seconds=8.0)),
    Fault(
        name="SIGSTOP of a site for much longer than its grace",
        does=partial(stopped, seconds=3 * SHORT_S),
        job=partial(private, rounds=LONG, grace_s=SHORT_S),
        promised=MISSED,
    ),
    Fault(name="clock of a site a day ahead", around=a_day_ahead, does=ahead),
    Fault(
        name="certificate of a site ends during the job",
        around=partial(certificate_for, seconds=30.0),
        does=nothing,
        job=partial(private, rounds=MANY, steps=8, grace_s=SHORT_S),
        promised=EXPIRED,
    ),
]


@rehearsal("keeps a hospital away")
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_hospital_that_is_away_is_named(fault: Fault, player: Player) -> None:
    player(fault)
