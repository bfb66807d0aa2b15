"""Compare a job with a hospital's policy: return the terms that both allow, or refuse. The stricter of the two applies.

A site tightens by itself what it can: the clip of the update. It never changes the job's own arithmetic without the
author's knowledge; it refuses such a job, with every reason at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from fedward.errors import JobError, PolicyError
from fedward.privacy.policy.approvals import UNKNOWN, Origin, admission
from fedward.privacy.policy.linter import LARGEST_SUM, faults
from fedward.privacy.sum_noise import shares_of
from fedward.settings import CohortPrivacy, DpSgd, JobSpec, SitePolicy
from fedward.settings.privacy import Mechanism


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Terms that job and hospital agree on.

    Attributes:
        mechanism: the job's.
        dp_sgd: the job's table, with mechanism dp-sgd.
        clip: kind of clip for the whole update before it leaves; None: no clip.
        clip_norm_l2: the smaller of the job's and the site's bound on the update; None with ``clip`` None.
        noise_multiplier: noise on the update, its standard deviation over ``clip_norm_l2``; 0.0: none.
        filters: FLARE's filters that the job asks for; not differential privacy.
        epsilon_cap, delta: the hospital's, for all jobs of a patient together.
        min_noise_multiplier: the hospital's, for noise that only the site knows; see ``check_noise``.
    """

    mechanism: Mechanism
    dp_sgd: DpSgd | None
    clip: Literal["global", "per-layer"] | None
    clip_norm_l2: float | None
    noise_multiplier: float
    filters: tuple[str, ...]
    epsilon_cap: float | None
    delta: float | None
    min_noise_multiplier: float | None = None


def agree(job: JobSpec, policy: SitePolicy, *, origin: Origin = UNKNOWN) -> Agreement:
    """Check a job against a hospital's policy.

    Args:
        job: as received by the site.
        policy: the hospital's.
        origin: facts that the hospital verified about the submitter; see ``fedward.privacy.policy.approvals``.

    Returns:
        An agreement that is nowhere laxer than the job or the policy.

    Raises:
        PolicyError: the policy does not allow it, or ``fedward.privacy.policy.linter`` finds a fault; all reasons in
            one line, separated by " | ".
    """
    if job.data.cohort not in policy.cohorts:
        raise PolicyError(
            "this hospital has no such cohort",
            where="data.cohort",
            value=job.data.cohort,
            remedy="ask the hospital for its cohorts' names",
            settings={"data.cohort": None},
        )
    privacy = policy.cohorts[job.data.cohort].privacy
    refusals = [*_faults(job), *_approval(job, policy, origin), *_protection(job, policy, privacy)]
    refusals += [*_clips(job, privacy), *_budget(job, privacy), *_noise(job, privacy)]
    if refusals:
        settings = {name: bound for one in refusals for name, bound in one.settings.items()}
        raise PolicyError(" | ".join(str(one) for one in refusals), where=policy.site, settings=settings)
    return _settled(job, privacy)


def own_terms(job: JobSpec) -> Agreement:
    """Return a job's own terms, without a hospital's policy: for simulations, never for a hospital's own data.

    Raises:
        JobError: ``fedward.privacy.policy.linter`` finds a fault.
    """
    if reasons := faults(job):
        raise JobError(" | ".join(reasons), where=job.job.name)
    return _settled(job, CohortPrivacy(dp="not-required", encryption="not-required"))


def check_noise(bound: Agreement | CohortPrivacy, noise_multiplier: float) -> None:
    """Check the noise that a site computed for a target ε against the hospital's smallest noise.

    Args:
        bound: the agreement, or the cohort's policy.
        noise_multiplier: the noise's standard deviation over the bound on a patient's part, as the ledger has it.

    Raises:
        PolicyError: the noise is below the smallest, or there is no noise at all.
    """
    smallest = bound.min_noise_multiplier
    if not noise_multiplier > 0.0:
        raise PolicyError(
            "no noise",
            where="noise_multiplier",
            value=noise_multiplier,
            remedy="give noise above 0, or a wanted ε",
            settings={"noise_multiplier": smallest},
        )
    if smallest is not None and not noise_multiplier >= smallest:
        raise PolicyError(
            f"noise below this hospital's smallest of {smallest:g}",
            where="noise_multiplier",
            value=noise_multiplier,
            remedy="ask for a smaller ε",
            settings={"noise_multiplier": smallest},
        )


