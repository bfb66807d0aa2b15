"""Set how often a site asks the server for its next task where its request is not held, so that waiting costs little.

Most requests are held (``held_requests``). A site whose request is not asks the less often the longer a task takes, and
the more sites there are.
"""

from __future__ import annotations

from nvflare.apis.fl_constant import FLContextKey
from nvflare.apis.fl_context import FLContext

from fedward.privacy.policy.canonical_job import POLL_S

MOST_S = 2.0
"""Longest pause between two requests of a site, in seconds."""
REQUESTS_PER_S = 50.0
"""Requests that all connected sites together may make in a second, where that needs no pause above the longest."""
SHARE = 0.05
"""Pause as a part of the time that the current task has taken: few sites make it longer by no more than this part."""
OF_GRACE = 0.25
"""Longest pause as a part of the job's grace, which a site must not lose because it was told to wait."""


def pause_s(sites: int, *, since_s: float, grace_s: float) -> float:
    """Return the seconds that each of so many sites waits before it asks again.

    Args:
        sites: number of sites that are connected.
        since_s: seconds since the current task was sent.
        grace_s: grace of the job, in seconds.
    """
    wanted = max(sites / REQUESTS_PER_S, since_s * SHARE)
    return max(POLL_S, min(wanted, MOST_S, grace_s * OF_GRACE))


def pace(context: FLContext, *, since_s: float, grace_s: float) -> None:
    """Make FLARE tell each site of the job, with every answer to its request, to wait ``pause_s`` before the next."""
    runner = context.get_prop(FLContextKey.RUNNER)
    if runner is not None:
        sites = len(context.get_engine().get_clients())
        runner.config.task_request_interval = pause_s(sites, since_s=since_s, grace_s=grace_s)
