"""Compute a job's privacy cost for a hospital's patients, before anything runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fedward.errors import JobError
from fedward.privacy.accountant import Event, check_delta, epsilon, noise_for, update_noise_event
from fedward.privacy.sum_noise import MARGIN, absent_of
from fedward.settings.job import JobSpec
from fedward.settings.privacy import DpSgd, UpdateProtection

REPEATED_ROUNDS, REPEATED_FRACTION = 2, 10
"""Smallest number of rounds that a job may repeat, and the part of its rounds, one in so many, that it may repeat."""


def repeated_rounds(rounds: int) -> int:
    """Return how many rounds a run may repeat at one hospital because a process was killed: at least two, or a tenth.

    The number is both the ledger's allowance and the record's limit on updates that leave a second time. Each process
    that dies in the middle of a round costs one; two let a hospital and the server fail once each in a short job.
    """
    return max(REPEATED_ROUNDS, rounds // REPEATED_FRACTION)


@dataclass(frozen=True, slots=True, kw_only=True)
class SitePlan:
    """Plan of one hospital's part in a job, with its patients' ε at the end of it."""

    site: str
    mechanism: Literal["dp-sgd", "update-noise"]
    patients: int
    """Training patients."""
    sampling_rate: float
    """Probability that a patient is drawn in a step."""
    noise_multiplier: float
    """The noise's standard deviation over ``clip_norm_l2``."""
    steps: int
    """Noisy releases in all rounds: optimizer steps under dp-sgd, whole updates under update-noise."""
    allowance: int
    """Releases beyond ``steps`` that the ledger allows after restarts: those of ``repeated_rounds`` rounds."""
    epsilon: float
    delta: float
    clip_norm_l2: float
    absent_noise: int | None = None
    """Where the noise is for the sum of all hospitals: number t of them whose share of it ε can do without."""

    @property
    def event(self) -> Event:
        """Event that the accountant and the ledger count."""
        return self._event(self.steps)

    @property
    def ceiling(self) -> float:
        """Largest ε that the job can reach here, however often it is asked for: that of ``steps`` and ``allowance``."""
        return epsilon([self.limit], delta=self.delta)

    @property
    def limit(self) -> Event:
        """Event of ``steps`` and ``allowance``."""
        return self._event(self.steps + self.allowance)

    def _event(self, steps: int) -> Event:
        if self.mechanism == "update-noise":
            return update_noise_event(self.noise_multiplier, rounds=steps)
        return Event(sampling_rate=self.sampling_rate, noise_multiplier=self.noise_multiplier, steps=steps)


def steps_a_round(job: JobSpec, *, patients: int) -> int:
    """Return the optimizer steps that a site with so many training patients takes in a round, empty ones included.

    Under dp-sgd a pass over the data is ``patients / patients_per_step`` steps, rounded, at least one; under
    update-noise the steps do not count and the result is 1.
    """
    dp_sgd = job.privacy.dp_sgd
    if dp_sgd is None:
        return 1
    if job.training.local_steps is not None:
        return job.training.local_steps
    return (job.training.local_epochs or 1) * max(1, round(patients / dp_sgd.patients_per_step))


_derived = steps_a_round


def sum_multiplier(job: JobSpec) -> float:
    """Return σ of a job with noise for the sum, which is the same at every hospital.

    Raises:
        JobError: the job has no noise for the sum.
    """
    asked = job.privacy.dp_sgd
    if asked is None or asked.sampling_rate is None:
        raise JobError("job has no noise for the sum", where=job.job.name, remedy=_MECHANISM)
    return _multiplier(asked, rate=asked.sampling_rate, steps=job.federation.rounds, where=job.job.name)


def union_patients(asked: DpSgd) -> int:
    """Return how many training patients a job with noise for the sum expects at all hospitals; 0 for any other."""
    return 0 if asked.sampling_rate is None else round(asked.patients_per_step / asked.sampling_rate)


