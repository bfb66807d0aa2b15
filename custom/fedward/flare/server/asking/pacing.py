"""Set how often the sites of a job ask the server for their next task, so that waiting costs little.

FLARE's sites poll, and a request costs the server's two processes 6 ms of a core and the site 4 ms
(``bench/results/load.md``). Here a site asks the less often the longer a task takes, and the more sites there are.
"""

from __future__ import annotations

from nvflare.apis.fl_constant import FLContextKey
from nvflare.apis.fl_context import FLContext

from fedward.privacy.policy.canonical_job import POLL_S

MOST_S = 2.0
"""Longest pause between two requests of a site, in seconds."""
REQUESTS_PER_S = 50.0
"""Requests that all sites of a job together may make in a second, where that needs no longer pause than ``MOST_S``."""
SHARE = 0.05
"""Pause as a part of the time that the current task has taken: a round takes no longer by more than this part."""


def pause_s(sites: int, *, since_s: float) -> float:
    """Return the seconds that each of so many sites waits before it asks again.

    Args:
        sites: number of the job's sites.
        since_s: seconds since the current task was sent.
    """
    return min(MOST_S, max(POLL_S, sites / REQUESTS_PER_S, since_s * SHARE))


def pace(context: FLContext, *, sites: int, since_s: float) -> None:
    """Make FLARE tell each site of the job, with every answer to its request, to wait ``pause_s`` before the next."""
    runner = context.get_prop(FLContextKey.RUNNER)
    if runner is not None:
        runner.config.task_request_interval = pause_s(sites, since_s=since_s)