def _settled(job: JobSpec, privacy: CohortPrivacy) -> Agreement:
    update = job.privacy.update
    norms = [norm for norm in (None if update is None else update.clip_norm_l2, _own_clip(privacy)) if norm is not None]
    clip: Literal["global", "per-layer"] | None = "global" if norms else None
    return Agreement(
        mechanism=job.privacy.mechanism,
        dp_sgd=job.privacy.dp_sgd,
        clip=clip if update is None else update.clip,
        clip_norm_l2=min(norms, default=None),
        noise_multiplier=0.0 if update is None else update.noise_multiplier,
        filters=() if update is None else update.filters,
        epsilon_cap=privacy.epsilon_cap,
        delta=privacy.delta,
        min_noise_multiplier=privacy.min_noise_multiplier,
    )


def _faults(job: JobSpec) -> Iterator[PolicyError]:
    for fault in faults(job):
        yield PolicyError(fault, settings={"privacy": None})


def _approval(job: JobSpec, policy: SitePolicy, origin: Origin) -> Iterator[PolicyError]:
    try:
        admission(job, policy, origin=origin)
    except PolicyError as refused:
        yield refused


def _protection(job: JobSpec, policy: SitePolicy, privacy: CohortPrivacy) -> Iterator[PolicyError]:
    if privacy.dp == "required" and job.privacy.mechanism == "none":
        what = "this cohort is for jobs with differential privacy"
        yield _reason(what, where="privacy.mechanism", value="none", remedy="give 'dp-sgd' or 'update-noise'")
    if privacy.encryption == "required" and job.encryption is None:
        what = "updates from this cohort leave encrypted or not at all"
        yield _reason(what, where="encryption", value="none", remedy="give the job an [encryption] table")
    if job.encryption is not None and not job.is_masked and policy.federation_key is None:
        what = f"this hospital has no federation key for a job with scheme {job.encryption.scheme}"
        remedy = "give the job scheme 'masked', or ask a hospital that has the key to `fedward key seal` it"
        yield _reason(what, where="federation_key", remedy=remedy)

    yield from _sum(job, privacy)
    if job.encryption is not None and not job.is_masked and policy.min_known:
        what = "this hospital takes part in a sum only with hospitals that it knows, which a shared key does not show"
        yield _reason(what, where="encryption.scheme", value=job.encryption.scheme, remedy="give scheme 'masked'")


def _sum(job: JobSpec, privacy: CohortPrivacy) -> Iterator[PolicyError]:
    if not job.noises_sum or not job.is_masked:
        return
    if not privacy.noise_for_sum:
        what = "this hospital adds all of the noise that its patients need, and no share of a sum's"
        remedy = "give 'site', or ask the hospital to set noise_for_sum"
        yield _reason(what, where="privacy.dp_sgd.noise", value="sum", remedy=remedy)
        return
    shares = shares_of(job, sites=LARGEST_SUM)
    if shares.colluding < (least := privacy.sum_min_colluding):
        what = f"ε bears fewer hospitals that tell others their noise than this hospital's {least}"
        where, remedy = "privacy.dp_sgd.max_colluding", f"give {least} or more"
        yield _reason(what, where=where, value=shares.colluding, remedy=remedy, bound=least)
    if job.federation.min_sites < (fewest := privacy.sum_min_sites):
        what = f"noise for a sum of fewer hospitals than this hospital's {fewest}"
        where, asked = "federation.min_sites", job.federation.min_sites
        yield _reason(what, where=where, value=asked, remedy=f"give {fewest} or more", bound=fewest)
    if privacy.update_clip_norm_l2 is not None:
        what = "this hospital clips every whole update, and none of it leaves in such a job"
        remedy = "give 'site', or ask the hospital to leave update_clip_norm_l2 out"
        yield _reason(what, where="privacy.dp_sgd.noise", value="sum", remedy=remedy)


