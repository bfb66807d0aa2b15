"""Divide the noise of a sum among hospitals, and fit gradients and noise into the numbers that are summed.

A job with ``noise = "sum"`` gives the sum of all hospitals' clipped gradients the noise that DP-SGD over the union of
their patients would: standard deviation σ times the bound on a patient's part (``fedward.privacy.grid``). Each of n
hospitals adds an independent share of variance 1/(n - t) of it (Goryczka and Xiong 2017, section 4; Kairouz, Liu and
Steinke 2021). Here t = ``max_missing`` + ``max_colluding``: the noise of so many hospitals may be absent, because they
are missing from the round's sum, or because they tell others what they added. A hospital opens only sums that at most
``max_missing`` hospitals are missing from.

So against the server, and against up to ``max_colluding`` hospitals that tell it all they know, the noise of a sum
that is opened is at least σ, and ε is as stated. A hospital knows its own share: it is one of ``max_colluding``.
Against more hospitals together the noise is smaller, and ``known_to`` says how much.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from fedward.encryption.masks.graphs.threshold import colluding_of
from fedward.encryption.schemes import bits_of
from fedward.errors import JobError
from fedward.privacy.grid import FINE, Grid
from fedward.privacy.rounded_normal import MOST
from fedward.settings import DpSgd, JobSpec

MARGIN = 2
"""A sum has room for so many times the patients that the job expects."""
RARE_BITS = 40
"""A sum of that many patients wraps with a probability below 2^-RARE_BITS."""
MOST_GROWTH = 0.05
"""Largest part by which rounding may enlarge the noise."""
LEAST_SHARE = 64.0
"""Smallest standard deviation of a share, in units of the grid: see ``fedward.privacy.rounded_normal``."""
FINEST = FINE << 4
"""Most steps of a grid, whatever there is room for: with more, rounding would gain nothing, and the noise not fit."""
_ROOM = 16
"""A sum has room for so many times the expected patients at least, so that the noise has its place in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """Shares of one sum's noise.

    Attributes:
        sites: number n of hospitals that take part in the run.
        missing: largest number of them that a sum may be without.
        colluding: largest number of them that may tell others their noise.

    Raises:
        JobError: no hospital is left whose noise counts.
    """

    sites: int
    missing: int
    colluding: int

    def __post_init__(self) -> None:
        if self.counted < 1:
            what = f"of {self.sites} hospitals none is left whose noise counts"
            remedy = f"have more hospitals take part, or lower both together to {self.sites - 1}"
            where = "privacy.dp_sgd.max_missing and max_colluding"
            raise JobError(what, where=where, value=f"{self.missing} + {self.colluding}", remedy=remedy)

    @property
    def counted(self) -> int:
        """Number n - t of shares that make up the noise that is accounted."""
        return self.sites - self.missing - self.colluding

    @property
    def fewest(self) -> int:
        """Smallest number of hospitals in a sum that is opened."""
        return self.sites - self.missing

    def std(self, grid: Grid, noise_multiplier: float) -> float:
        """Return the standard deviation of one share, in units of the grid."""
        return grid.std(noise_multiplier) / math.sqrt(self.counted)

    def known_to(self, hospitals: int, noise_multiplier: float, *, missing: int | None = None) -> float:
        """Return the noise multiplier against so many hospitals that tell each other their noise; 0.0: none is left.

        Args:
            hospitals: number of hospitals, in the sum, whose noise is known.
            noise_multiplier: the job's.
            missing: hospitals that are missing from the sum; None: as many as may be.
        """
        left = self.sites - (self.missing if missing is None else missing) - hospitals
        return noise_multiplier * math.sqrt(max(0, left) / self.counted)


def absent_of(job: JobSpec) -> int:
    """Return t, the number of hospitals whose share of the noise ε can do without."""
    missing, colluding = _bounds(job)
    return missing + colluding


def strangers_of(job: JobSpec) -> int:
    """Return how many hospitals of a masked job may be unknown to one that asks for known ones.

    An invented hospital sides with the server: they may be as many as the masks bear, and as many as the noise bears.
    """
    return min(colluding_of(job), _bounds(job)[1]) if job.noises_sum else colluding_of(job)


def shares_of(job: JobSpec, *, sites: int) -> Shares:
    """Return the shares of a job in which so many hospitals take part; errors as ``Shares``."""
    missing, colluding = _bounds(job)
    return Shares(sites=sites, missing=missing, colluding=colluding)


