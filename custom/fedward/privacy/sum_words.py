"""Say in words against whom the noise of a sum protects, and what ε is against hospitals that know some of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fedward.encryption.masks.graphs.threshold import threshold_of
from fedward.privacy.accountant import Event, epsilon
from fedward.privacy.sum_noise import Shares, shares_of
from fedward.settings import JobSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Against:
    """ε of a job against the server and some hospitals that tell each other what noise they added.

    Attributes:
        hospitals: their number; 0: the server, and whoever gets the model.
        epsilon: with as many other hospitals missing from every round as sums open without; infinite where no noise is
            left.
        within: True if the job's own ε is a bound on it.
    """

    hospitals: int
    epsilon: float
    within: bool


def against(job: JobSpec, *, sites: int, noise_multiplier: float) -> tuple[Against, ...]:
    """Return ε against the server alone, as many hospitals as the job bears, and one more.

    Args:
        job: job with noise for the sum.
        sites: number of hospitals that take part.
        noise_multiplier: the job's.

    Raises:
        JobError: of so many hospitals none is left whose noise counts.
        EncryptionError: so few hospitals have no masked sum.
    """
    shares, asked = shares_of(job, sites=sites), job.privacy.dp_sgd
    missing = threshold_of(job, sites=sites).may_be_lost
    rate, delta = (1.0, 1e-5) if asked is None else (asked.sampling_rate or 1.0, asked.delta)
    numbers = sorted({0, 1, shares.colluding, shares.colluding + 1} & set(range(sites)))
    return tuple(
        Against(
            hospitals=number,
            epsilon=_epsilon(job, rate, shares.known_to(number, noise_multiplier, missing=missing), delta),
            within=number <= shares.colluding,
        )
        for number in numbers
    )


def sum_words(job: JobSpec, *, sites: int, noise_multiplier: float | None = None) -> tuple[str, ...]:
    """Return sentences on the noise of a job's sums, for people who plan, approve or read it.

    Args:
        job: job with noise for the sum.
        sites: number of hospitals that take part, or at least do.
        noise_multiplier: the job's; None: ε is not computed.
    """
    shares = shares_of(job, sites=sites)
    lines = [
        f"The noise is for the sum of all hospitals: each of {sites} adds a share, and {_count(shares.counted)} the "
        "noise of the stated ε. A round is one step over all hospitals' patients.",
        _bears(shares, lost=threshold_of(job, sites=sites).may_be_lost),
    ]
    if noise_multiplier is not None:
        told = [
            f"{_who(one.hospitals)} {_shown(one.epsilon)}"
            for one in against(job, sites=sites, noise_multiplier=noise_multiplier)
        ]
        lines.append(f"ε against whoever knows some of the noise, with as many missing as may be: {'; '.join(told)}.")
    return tuple(lines)


def _count(shares: int) -> str:
    return "1 share is" if shares == 1 else f"{shares} shares are"


def _bears(shares: Shares, *, lost: int) -> str:
    """Return in words what ε bears; ``lost``: hospitals that a sum opens without, by its masks and by its noise."""
    missing = (
        f"{lost} may be missing from a round, and a sum of fewer than {shares.sites - lost} is not opened"
        if lost
        else "no hospital may be missing from a round"
    )
    if lost < shares.missing:
        missing += f", for masks of {shares.sites} hospitals open no other sum: max_missing {shares.missing} adds noise"
    if not shares.colluding:
        return f"It counts on the noise of every hospital that is there, and each knows its own: {missing}."
    one = shares.colluding == 1
    some = "1 hospital tells the server what noise it" if one else f"{shares.colluding} hospitals tell what noise they"
    return f"ε holds though {some} added; each hospital knows its own; {missing}."


def _who(hospitals: int) -> str:
    if hospitals == 0:
        return "the server alone"
    return "1 hospital" if hospitals == 1 else f"{hospitals} hospitals together"


def _epsilon(job: JobSpec, rate: float, noise: float, delta: float) -> float:
    return epsilon([Event(sampling_rate=rate, noise_multiplier=noise, steps=job.federation.rounds)], delta=delta)


def _shown(value: float) -> str:
    return f"{math.ceil(value * 100) / 100:.2f}" if math.isfinite(value) else "infinite"