def _own_clip(privacy: CohortPrivacy) -> float | None:
    """Return the site's bound on every update, or the bound for jobs where the policy gives a smaller one."""
    if privacy.update_clip_norm_l2 is None or privacy.max_clip_norm_l2 is None:
        return privacy.update_clip_norm_l2
    return min(privacy.update_clip_norm_l2, privacy.max_clip_norm_l2)


def _clips(job: JobSpec, privacy: CohortPrivacy) -> Iterator[PolicyError]:
    largest, dp_sgd, update = privacy.max_clip_norm_l2, job.privacy.dp_sgd, job.privacy.update
    if largest is None:
        return
    asked = {
        "privacy.dp_sgd.clip_norm_l2": None if dp_sgd is None else dp_sgd.clip_norm_l2,
        "privacy.update.clip_norm_l2": None if update is None else update.clip_norm_l2,
    }
    what, remedy = f"clip above this hospital's largest of {largest:g}", f"give at most {largest:g}"
    for where, norm in asked.items():
        if norm is not None and norm > largest:
            yield _reason(what, where=where, value=norm, remedy=remedy, bound=largest)
    if privacy.update_clip_norm_l2 is None and all(norm is None for norm in asked.values()):
        what = f"no clip where this hospital's largest is {largest:g}"
        yield _reason(what, where="privacy.update.clip_norm_l2", remedy=remedy, bound=largest)


def _budget(job: JobSpec, privacy: CohortPrivacy) -> Iterator[PolicyError]:
    if job.privacy.mechanism == "none":
        return
    dp_sgd, delta = job.privacy.dp_sgd, job.privacy.delta
    table = "update" if dp_sgd is None else "dp_sgd"
    if privacy.delta is not None and delta is not None and delta > privacy.delta:
        what, remedy = f"δ above this hospital's {privacy.delta:g}", f"give at most {privacy.delta:g}"
        yield _reason(what, where=f"privacy.{table}.delta", value=delta, remedy=remedy, bound=privacy.delta)
    wanted = None if dp_sgd is None else dp_sgd.epsilon
    if privacy.epsilon_cap is not None and wanted is not None and wanted > privacy.epsilon_cap:
        what = f"ε above this hospital's cap of {privacy.epsilon_cap:g} for all of a patient's jobs"
        remedy = f"give at most {privacy.epsilon_cap:g}"
        yield _reason(what, where="privacy.dp_sgd.epsilon", value=wanted, remedy=remedy, bound=privacy.epsilon_cap)


def _noise(job: JobSpec, privacy: CohortPrivacy) -> Iterator[PolicyError]:
    smallest, dp_sgd, update = privacy.min_noise_multiplier, job.privacy.dp_sgd, job.privacy.update
    if smallest is None:
        return
    what, remedy = f"noise below this hospital's smallest of {smallest:g}", f"give at least {smallest:g}"
    if dp_sgd is not None and dp_sgd.noise_multiplier is not None and dp_sgd.noise_multiplier < smallest:
        noise = dp_sgd.noise_multiplier
        yield _reason(what, where="privacy.dp_sgd.noise_multiplier", value=noise, remedy=remedy, bound=smallest)
    if job.privacy.mechanism == "update-noise" and update is not None and update.noise_multiplier / 2 < smallest:
        what += " times the sensitivity, which for a whole update is 2 · clip_norm_l2"
        remedy = f"give at least {2 * smallest:g}"
        where, noise = "privacy.update.noise_multiplier", update.noise_multiplier
        yield _reason(what, where=where, value=noise, remedy=remedy, bound=2 * smallest)


def _reason(
    what: str, *, where: str, remedy: str, value: object | None = None, bound: float | None = None
) -> PolicyError:
    return PolicyError(what, where=where, value=value, remedy=remedy, settings={where: bound})
