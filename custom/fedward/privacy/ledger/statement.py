"""Summarise the ledger for people: the ε that each cohort has spent and has left, and each job's part."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fedward.dataset.manifest import read_manifest
from fedward.errors import CohortError
from fedward.privacy.ledger.charges import Charge, Unprotected
from fedward.privacy.ledger.ledger import Ledger
from fedward.settings import SitePolicy

_ANY = 1e-5
"""δ for a cohort without one: where no job was counted at a δ, ε is 0 or infinite at every δ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CohortLine:
    """Budget of a cohort.

    Attributes:
        cap, delta: of ``site.toml``; without a cap, δ is the smallest at which a job was counted, None without a job.
        spent: largest ε among ``patients``; infinite where a job without protection used one.
        patients: training patients of the index; without an index, all that any job used under this name.
        at_spent: number of them at ``spent``.
        left: ε that the cap leaves, not below 0; None without a cap.
        indexed: True if ``patients`` are those of the index.
    """

    cohort: str
    cap: float | None
    delta: float | None
    spent: float
    patients: int
    at_spent: int
    left: float | None
    indexed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class JobLine:
    """A job's part in the ledger. Without protection it has no steps, and ε is infinite.

    Attributes:
        epsilon: of the job alone, for its counted steps, at ``delta``.
        cohort_epsilon: largest ε of its patients, from it and the jobs before it.
        state: "open", "closed" or "unprotected".
        reopened: number of times that a continuation of the job reopened its charge.
    """

    job: str
    job_id: str
    cohort: str
    rounds: int | None
    sampling_rate: float | None
    noise_multiplier: float | None
    planned_steps: int | None
    begun_steps: int | None
    refunded_steps: int | None
    epsilon: float
    cohort_epsilon: float
    delta: float | None
    state: str
    reopened: int
    at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """ε of a cohort over time: each value is valid from its UTC time until the next one."""

    cohort: str
    cap: float | None
    points: tuple[tuple[str, float], ...]


def cohort_lines(ledger: Ledger, policy: SitePolicy) -> list[CohortLine]:
    """Return each cohort of the policy or the ledger, by name."""
    lines = []
    for name, (patients, indexed) in _cohorts(ledger, policy).items():
        cap, delta = _terms(ledger, policy, name)
        worst = ledger.worst(patients, delta=delta or _ANY)
        lines.append(
            CohortLine(
                cohort=name,
                cap=cap,
                delta=delta,
                spent=worst.epsilon,
                patients=len(patients),
                at_spent=worst.patients,
                left=None if cap is None else max(0.0, cap - worst.epsilon),
                indexed=indexed,
            )
        )
    return lines


def job_lines(ledger: Ledger) -> list[JobLine]:
    """Return each job, in the order in which they were recorded."""
    return [_charge(ledger, job) if isinstance(job, Charge) else _unprotected(job) for job in ledger.jobs()]


def curves(ledger: Ledger, policy: SitePolicy) -> list[Curve]:
    """Return each cohort that spent anything, by name."""
    found = []
    for name, (patients, _) in _cohorts(ledger, policy).items():
        cap, delta = _terms(ledger, policy, name)
        points = tuple(ledger.course(patients, delta=delta or _ANY))
        if points:
            found.append(Curve(cohort=name, cap=cap, points=points))
    return found


def _cohorts(ledger: Ledger, policy: SitePolicy) -> dict[str, tuple[frozenset[str], bool]]:
    cohorts = {}
    for name in sorted({*policy.cohorts, *(job.cohort for job in ledger.jobs())}):
        patients, indexed = ledger.patients(name), False
        if name in policy.cohorts:
            try:
                manifest = read_manifest(policy.cohorts[name].index)
                patients, indexed = frozenset(row.patient for row in manifest.rows if row.split == "train"), True
            except CohortError:
                indexed = False
        cohorts[name] = (patients, indexed)
    return cohorts


def _terms(ledger: Ledger, policy: SitePolicy, name: str) -> tuple[float | None, float | None]:
    """Return cap and δ of a cohort."""
    if name in policy.cohorts and policy.cohorts[name].privacy.delta is not None:
        return policy.cohorts[name].privacy.epsilon_cap, policy.cohorts[name].privacy.delta
    return None, min((charge.delta for charge in ledger.charges()), default=None)


def _charge(ledger: Ledger, charge: Charge) -> JobLine:
    return JobLine(
        job=charge.job,
        job_id=charge.job_id,
        cohort=charge.cohort,
        rounds=charge.rounds,
        sampling_rate=charge.event.sampling_rate,
        noise_multiplier=charge.event.noise_multiplier,
        planned_steps=charge.event.steps,
        begun_steps=charge.begun_steps,
        refunded_steps=charge.refunded_steps,
        epsilon=ledger.alone(charge),
        cohort_epsilon=ledger.after(charge, delta=charge.delta),
        delta=charge.delta,
        state="closed" if charge.closed else "open",
        reopened=charge.reopened,
        at=charge.at,
    )


def _unprotected(job: Unprotected) -> JobLine:
    return JobLine(
        job=job.job,
        job_id=job.job_id,
        cohort=job.cohort,
        rounds=None,
        sampling_rate=None,
        noise_multiplier=None,
        planned_steps=None,
        begun_steps=None,
        refunded_steps=None,
        epsilon=math.inf,
        cohort_epsilon=math.inf,
        delta=None,
        state="unprotected",
        reopened=0,
        at=job.at,
    )
