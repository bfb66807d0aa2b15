"""Test a consortium's model on a hospital's own patients: support, result, verdict, and on "fail" a local fine-tune.

If the hospital took no part, all of its labelled patients are new to the model and all of them count. A fine-tune
learns from the training split of the hospital, so its before and after are measured on the validation split alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from fedward.coldstart.fine_tune import fine_tune, save_private
from fedward.coldstart.measure import Result, change_of, result_of, run, support_of
from fedward.coldstart.model import Given
from fedward.coldstart.report import Answer, Tuned, Width
from fedward.dataset.images import Images
from fedward.dataset.manifest import Manifest, read_manifest
from fedward.dataset.selection import Selection, select
from fedward.errors import CohortError, SettingsError
from fedward.privacy.policy.job_hash import job_hash
from fedward.settings import JobSpec, SitePolicy
from fedward.training.learner import Learner
from fedward.validation.acceptance import Judgement, judge
from fedward.validation.sample_size import (
    RULE_OF_THUMB,
    SD_OF_DICE,
    dice_width,
    patients_for_auc,
    patients_for_dice,
    rule_of_thumb,
)

FINE_TUNED_FILE = "fine_tuned.pt"
EXPECTED_AUC = 0.85
"""Expected AUC if neither the user nor a threshold gives one."""
EXPECTABLE = (0.5, 0.95)
"""Range to which a threshold is clipped as expected AUC: near 1 hardly any patient would seem to be needed."""

OnStep = Callable[[int, int | None, str], None]
"""Called with steps done, largest number of steps if known, and a text on the current step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Request of ``fedward site validate``.

    Attributes:
        cohort: name in site.toml; None: the job's.
        width: wanted width of the 95 % interval.
        expected: assumed AUC (or standard deviation of Dice); None: the threshold, or a customary value.
        threshold: threshold for the verdict; None: the job's own.
        operating_point: threshold on the scores that comes from elsewhere.
        took_part: True if the hospital trained the model; then only its validation patients are new to it.
        fine_tune: True: always; False: never; None: on "fail".
        out: folder for a fine-tuned model.
    """

    cohort: str | None
    width: float
    expected: float | None
    threshold: float | None
    operating_point: float | None
    took_part: bool
    fine_tune: bool | None
    out: Path


def validate_here(
    given: Given, policy: SitePolicy, asked: Asked, *, on_step: OnStep = lambda done, total, what: None
) -> Answer:
    """Test the model on the hospital's patients; see the module.

    Raises:
        CohortError: no such cohort, no index, or one that is unusable for the job.
        JobError: the job cannot be built, or a fine-tune's loss is no longer finite.
        SettingsError: a number out of its range.
    """
    job, floor = given.job, policy.disclosure.min_count
    name, manifest = _cohort(given.job, policy, asked)
    chosen = select(job, [manifest], site=policy.site, min_patients=policy.cohorts[name].min_patients)
    took_part = asked.took_part or policy.site in given.took_part
    examples = chosen.validation if took_part else (*chosen.train, *chosen.validation)
    if job.training.threads:
        torch.set_num_threads(job.training.threads)
    learner = Learner(job, site=policy.site)
    on_step(0, None, f"validating on {len(examples)} images")
    passing = job.model_copy(update={"data": job.data.model_copy(update={"cache": False})})
    images = Images(passing, examples, training=False, site=policy.site)
    cases = run(job, learner, given.weights, examples, images)
    result = result_of(job, cases, floor=floor, operating_point=asked.operating_point)
    threshold = _threshold(job, asked)
    judgement = _judge(result, threshold)
    tuned, why = _tune(given, chosen, policy, asked, result, judgement, learner, on_step)
    return Answer(
        job=job.job.name,
        job_hash=job_hash(job),
        model_sha256=given.sha256,
        site=policy.site,
        cohort=name,
        cohort_hash=manifest.content_hash,
        measure=job.measure,
        floor=floor,
        over="validation patients" if took_part else "all labelled patients",
        width=_width(job, chosen, result, asked, threshold, floor=floor),
        result=result,
        judgement=judgement,
        tuned=tuned,
        no_tuning=why,
    )


def _cohort(job: JobSpec, policy: SitePolicy, asked: Asked) -> tuple[str, Manifest]:
    name = asked.cohort or job.data.cohort
    if name not in policy.cohorts:
        known = ", ".join(sorted(policy.cohorts)) or "none"
        raise SettingsError("no such cohort in site.toml", where=policy.site, value=name, remedy=f"there is {known}")
    return name, read_manifest(policy.cohorts[name].index)


def _threshold(job: JobSpec, asked: Asked) -> float | None:
    if asked.threshold is not None:
        return asked.threshold
    return None if job.acceptance is None else job.acceptance.threshold


def _judge(result: Result, threshold: float | None) -> Judgement | None:
    if threshold is None:
        return None
    return judge(result.value, result.interval, patients=result.support.patients, threshold=threshold)


def _width(
    job: JobSpec, chosen: Selection, result: Result, asked: Asked, threshold: float | None, *, floor: int
) -> Width:
    """Return the patients needed for the wanted width, at the hospital's prevalence if the floor allows, or 0.5."""
    support = support_of(job, (*chosen.train, *chosen.validation))
    reported = support.reaches(floor)
    here = support.patients if reported else None
    if job.job.task == "segmentation":
        sd = asked.expected if asked.expected is not None else result.sd if result.sd is not None else SD_OF_DICE
        by_rule = {count: dice_width(count, sd=sd) for count in RULE_OF_THUMB}
        needed = patients_for_dice(asked.width, sd=sd)
        return Width(needed=needed, expected=sd, prevalence=None, by_rule_of_thumb=by_rule, here=here)
    expected = asked.expected
    if expected is None:
        expected = EXPECTED_AUC if threshold is None else min(max(threshold, EXPECTABLE[0]), EXPECTABLE[1])
    known = support.positives is not None and support.negatives is not None and reported
    share = (support.positives or 0) / support.patients if known else 0.5
    share = min(max(share, 1 / support.patients), 1 - 1 / support.patients) if known else share
    return Width(
        needed=patients_for_auc(asked.width, auc=expected, prevalence=share),
        expected=expected,
        prevalence=share if known else None,
        by_rule_of_thumb=rule_of_thumb(auc=expected, prevalence=share),
        here=here,
    )


