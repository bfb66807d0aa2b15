"""Compute how many hospitals must help to open a sum, from how many may side with the server.

Let n hospitals take part, of whom at most t send the server whatever it likes. Each hospital helps for one set of
messages of a sum only, and what it gives opens only if ``needed`` of the n have helped for that same set
(``masks.locks``). If anything opened for two sets of a sum, each had at least ``needed - t`` honest helpers, and no
honest one helped for both, so ``2 (needed - t) <= n - t``. ``needed`` is the smallest number that contradicts this:
``floor((n + t) / 2) + 1``. So shares open for one set of a sum at most, also against a server that tells each hospital
something else. Bonawitz et al. (2017, CCS, section 6.2) reach the same with a round of signatures over the set; their
"t > 2n/3" is this bound for t = n/3.
"""

from __future__ import annotations

from dataclasses import dataclass

from fedward.errors import EncryptionError
from fedward.settings import MIN_CONTRIBUTORS, JobSpec

ROBUST = ("byzsecagg", "grouped-median")
"""Aggregations of a masked job that bear false updates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """Bound on collusion in one run.

    Attributes:
        sites: number n of hospitals that take part.
        colluding: largest number t of them that may side with the server.
        lost: largest number of hospitals that a sum may be without, where the mask graph or the noise bears no more;
            None: as many as leave enough to help.

    Raises:
        EncryptionError: there are fewer than three hospitals, or fewer than two of them would be honest.
    """

    sites: int
    colluding: int
    lost: int | None = None

    def __post_init__(self) -> None:
        if self.sites < MIN_CONTRIBUTORS:
            raise EncryptionError(f"masked sum of fewer than {MIN_CONTRIBUTORS} hospitals", value=self.sites)
        if not 1 <= self.colluding <= self.sites - 2:
            raise EncryptionError(
                f"of {self.sites} hospitals no masked sum protects against so many that side with the server",
                value=self.colluding,
                remedy=f"give encryption.max_colluding from 1 to {self.sites - 2}",
            )

    @property
    def needed(self) -> int:
        """Number of hospitals that must help to open a sum."""
        return (self.sites + self.colluding) // 2 + 1

    @property
    def may_be_lost(self) -> int:
        """Number of hospitals that may be lost in a round, before or after their upload."""
        most = self.sites - max(MIN_CONTRIBUTORS, self.needed)
        return most if self.lost is None else min(most, self.lost)

    @property
    def fewest(self) -> int:
        """Smallest number of hospitals in a sum: as many as must help or more, so that most honest ones are in it."""
        return self.sites - self.may_be_lost


def threshold_of(job: JobSpec, *, sites: int) -> Threshold:
    """Return the bound of a masked job in which so many hospitals take part; errors as ``Threshold``."""
    asked, dp_sgd = job.encryption, job.privacy.dp_sgd
    lost = None if asked is None or asked.graph == "complete" else int(asked.max_lost * sites)
    if dp_sgd is not None and dp_sgd.noise == "sum":
        missing = dp_sgd.max_missing or 0
        lost = missing if lost is None else min(lost, missing)
    return Threshold(sites=sites, colluding=colluding_of(job), lost=lost)


def malicious_of(job: JobSpec) -> int:
    """Return the number of hospitals that may send false updates, in a job whose aggregation bears some.

    It is ``federation.max_malicious``; where the job gives none, as many as ``federation.min_sites`` hospitals bear.
    """
    asked = job.federation
    if asked.max_malicious is not None:
        return asked.max_malicious
    if asked.aggregation == "grouped-median":
        return max(1, (asked.min_sites // smallest_group(job) - 1) // 2)
    return max(1, (asked.min_sites - 2 * colluding_of(job) - 1) // 2)


def lying_of(job: JobSpec) -> int:
    """Return the largest number of hospitals that may lie: those that collude, or send false updates, if more."""
    return max(colluding_of(job), malicious_of(job)) if job.federation.aggregation in ROBUST else colluding_of(job)


def group_count(job: JobSpec) -> int:
    """Return the number of groups of a job with aggregation ``grouped-median``: the fewest that bear false updates."""
    return 2 * malicious_of(job) + 1


def smallest_group(job: JobSpec) -> int:
    """Return the smallest number of hospitals in a group's sum: two at least do not side with the server."""
    return max(MIN_CONTRIBUTORS, colluding_of(job) + 2)


def least_to_compare(job: JobSpec) -> int:
    """Return the smallest number of hospitals of a job with aggregation ``byzsecagg``.

    As many must answer that distances can be decoded (``distances.comparing.answers_needed``), and that multi-Krum
    chooses among enough; and those that it chooses must be enough for a masked sum.
    """
    colluding, malicious = colluding_of(job), malicious_of(job)
    least = max(2 * colluding + 1 + 2 * malicious, 2 * malicious + 3, MIN_CONTRIBUTORS + malicious)
    while Threshold(sites=least, colluding=colluding).fewest + malicious > least:
        least += 1
    return least


def colluding_of(job: JobSpec) -> int:
    """Return the number of hospitals that may side with the server in a masked job: fixed before anybody takes part.

    It is ``encryption.max_colluding``; where the job gives none, a third of ``federation.min_sites``, or as many as the
    groups of ``min_sites`` hospitals bear if these are fewer, and 1 at least. It does not depend on the hospitals that
    take part, for those the server chooses.
    """
    given, asked = None if job.encryption is None else job.encryption.max_colluding, job.federation
    if given is not None:
        return given
    most = asked.min_sites // 3
    if asked.aggregation == "grouped-median":
        most = min(most, asked.min_sites // (2 * (asked.max_malicious or 1) + 1) - 2)
    return max(1, most)
