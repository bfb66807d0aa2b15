"""Compute a job's cost at one hospital, and check it against the policy, before anything runs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fedward.dataset.manifest import Manifest
from fedward.errors import FedwardError, PolicyError
from fedward.privacy.policy.linter import CohortFacts, faults
from fedward.privacy.policy.review import PolicyFinding
from fedward.settings import JobSpec, SitePolicy

if TYPE_CHECKING:
    from fedward.dataset.selection import Selection
    from fedward.privacy.budget_plan import SitePlan
    from fedward.privacy.ledger.ledger import Ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Cost of a job for each of its training patients here.

    Attributes:
        patients: number of patients that it would train on.
        noise_multiplier, epsilon, delta: the job's own; ε at the policy's δ where that is the larger.
        ceiling: the most that its ε can come to, with every round repeated that may be.
        spent: ε of the patient who has spent most so far.
        after: the same with this job; where jobs touched different patients, an upper bound.
        cap: the hospital's, or None.
        fits: True if the cap is kept; None if only an upper bound passes it, and the ledger has to decide.
    """

    patients: int
    noise_multiplier: float
    epsilon: float
    ceiling: float
    delta: float
    spent: float
    after: float
    cap: float | None
    fits: bool | None


def weigh_job(
    job: JobSpec, site: SitePolicy, manifest: Manifest | None, ledger: Ledger | None
) -> tuple[list[PolicyFinding], Cost | None]:
    """Return the hospital's findings on a job, and the cost where it can be computed."""
    from fedward.dataset.selection import select
    from fedward.privacy.budget_plan import plan_site, steps_a_round
    from fedward.privacy.policy.agreement import agree, check_noise

    try:
        agreed = agree(job, site)
    except PolicyError as refused:
        return [_refused(refused)], None
    if manifest is None:
        text = "cohort is not indexed, so its cost is not known; run `fedward site index SITE_TOML`"
        return [PolicyFinding(level="warning", where=f"job {job.job.name}", text=text)], None
    try:
        chosen = select(job, [manifest], site=site.site, min_patients=site.cohorts[job.data.cohort].min_patients)
        patients = chosen.train_patients
        known = CohortFacts(patients=len(patients), images=chosen.support.train_images)
        if wrong := faults(job, cohort=known):
            raise PolicyError(" | ".join(wrong), where=site.site, settings={"privacy": None})
        remarks = [
            PolicyFinding(level="warning", where=f"job {job.job.name}", text=text) for text in _remarks(job, chosen)
        ]
        if job.privacy.mechanism == "none":
            return remarks, None
        steps = steps_a_round(job, patients=len(patients))
        plan = plan_site(job, site=site.site, patients=len(patients), steps_a_round=steps)
        check_noise(agreed, plan.noise_multiplier)
    except FedwardError as refused:
        return [_refused(refused)], None
    cost = _cost(plan, patients, ledger, cap=agreed.epsilon_cap, delta=agreed.delta or plan.delta)
    return [*remarks, *_over(cost, job)], cost


def _remarks(job: JobSpec, chosen: Selection) -> list[str]:
    from fedward.dataset.rarity import rarity_words

    found = []
    if chosen.absent:
        names, images = ", ".join(map(repr, chosen.absent)), chosen.support.train_images
        found.append(f"none of {images} training images here has {names}: this hospital teaches nothing about it")
    if chosen.elsewhere:
        found.append(
            f"the masks of {chosen.elsewhere} images mark other structures only; they count as images without "
            f"{', '.join(map(repr, job.data.structures))}"
        )
    for name, count in chosen.undescribed.items():
        found.append(f"the masks of {count} images do not describe {name!r}; they count as images without it")
    if (rare := rarity_words(job, chosen.train)) is not None:
        found.append(rare)
    if job.privacy.mechanism == "none":
        found.append("runs without differential privacy; its patients' ε is infinite afterwards, for every later job")
    return found


def _cost(plan: SitePlan, patients: frozenset[str], ledger: Ledger | None, *, cap: float | None, delta: float) -> Cost:
    from fedward.privacy.accountant import epsilon

    spent, after, exact = 0.0, epsilon([plan.event], delta=delta), True
    own = after
    if ledger is not None and (spent := ledger.spent(patients, delta=delta)) > 0.0:
        before = [charge.counted for charge in ledger.charges()]
        after = math.inf if math.isinf(spent) else epsilon([*before, plan.event], delta=delta)
        exact = math.isinf(spent) or spent >= epsilon(before, delta=delta)
    fits = cap is None or after <= cap
    return Cost(
        patients=len(patients),
        noise_multiplier=plan.noise_multiplier,
        epsilon=own,
        ceiling=epsilon([plan.limit], delta=delta),
        delta=delta,
        spent=spent,
        after=after,
        cap=cap,
        fits=None if not fits and not exact else fits,
    )


def _over(cost: Cost, job: JobSpec) -> list[PolicyFinding]:
    if cost.fits:
        return []
    where = f"job {job.job.name}"
    if cost.fits is None:
        text = f"may pass the cap: a patient who was in every job would come to {cost_line(cost)}"
        return [PolicyFinding(level="warning", where=where, text=text)]
    remedy = "ask for more noise or fewer steps"
    if math.isinf(cost.spent):
        remedy = "no noise helps, since jobs without noise have spent it: take another cohort, or have the cap lifted"
    return [PolicyFinding(level="error", where=where, text=f"does not fit: {cost_line(cost)}; {remedy}")]


def _refused(error: FedwardError) -> PolicyFinding:
    return PolicyFinding(level="error", where="job", text=str(error))


def cost_line(cost: Cost) -> str:
    cap = "no cap" if cost.cap is None else f"a cap of {cost.cap:g}"
    return f"ε {cost.after:.2f} at δ {cost.delta:g}, {cost.spent:.2f} of it spent before, under {cap}"