def plan_site(job: JobSpec, *, site: str, patients: int, steps_a_round: int | None = None) -> SitePlan:
    """Compute the noise multiplier for the job's ε, or the ε of its noise multiplier, at one site.

    Args:
        patients: training patients of the site.
        steps_a_round: optimizer steps in a round; None: computed by the function ``steps_a_round``.

    Raises:
        JobError: the job has no differential privacy, δ is above 1/(10 · patients), or a step expects more patients
            than there are.
    """
    if patients < 1:
        raise JobError("no training patient", where=site, value=patients, remedy="give at least 1")
    in_a_round = _derived(job, patients=patients) if steps_a_round is None else steps_a_round
    if in_a_round < 1:
        raise JobError("a round has at least one step", where=site, value=in_a_round, remedy="give at least 1")
    privacy = job.privacy
    if privacy.mechanism == "dp-sgd" and privacy.dp_sgd is not None:
        steps = job.federation.rounds * in_a_round
        allowance = repeated_rounds(job.federation.rounds) * in_a_round
        absent = absent_of(job) if job.noises_sum else None
        return _plan_dp_sgd(
            privacy.dp_sgd, site=site, patients=patients, steps=steps, allowance=allowance, absent_noise=absent
        )
    if privacy.mechanism == "update-noise" and privacy.update is not None:
        return _plan_update(privacy.update, site=site, patients=patients, rounds=job.federation.rounds)
    raise JobError("no differential privacy, so no epsilon", where=job.job.name, remedy=_MECHANISM)


def _plan_dp_sgd(
    asked: DpSgd, *, site: str, patients: int, steps: int, allowance: int, absent_noise: int | None
) -> SitePlan:
    check_delta(asked.delta, patients=max(patients, union_patients(asked)), where=site)
    rate = asked.sampling_rate or asked.patients_per_step / patients
    if asked.sampling_rate is not None and rate * patients > MARGIN * asked.patients_per_step:
        raise JobError(
            f"{patients} patients at sampling_rate {rate:g} are more than {MARGIN} times what a step of all hospitals "
            "expects",
            where=site,
            value=asked.patients_per_step,
            remedy="give privacy.dp_sgd.patients_per_step as sampling_rate times the patients of all hospitals",
        )
    if rate > 1.0:
        raise JobError(
            f"a step expects more patients than the {patients} there are",
            where=site,
            value=asked.patients_per_step,
            remedy="lower privacy.dp_sgd.patients_per_step",
        )
    noise = _multiplier(asked, rate=rate, steps=steps, where=site)
    event = Event(sampling_rate=rate, noise_multiplier=noise, steps=steps)
    return SitePlan(
        site=site,
        mechanism="dp-sgd",
        patients=patients,
        sampling_rate=rate,
        noise_multiplier=noise,
        steps=steps,
        allowance=allowance,
        epsilon=epsilon([event], delta=asked.delta),
        delta=asked.delta,
        clip_norm_l2=asked.clip_norm_l2,
        absent_noise=absent_noise,
    )


def _multiplier(asked: DpSgd, *, rate: float, steps: int, where: str) -> float:
    if asked.noise_multiplier is not None:
        return asked.noise_multiplier
    if asked.epsilon is None:
        raise JobError("neither epsilon nor noise_multiplier", where=where, remedy=_MECHANISM)
    return noise_for(epsilon=asked.epsilon, delta=asked.delta, sampling_rate=rate, steps=steps)


def _plan_update(asked: UpdateProtection, *, site: str, patients: int, rounds: int) -> SitePlan:
    if asked.noise_multiplier <= 0.0:
        remedy = 'give a noise_multiplier > 0, or mechanism "none"'
        raise JobError("privacy.update adds no noise, so no epsilon", where=site, remedy=remedy)
    if asked.delta is None:
        raise JobError("privacy.update.delta is missing", where=site, remedy="give a delta")
    check_delta(asked.delta, patients=patients, where=site)
    event = update_noise_event(asked.noise_multiplier, rounds=rounds)
    return SitePlan(
        site=site,
        mechanism="update-noise",
        patients=patients,
        sampling_rate=1.0,
        noise_multiplier=asked.noise_multiplier,
        steps=rounds,
        allowance=repeated_rounds(rounds),
        epsilon=epsilon([event], delta=asked.delta),
        delta=asked.delta,
        clip_norm_l2=asked.clip_norm_l2,
    )


_MECHANISM = "give the job a [privacy] mechanism"
