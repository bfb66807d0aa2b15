"""Follow a job from a console until it has ended, with a line for each change and one every few seconds.

A server that does not answer is asked again; the silence is told, and after ``PATIENCE_S`` it is an error.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from fedward.ends import End, end_of, waiting
from fedward.errors import FederationError
from fedward.flare.console.job_states import Standing

PATIENCE_S = 300.0
"""Longest time without an answer from the server while a job is followed."""
REPEAT_S = 5.0
"""Seconds after which a line that has not changed is said again."""

_ABSENCE = ("missing required site", "connected sites", "scheduled")
"""Beginnings of FLARE's reasons that are out of date once the sites are there."""


class Server(Protocol):
    """Part of a console that ``follow`` asks."""

    def standing(self, job_id: str) -> Standing | None:
        """Return how the job stands, or None where the server does not answer in time."""

    def connected(self) -> set[str]:
        """Return the sites that are connected."""


def follow(server: Server, job_id: str, *, told: Callable[[str], None], poll_s: float = 1.0) -> tuple[str, End]:
    """Ask how a job stands until it has ended.

    Args:
        server: console of a signed-in person.
        job_id: id of the job.
        told: called with a line at each change, and every ``REPEAT_S`` seconds without one.
        poll_s: seconds between two questions.

    Returns:
        FLARE's last status, and the end.

    Raises:
        FederationError: the server has not answered for ``PATIENCE_S``, or has no such job; the job may still run.
    """
    heard = time.monotonic()
    known, said, said_at = "", "", heard - REPEAT_S
    while True:
        stands = server.standing(job_id)
        now = time.monotonic()
        if stands is not None:
            heard, end = now, end_of(stands.flare, stands.job)
            if end.ended:
                return stands.flare, end
            line = known = _line(server, stands, end)
        elif now - heard > PATIENCE_S:
            what = f"server has not answered for {PATIENCE_S:.0f} s"
            raise FederationError(what, value=job_id, remedy="the job may go on: see `nvflare job list`")
        else:
            line = f"the server does not answer, and is asked again; last known: {known or 'nothing'}"
        if line != said or now - said_at >= REPEAT_S:
            told(line)
            said, said_at = line, now
        time.sleep(poll_s)


def _line(server: Server, stands: Standing, end: End) -> str:
    if end.state != "waiting":
        return end.words
    try:
        here = server.connected()
    except FederationError:  # the next question tells whether the server still answers
        return end.words
    why = "" if stands.why.startswith(_ABSENCE) else stands.why
    return waiting(here, needed=stands.needed, required=stands.required, known=stands.known, why=why)
