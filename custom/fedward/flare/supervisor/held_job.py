"""A job that a dead server left, until enough of its sites are heard."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nvflare.apis.job_def import Job

from fedward.flare.supervisor import job_end

PATIENCE_S = 20.0
"""Seconds that a job waits, after the server is back, for those of its sites that were not heard yet."""
LONGEST_S = 86_400.0
"""Seconds after which a job whose sites do not come back has failed: a day."""


@dataclass(slots=True)
class HeldJob:
    """A job without a process.

    Attributes:
        job: FLARE's job.
        sites: names of the sites that it was started with.
        since: time on the monotonic clock when the server was back.
        told: sites that the job's log already says it waits for.
    """

    job: Job
    sites: Sequence[str]
    since: float = field(default_factory=time.monotonic)
    told: tuple[str, ...] = ()

    @property
    def least(self) -> int:
        """Number of sites without which it does not go on."""
        return max(1, self.job.min_sites or 1)

    @property
    def waited_s(self) -> float:
        """Seconds that it has waited."""
        return time.monotonic() - self.since

    def may_go_on(self, there: Collection[str]) -> bool:
        """True if all its sites are connected, or enough and all of ``must_include`` after ``PATIENCE_S``."""
        required = set(self.job.required_sites or ()) <= set(there)
        enough = len(there) >= self.least and required and self.waited_s >= PATIENCE_S
        return bool(there) and (len(there) == len(self.sites) or enough)

    def tell(self, kit: Path, there: Collection[str]) -> None:
        """Write to the job's log for whom it waits, once after ``PATIENCE_S`` and at every change.

        Raises:
            OSError, FedwardError: as ``job_end.tell``; it is told at the next call then.
        """
        missing = tuple(sorted(set(self.sites) - set(there)))
        if self.waited_s < PATIENCE_S or missing == self.told:
            return
        job_end.tell(kit, self.job.job_id, "paused", reason=self.waits_for(there))
        self.told = missing

    def waits_for(self, there: Collection[str]) -> str:
        """Return for whom it waits, as the reason of a pause or of a failure."""
        missing = ", ".join(sorted(set(self.sites) - set(there)))
        return f"the server was restarted, {len(there)} of at least {self.least} sites are connected, without {missing}"