def sum_grid(job: JobSpec, *, values: int) -> Grid:
    """Return the grid of a job's gradients; it follows from the job alone, and is the same at every hospital.

    A quarter of a number's range is for patients: ``_ROOM`` times those that the job expects in a step, or as many as
    ``MARGIN`` times those exceed with a probability below 2^-(RARE_BITS + 1), if more. Another quarter is for noise.

    Args:
        job: a job with noise for the sum.
        values: number of the network's trainable parameters.
    """
    asked = _asked(job)
    room = max(_ROOM * asked.patients_per_step, _most_drawn(MARGIN * asked.patients_per_step))
    steps = 1 << max(0, math.floor(math.log2(2.0 ** (_bits(job) - 2) / (room + 1.0))))
    return Grid(norm_l2=asked.clip_norm_l2, values=values, steps=min(steps, FINEST))


def check_ring(job: JobSpec, *, values: int, noise_multiplier: float) -> Grid:
    """Return the grid of a job if gradients and noise fit into the numbers that are summed.

    Guarantee: with up to ``MARGIN`` times the expected patients, a coordinate of the sum wraps with a probability below
    2^-RARE_BITS; rounding enlarges the noise by at most ``MOST_GROWTH``; and a share has a deviation
    for which ``fedward.privacy.rounded_normal`` is exact. A wrapped sum would protect patients as well, but be useless.

    Args:
        job: a job with noise for the sum.
        values: number of the network's trainable parameters.
        noise_multiplier: σ.

    Raises:
        JobError: they do not fit.
    """
    grid, fewest = sum_grid(job, values=values), max(3, job.federation.min_sites)
    shares = shares_of(job, sites=fewest)
    whole = grid.std(noise_multiplier) * math.sqrt(fewest / shares.counted)
    reach = math.sqrt(2.0 * math.log(4.0 * values * 2.0**RARE_BITS))
    where, most = "privacy.dp_sgd", job.encryption.max_sites if job.encryption is not None else fewest
    precise = "" if _bits(job) == 48 else 'give encryption.precision "precise", or '
    if whole * reach > 2.0 ** (_bits(job) - 2):
        what = "so much noise for so few patients a step would wrap around in the sum"
        raise JobError(what, where=where, value=noise_multiplier, remedy=precise + "raise patients_per_step")
    if grid.growth > MOST_GROWTH:
        what = f"rounding to the numbers of the sum would enlarge the noise by {grid.growth:.0%}"
        raise JobError(what, where=where, value=grid.steps, remedy=precise + "lower patients_per_step")
    if shares.std(grid, noise_multiplier) > MOST:
        what = "a hospital's share of the noise would be too much for whole numbers"
        raise JobError(what, where=where, value=noise_multiplier, remedy="raise epsilon, or lower the steps")
    if shares_of(job, sites=most).std(grid, noise_multiplier) < LEAST_SHARE:
        what = "a hospital's share of the noise would be too little for whole numbers"
        raise JobError(what, where=where, value=noise_multiplier, remedy=precise + "lower patients_per_step")
    return grid


def _most_drawn(expected: float) -> int:
    """Return a number of patients that is drawn with a probability below 2^-(RARE_BITS + 1).

    Chernoff's bound for independent draws of mean μ: P(X >= m) <= exp(m - μ - m ln(m/μ)) for m > μ (Mitzenmacher and
    Upfal 2005, theorem 4.4).
    """
    most = math.ceil(expected) + 1
    while most - expected - most * math.log(most / expected) > -(RARE_BITS + 1) * math.log(2.0):
        most += 1
    return most


def _bounds(job: JobSpec) -> tuple[int, int]:
    asked = _asked(job)
    colluding = colluding_of(job) if asked.max_colluding is None else asked.max_colluding
    return asked.max_missing or 0, colluding


def _bits(job: JobSpec) -> int:
    if job.encryption is None:
        raise JobError("noise for the sum needs masks", where="encryption", remedy="give an [encryption] table")
    return bits_of(job.encryption.scheme, job.encryption.precision)


def _asked(job: JobSpec) -> DpSgd:
    asked = job.privacy.dp_sgd
    if asked is None or asked.noise != "sum":
        raise JobError("job has no noise for the sum", where="privacy.dp_sgd.noise", remedy='give noise = "sum"')
    return asked
