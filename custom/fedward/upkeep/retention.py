"""Decide what a kit need not keep: by age, by number of jobs and by size. It reads no file and no clock."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from fedward.settings import Retention

DAY_S = 86_400.0
GB = 10**9
Kind = Literal["job", "log", "download"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """All that goes or stays together: everything of one job, one turned log, one download.

    Attributes:
        name: the job's id, or the path below the kit.
        kind: "job", "log" (one that no process writes any more) or "download".
        paths: files and folders below the kit, as POSIX paths; none is above another.
        size: bytes of them.
        changed: newest change of any file in them, seconds since the epoch.
        kept: why it must stay, as a phrase for people; None: it may be removed.
    """

    name: str
    kind: Kind
    paths: tuple[str, ...]
    size: int
    changed: float
    kept: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """A unit that is due, and the limit that it is over."""

    unit: Unit
    why: str


def due(units: Iterable[Unit], retention: Retention, *, now: float) -> tuple[Removal, ...]:
    """Return what is due, oldest first.

    1. A unit whose last change is more than ``keep_days`` ago is due, except the ``keep_jobs`` newest jobs.
    2. While all that would be left, with what must stay, is larger than ``max_gb``, the oldest of the rest is due.

    Guarantee: no unit that must stay is returned. What is left has nothing more that is due at the same time.

    Args:
        now: seconds since the epoch.
    """
    every = sorted(units, key=lambda unit: (unit.changed, unit.name))
    jobs = [unit.name for unit in every if unit.kind == "job" and unit.kept is None]
    newest = set(jobs[max(0, len(jobs) - retention.keep_jobs) :])
    free = [unit for unit in every if unit.kept is None]
    until = now - retention.keep_days * DAY_S
    found = {
        unit.name: f"older than {retention.keep_days} days"
        for unit in free
        if unit.changed < until and not (unit.kind == "job" and unit.name in newest)
    }
    if retention.max_gb is not None:
        left = sum(unit.size for unit in every if unit.name not in found)
        for unit in free:
            if left <= retention.max_gb * GB:
                break
            if unit.name not in found:
                found[unit.name] = f"all that is kept would be over {retention.max_gb:g} GB"
                left -= unit.size
    return tuple(Removal(unit=unit, why=found[unit.name]) for unit in free if unit.name in found)
