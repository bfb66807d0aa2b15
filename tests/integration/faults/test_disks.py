"""A disk is full, or takes no entry: it is named, nothing is lost, and the job goes on when there is room."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from fedward.flare.refusal import SENTENCES, Code
from tests.integration.faults.conftest import Player
from tests.integration.faults.fault import Fault, Promised
from tests.integration.faults.jobs import plain, private
from tests.integration.faults.play import SERVER, Federation, Play
from tests.support.rehearsal import rehearsal

pytestmark = pytest.mark.integration
LONG = 10
"""Rounds of a job in which a site goes and comes back."""
BACK = Promised(lost=3, events=("dropped",))


@pytest.fixture(autouse=True)
def small(federation: Federation) -> None:
    if set(federation.full) != {SERVER, federation.victim}:
        pytest.skip("needs root: mounts a small file system")


@contextmanager
def full(folder: Path) -> Iterator[None]:
    """A file that takes all the room."""
    filler = folder / "filler"
    try:
        with filler.open("wb", buffering=0) as file:
            for size in (1 << 20, 1 << 12, 1):
                _fill(file.fileno(), size)
        yield
    finally:
        filler.unlink()


def _fill(handle: int, size: int) -> None:
    try:
        while True:
            os.write(handle, b"0" * size)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(folder)], check=True)


def dropped(play: Play, code: Code) -> None:
    """Wait until the victim is out of a round, with that reason."""
    play.until(lambda: play.of("dropped", site=play.victim), what="the victim is out of a round")
    (first, *_) = play.of("dropped", site=play.victim)
    assert SENTENCES[code] in first["reason"], f"the reason is '{first['reason']}'"


def site_full(play: Play) -> None:
    with full(play.federation.full[play.victim]):
        dropped(play, Code.DISK_FULL)
    play.begins()


def site_read_only(play: Play) -> None:
    with read_only(play.federation.full[play.victim]):
        dropped(play, Code.LEDGER_IO)
    play.begins()


def server_full(play: Play) -> None:
    with full(play.federation.full[SERVER]):
        play.until(lambda: any(line.startswith("paused after round") for line in play.said()), what="it says paused")
    play.begins()


FAULTS = [
    Fault(name="disk full at a site, freed", does=site_full, job=partial(private, rounds=LONG), promised=BACK),
    Fault(name="ledger read-only, then not", does=site_read_only, job=partial(private, rounds=LONG), promised=BACK),
    Fault(
        name="disk full at the server, freed",
        does=server_full,
        job=plain,
        promised=Promised(same_model=True, told=("paused after round",), events=("paused", "unpaused")),
    ),
]


@rehearsal("fills small disks, as root")
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_the_job_goes_on_when_there_is_room(fault: Fault, player: Player) -> None:
    player(fault)
