"""Two jobs at once, and ten in a row: none disturbs another, and nothing grows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from tests.integration.faults.conftest import Player
from tests.integration.faults.fault import Fault, Promised
from tests.integration.faults.jobs import plain, private
from tests.integration.faults.play import LIMIT_S, Federation, Play, played
from tests.integration.faults.rows import Row
from tests.integration.faults.views import broken
from tests.support.rehearsal import rehearsal

pytestmark = [pytest.mark.integration, rehearsal("runs many jobs")]
JOBS = 10
WARM = 3
"""Jobs after which the parent processes have loaded what they need."""


def beside(play: Play) -> None:
    """Run another job from the first round of this one on."""
    with played(play.federation, private("beside"), play.folder / "beside") as other:
        other.begins()
        assert other.follower.wait(LIMIT_S) == 0, other.said()
        problems = list(broken(other, Promised(within_s=LIMIT_S), undisturbed=None))
    assert not problems, problems


def test_two_jobs_at_once(player: Player) -> None:
    both = Promised(within_s=LIMIT_S)
    player(Fault(name="two jobs at once", does=beside, job=partial(private, rounds=8), promised=both))


@dataclass(frozen=True)
class Size:
    """Of all parent processes together."""

    files: int
    bytes: int
    processes: int


def size(federation: Federation) -> Size:
    parents = [one for who in federation.kits for one in federation.processes(who)]
    files = sum(one.num_fds() for one in parents)
    return Size(files, sum(one.memory_info().rss for one in parents), len(federation.running.federation.processes()))


def test_ten_jobs_in_a_row(federation: Federation, tmp_path: Path) -> None:
    federation.mend()
    sizes = []
    for number in range(JOBS):
        with played(federation, plain(f"row_{number}", steps=2, rounds=1), tmp_path / str(number)) as play:
            assert play.follower.wait(LIMIT_S) == 0, play.said()
        sizes.append(size(federation))
    warm, last = sizes[WARM - 1], sizes[-1]
    problems = []
    if last.files > warm.files + JOBS:
        problems.append(f"open files from {warm.files} to {last.files}")
    if last.bytes > 1.05 * warm.bytes:
        problems.append(f"memory from {warm.bytes / 1e6:.0f} to {last.bytes / 1e6:.0f} MB")
    if last.processes > warm.processes:
        problems.append(f"processes from {warm.processes} to {last.processes}")
    flat = f"{last.files} files, {last.bytes / 1e6:.0f} MB, {last.processes} processes"
    Row(
        fault="ten jobs in a row",
        promised="files, memory and processes flat",
        happened="; ".join(problems) or f"as promised: {flat}",
        seconds="-",
        lost="none",
        epsilon="no noise",
        told="success, ten times",
    ).write()
    assert not problems, problems
