"""Divide the hospitals of a run into groups of which each has a sum of its own, anew for each round.

The groups follow from the job, the round and the hospitals of the run, so that nobody chooses them. The same job has
the same groups in another run with the same hospitals; in one with others a hospital takes no part
(``privacy.ledger.same_hospitals``). So two sums of one round never differ by one hospital.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from fedward.encryption.masks.graphs.threshold import group_count
from fedward.settings import JobSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Grouping:
    """Rule by which hospitals are divided.

    Attributes:
        count: number of groups.
        job: ``job_hash`` of the job.
    """

    count: int
    job: str

    @classmethod
    def of(cls, spec: JobSpec, *, job: str) -> Grouping | None:
        """Return the rule of a job whose aggregation is ``grouped-median``; None for any other job."""
        grouped = spec.federation.aggregation == "grouped-median"
        return cls(count=group_count(spec), job=job) if grouped else None

    def groups(self, sites: Iterable[str], *, round_number: int) -> tuple[tuple[str, ...], ...]:
        """Return the groups of a round, names sorted in each; their sizes differ by one at most."""
        about = f"fedward/groups/1\n{self.job}\n{round_number}\n"
        order = sorted(sites, key=lambda site: hashlib.sha256(f"{about}{site}".encode("ascii")).digest())
        return tuple(tuple(sorted(order[number :: self.count])) for number in range(self.count))

    def group_of(self, site: str, sites: Iterable[str], *, round_number: int) -> int:
        """Return the number of a hospital's group in a round."""
        found = self.groups(sites, round_number=round_number)
        return next(number for number, group in enumerate(found) if site in group)
