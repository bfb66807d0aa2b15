"""A fault: when it happens, what it does, and the promise that is held against every view of the job's end."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fedward.ends import ABORTED, COMPLETED, SUCCESS
from fedward.settings import JobSpec
from tests.integration.faults.jobs import private

if TYPE_CHECKING:
    from tests.integration.faults.play import Federation, Play

Act = Callable[["Play"], object]
Around = Callable[["Federation"], AbstractContextManager[object]]
SOON_S = 5.0
"""Seconds in which an aborted job has ended everywhere."""


@dataclass(frozen=True, kw_only=True)
class Promised:
    """Promised end of a job.

    Attributes:
        end: regular expression of the whole sentence that every view tells.
        flare: FLARE's status.
        last: kind of the last event, and the state in the store.
        lost: rounds that the site in the fault may miss; nobody else misses any.
        repeated: rounds that a site may train, and pay, twice.
        within_s: from the fault, or the mark ``listens``, until the next round in which everybody counts; or the end.
        same_model: the final model is bit for bit that of the undisturbed job.
        told: parts of lines that the person at ``fedward job wait`` has to read, in any order.
        events: kinds of events that have to be in the result.
    """

    end: str = SUCCESS
    flare: str = COMPLETED
    last: str = "finished"
    lost: int = 0
    repeated: int = 1
    within_s: float = 30.0
    same_model: bool = False
    told: tuple[str, ...] = ()
    events: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """The promise in a line of the table."""
        parts = [_plain(self.end)]
        parts += [f"<= {self.lost} round(s) lost"] if self.last == "finished" else []
        parts += [f"<= {self.within_s:g} s"]
        parts += ["model bit for bit"] if self.same_model else []
        return ", ".join(parts)


def aborted_by(person: str) -> Promised:
    """Promise of a job that a person aborts."""
    end = rf"aborted by {person} after \d of \d rounds(: .*)?"
    return Promised(end=end, flare=ABORTED, last="aborted", within_s=SOON_S)


def nothing(play: Play) -> None:
    """A fault that is there before the job."""


def _plain(pattern: str) -> str:
    """A pattern as people read it: n for a number, … for anything."""
    return re.sub(r"(\(: )?\.[*+](\)\?)?", "…", pattern).replace(r"\d", "n").replace("|", " or ").replace("\\", "")


def after_round(number: int) -> Act:
    """Wait until so many rounds are complete."""
    return lambda play: play.until(lambda: len(play.of("round")) >= number, what=f"round {number}")


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One line of the rehearsal.

    Attributes:
        name: the fault.
        when: waits for its moment.
        does: plays it, and mends it where that belongs to the fault.
        job: makes the job from its name.
        around: what is so before the job is submitted, and put right after its end.
        promised: the end.
    """

    name: str
    does: Act
    when: Act = field(default_factory=lambda: after_round(1))
    job: Callable[[str], JobSpec] = private
    around: Around = lambda federation: nullcontext()
    promised: Promised = field(default_factory=Promised)