def _tune(
    given: Given,
    chosen: Selection,
    policy: SitePolicy,
    asked: Asked,
    result: Result,
    judgement: Judgement | None,
    learner: Learner,
    on_step: OnStep,
) -> tuple[Tuned | None, str | None]:
    """Return the fine-tune if one is due, or the reason why a due one did not run."""
    failed = judgement is not None and judgement.verdict == "fail"
    if asked.fine_tune is False or not (failed or asked.fine_tune):
        return None, None
    job, floor = given.job, policy.disclosure.min_count
    if result.value is None or not support_of(job, chosen.validation).reaches(floor):
        return None, f"fewer validation patients than the floor of {floor}, so that nobody could say whether it helps"
    images = Images(job, chosen.validation, training=False, site=policy.site)
    before = run(job, learner, given.weights, chosen.validation, images)
    try:
        done = fine_tune(
            job,
            given.weights,
            chosen.train,
            site=policy.site,
            on_step=lambda step, steps, what: on_step(step, steps, f"fine-tune, {what}"),
        )
    except CohortError as error:
        return None, str(error)
    after = run(job, learner, done.weights, chosen.validation, images)
    path = None
    if done.kept:
        asked.out.mkdir(parents=True, exist_ok=True)
        path = asked.out / FINE_TUNED_FILE
        save_private(done.weights, path)
    point = asked.operating_point
    reported = [result_of(job, cases, floor=floor, operating_point=point) for cases in (before, after)]
    threshold = None if judgement is None else judgement.threshold
    tuned = Tuned(
        before=reported[0],
        after=reported[1],
        change=change_of(job, before, after),
        judgement=_judge(reported[1], threshold),
        passes=done.passes,
        kept=done.kept,
        train_patients=done.train_patients,
        tune_patients=done.tune_patients,
        model=None if path is None else str(path),
    )
    return tuned, None
