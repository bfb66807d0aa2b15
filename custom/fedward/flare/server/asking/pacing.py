"""Set how often the sites of a job ask the server for their next task, so that all of them together cost it little.

FLARE's sites poll. A request costs the server about a millisecond of its processor; 50 sites that ask every ``POLL_S``
leave it no time for anything else, and their rounds grow with the square of their number.
"""

from __future__ import annotations

from nvflare.apis.fl_constant import FLContextKey
from nvflare.apis.fl_context import FLContext

from fedward.privacy.policy.canonical_job import POLL_S

REQUESTS_PER_S = 100.0
"""Requests for a task that all sites of a job together may make in a second."""


def pause_s(sites: int) -> float:
    """Return the seconds that each of so many sites waits before it asks again: ``POLL_S`` for 5 sites or fewer."""
    return max(POLL_S, sites / REQUESTS_PER_S)


def pace(context: FLContext, *, sites: int) -> None:
    """Make FLARE tell each site of the job, with every answer to its request, to wait ``pause_s`` before the next."""
    runner = context.get_prop(FLContextKey.RUNNER)
    if runner is not None:
        runner.config.task_request_interval = pause_s(sites)
