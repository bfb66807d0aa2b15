"""One site in one job, as the supervisor knows it: whether it runs the job, and how often it was started again."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

UNHEARD_S = 30.0
"""Seconds after which a site that was asked to start a job must have reported it."""
FIRST_PAUSE_S = 1.0
"""Pause after a site's process has ended for good, before it is started again; each further pause is twice as long."""
FORGET_S = 600.0
"""Seconds for which a job runs at a site after which its earlier starts there no longer count."""
MOST_STARTS = 5
"""Times that a job is started again at one site, apart from the restarts by the site's own launcher."""


@dataclass(slots=True)
class Seat:
    """One site in one job."""

    reported: bool = False
    """The site's parent process has reported the job since it was last started there."""
    asked_at: float = field(default_factory=time.monotonic)
    starts: int = 0
    starting: bool = False
    done: bool = False
    """The site's process ended by itself: the job is over there."""

    @property
    def waited_s(self) -> float:
        """Seconds since it was asked to start the job, or since its process ended."""
        return time.monotonic() - self.asked_at

    @property
    def is_due(self) -> bool:
        """True if the job may be started there again now, should the site not run it."""
        pause_s = FIRST_PAUSE_S * 2**self.starts if self.reported else UNHEARD_S
        return self.starts < MOST_STARTS and self.waited_s > pause_s
