"""Measure the sites' rounds, and follow the job's ``federation.stragglers`` for sites that are slower than the others.

A site's time runs from the moment it takes a round's task to its answer, as the server's clock measures it: transfers
are in it, and nothing that a site could report. Times of late answers are measured too, but they do not move the
deadline: only answers that count and came within their site's grace do.

=============== ====================================================================================================
``stragglers``  a site that takes the tasks and answers them late
=============== ====================================================================================================
wait            is awaited until ``round_timeout_s``
cut             is awaited for its grace; after ``MOST_LATE`` late rounds in a row it is not asked to train, until the
                time of its last late answer ``fits``; a hospital of ``must_include`` is never cut, and
                ``min_sites`` sites are always asked
fewer_steps     is awaited for its grace, and asked for a half, a quarter, ... of its local steps: the largest share
                with which its time would be at most ``SLOW`` times the median of all sites' times
=============== ====================================================================================================

This module knows neither FLARE nor a clock.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from statistics import median_low

from fedward.aggregation.fednova import steps_taken
from fedward.flare.server.asking.waiting import SLOW as SLOW
from fedward.settings import JobSpec

MOST_LATE = 3
"""Late rounds in a row after which a site is cut."""
REMEMBERED = 3
"""Last rounds of a site whose times count."""


@dataclass(slots=True)
class _Times:
    """One site's rounds so far."""

    counted_s: deque[float] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    last_s: float | None = None
    last_steps: int | None = None
    late: int = 0
    late_s: float | None = None
    """Seconds of the last late answer since the last one that counted."""


class Stragglers:
    """Times of one job's sites, and what follows from them."""

    def __init__(self, job: JobSpec) -> None:
        self._asked, self._planned = job.federation, job.training.local_steps or 0
        self._times: dict[str, _Times] = {}

    def counted(self, site: str, *, seconds: float, steps: int | None, in_time: bool = True) -> None:
        """Note a round's answer that counts, and its optimizer steps, where the site reports them.

        Args:
            in_time: it came within the site's grace. The time of another moves no deadline: a site that uses up its
                grace in every second round would make the deadline longer each time.
        """
        times = self._of(site)
        if in_time:
            times.counted_s.append(seconds)
        times.late, times.late_s = 0, None
        self._measure(site, seconds, steps)

    def late(self, site: str, *, seconds: float, steps: int | None) -> None:
        """Note an answer that came after its round was closed."""
        self._of(site).late_s = seconds
        self._measure(site, seconds, steps)

    def missed(self, sites: Collection[str]) -> None:
        """Note the sites that took a round's task and had not answered it when the round was closed."""
        for site in sites:
            self._of(site).late += 1

    @property
    def deadline_s(self) -> float:
        """Seconds after which a round waits for nobody, once there are enough answers.

        ``SLOW`` times the slowest time of the last rounds that counted, and the grace; at most ``round_timeout_s``,
        which it is while nothing has been measured.
        """
        slowest, limits = self._slowest_s, self._asked
        return min(SLOW * slowest + limits.grace_s, limits.round_timeout_s) if slowest else limits.round_timeout_s

    def fits(self, seconds: float) -> bool:
        """True if a site with this time is back in the rounds if a round waits for it until the deadline.

        A site that was late takes the next task in the middle of a round, at most one slowest time after its beginning.
        """
        return seconds <= self._fitting_s

    def usual_s(self, site: str, *, rounds: int = 1) -> float | None:
        """Return the seconds that a site's last round took, times ``rounds``; None: it was never measured."""
        last = self._of(site).last_s
        return None if last is None else last * rounds

    def cut(self, sites: Sequence[str]) -> dict[str, str]:
        """Return the sites that the next round does not ask to train, with the reason; slowest first."""
        if self._asked.stragglers != "cut":
            return {}
        late = [site for site in sites if self._is_cut(site)]
        late.sort(key=lambda site: (-(self._of(site).late_s or math.inf), site))
        most = max(len(sites) - self._asked.min_sites, 0)
        return {site: self._why(site) for site in late[:most]}

    def fewer_steps(self, sites: Sequence[str]) -> dict[str, int]:
        """Return the sites that the next round asks for fewer local steps, with the number, at least 1."""
        full = {site: seconds for site in sites if (seconds := self._full_s(site)) is not None}
        if self._asked.stragglers != "fewer_steps" or not full:
            return {}
        bound = SLOW * median_low(full.values())
        slow = {site: seconds for site, seconds in full.items() if seconds > bound > 0}
        planned = self._planned
        asked = {
            site: steps_taken(planned, planned >> math.ceil(math.log2(slow[site] / bound))) for site in sorted(slow)
        }
        return {site: steps for site, steps in asked.items() if steps < planned}

    def _is_cut(self, site: str) -> bool:
        times = self._of(site)
        if times.late < MOST_LATE or site in self._asked.must_include:
            return False
        return times.late_s is None or not self.fits(times.late_s)

    @property
    def _slowest_s(self) -> float:
        return max((seconds for times in self._times.values() for seconds in times.counted_s), default=0.0)

    @property
    def _fitting_s(self) -> float:
        return self.deadline_s - self._slowest_s

    def _why(self, site: str) -> str:
        times = self._of(site)
        took = "" if times.late_s is None else f", and took {times.late_s:.0f} s where {self._fitting_s:.0f} s fit"
        return f"not asked to train: it was late {times.late} times in a row{took}"

    def _full_s(self, site: str) -> float | None:
        """Return the seconds that all steps of a site would take; None without a measured time or number of steps."""
        times = self._of(site)
        if times.last_s is None or not times.last_steps:
            return None
        return times.last_s * self._planned / times.last_steps

    def _measure(self, site: str, seconds: float, steps: int | None) -> None:
        times = self._of(site)
        times.last_s, times.last_steps = seconds, steps

    def _of(self, site: str) -> _Times:
        return self._times.setdefault(site, _Times())
