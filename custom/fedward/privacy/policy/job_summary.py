"""Describe a job in sentences for its approvers. ``privacy.policy.job_diff`` describes changes since the last one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fedward.encryption.masks.graphs.threshold import group_count, malicious_of
from fedward.measures import TITLES
from fedward.privacy.budget_plan import SitePlan, repeated_rounds
from fedward.privacy.disclosure.metric_registry import ABOVE, GROUPS, TOGETHER, held_back, listed
from fedward.privacy.policy.approvals import UNKNOWN, Origin
from fedward.privacy.policy.wording import how_it_starts, how_updates_leave
from fedward.privacy.sum_words import sum_words
from fedward.settings import Disclosure, JobSpec
from fedward.settings.training import Component
from fedward.visible import visible

_OTHERS = {
    "classification": {"structure"},
    "segmentation": {"label", "pooled", "pooled_label", "curves", "reliability"},
}
_OTHER_SCORES = {
    "classification": GROUPS["structure"].keys() - {"patients"} | {"dice_patients"},
    "segmentation": GROUPS["label"].keys() - {"patients"},
}
"""Groups, and scores, of the other task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Here:
    """Facts about this hospital that complete a job's own settings; None where unknown.

    Attributes:
        disclosure: the hospital's list of metrics.
        parameters: number of parameters of the job's network, once built.
        plan: the job's part at this hospital, with ε of its cohort.
        origin: submitter, as verified.
    """

    disclosure: Disclosure | None = None
    parameters: int | None = None
    plan: SitePlan | None = None
    origin: Origin = UNKNOWN


def describe(job: JobSpec, here: Here) -> dict[str, str]:
    """Describe the job, a sentence or two for each topic, in the order in which a reader asks.

    Returns:
        Topic -> text; no text is about a patient, and no character controls a terminal.
    """
    words = {
        "job": _job(job),
        "from": _origin(here.origin),
        "data": _data(job),
        "preprocessing": _transforms(job),
        "network": _network(job, here.parameters),
        "training": _training(job),
        "rounds": _rounds(job),
        "privacy": " ".join(_privacy(job, here.plan)),
        "updates": how_updates_leave(job),
        "metrics that leave": _metrics(job, here.disclosure),
        "final model": _final(job),
    }
    return {topic: visible(text) for topic, text in words.items()}


def metrics_that_leave(job: JobSpec, disclosure: Disclosure) -> tuple[str, ...]:
    """Return the metrics that may leave this hospital in this job, as ``group.metric``, sorted.

    Each still needs its minimum count. ``fedward.privacy.disclosure.release`` decides. This function follows its list
    and the metrics that it withholds, and leaves out metrics that a job of this task does not compute.
    """
    private = job.privacy.mechanism != "none"
    sums = job.encryption is not None and job.encryption.statistics
    found = set()
    for group, table in GROUPS.items():
        within = ABOVE.get(group, group)
        if (within in TOGETHER and not sums) or group in _OTHERS[job.job.task]:
            continue
        for name in table:
            if group in ("scores", "subgroup") and name in _OTHER_SCORES[job.job.task]:
                continue
            if listed(disclosure.metrics, group, name) and not held_back(group, name, private=private, alone=False):
                found.add(f"{group}.{name}")
    return tuple(sorted(found))


def _job(job: JobSpec) -> str:
    described = f", said to be {job.job.description!r}" if job.job.description else ""
    return f"{job.job.name}, {job.job.task}{described}"


def _origin(origin: Origin) -> str:
    if origin.submitter is None:
        return "unknown: nothing here is signed by a person of this federation"
    study = "in no study" if origin.study is None else f"for study {origin.study}"
    return (
        f"{origin.submitter} of {origin.organisation or 'no organisation'}, {study}, by a signature that was verified"
    )


def _data(job: JobSpec) -> str:
    data = job.data
    what = f"structures {_names(data.structures)}" if data.structures else f"label {_names(data.labels)}, {data.target}"
    classes = f" of {_names(data.classes)}" if data.classes else ""
    size = " x ".join(str(side) for side in data.size)
    cached = "kept prepared in memory while it runs" if data.cache else "prepared anew each time"
    seen = f"resized to {size} pixels" if data.patches is None else f"seen in patches of {size} pixels"
    channels = "" if data.channels == ("grey",) else f"; channels {_names(data.channels)}"
    return f"cohort {data.cohort}, every training patient; {what}{classes}{channels}; {seen}, {cached}"


def _transforms(job: JobSpec) -> str:
    prepare, augment = job.transforms.prepare, job.transforms.augment
    return f"prepared by {_components(prepare)}; varied at random by {_components(augment)}"


def _components(components: Sequence[Component]) -> str:
    return ", ".join(one.name + (f" {compact(one.args)}" if one.args else "") for one in components) or "nothing more"


def _network(job: JobSpec, parameters: int | None) -> str:
    size = "a size that is not known here" if parameters is None else f"{parameters:,} values"
    args = f", arguments {compact(job.model.args)}" if job.model.args else ""
    norm = {"refuse": "", "local": "; BatchNorm stays here", "average": "; BatchNorm's statistics leave with it"}
    frozen = f"; {', '.join(job.model.freeze)} stay as they start" if job.model.freeze else ""
    return f"MONAI's {job.model.network}, {size}{args}{norm[job.model.batch_norm]}; {how_it_starts(job)}{frozen}"


def _training(job: JobSpec) -> str:
    t = job.training
    work = f"{t.local_epochs} passes over the cohort" if t.local_steps is None else f"{t.local_steps} steps"
    work += ", or as few as a quarter if the server asks" if job.federation.stragglers == "fewer_steps" else ""
    pull = f", pulled to the common model by {t.fedprox_mu:g}" if t.fedprox_mu else ""
    alone = "; also trains a model alone, which stays here" if job.federation.local_baseline else ""
    loss = t.loss.name + (f" {compact(t.loss.args)}" if t.loss.args else "")
    drawn = ", as many of each kind" if t.balanced else ""
    warm = f", after a warm-up of {t.warmup:.0%}" if t.warmup else ""
    return (
        f"{work} a round in batches of {t.batch_size}{drawn}, {t.optimizer} at {t.lr:g} ({t.lr_schedule}{warm}), "
        f"loss {loss}{pull}{alone}"
    )


def _rounds(job: JobSpec) -> str:
    f = job.federation
    chosen = "the last round's" if f.select == "last" else "the best round's by validation"
    named = f", {_names(f.must_include)} among them" if f.must_include else ""
    patients = "" if f.min_patients is None else f", {f.min_patients} patients together"
    more = {
        "byzsecagg": f"; in each round the {malicious_of(job)} models farthest from the others are left out",
        "grouped-median": f"; the median of the means of {group_count(job)} groups, whose sums hospitals open",
    }
    return (
        f"{f.rounds} rounds, each leaves with one update of this hospital; at least {f.min_sites} hospitals make one"
        f"{named}{patients}; {f.aggregation} weighted by {f.weighting}{more.get(f.aggregation, '')}"
        f"; final model: {chosen}"
    )


def _privacy(job: JobSpec, plan: SitePlan | None) -> Iterator[str]:
    dp_sgd, update = job.privacy.dp_sgd, job.privacy.update
    if job.privacy.mechanism == "none":
        yield "no differential privacy: nothing bounds what updates tell of a patient, and ε is infinite afterwards."
    if dp_sgd is not None:
        asked = f"noise {dp_sgd.noise_multiplier:g}" if dp_sgd.epsilon is None else f"ε {dp_sgd.epsilon:g}"
        yield (
            f"dp-sgd: asks for {asked} at δ {dp_sgd.delta:g}, each patient's gradient clipped to "
            f"{dp_sgd.clip_norm_l2:g}, {dp_sgd.patients_per_step:g} patients a step."
        )
    if job.noises_sum:
        multiplier = None if plan is None else plan.noise_multiplier
        yield from sum_words(job, sites=job.federation.min_sites, noise_multiplier=multiplier)
    if update is not None:
        noise = f"noise {update.noise_multiplier:g}" if update.noise_multiplier else "no noise"
        filters = f", FLARE's filters {_names(update.filters)} (no differential privacy)" if update.filters else ""
        yield f"Every update is clipped to {update.clip_norm_l2:g} ({update.clip}), {noise}{filters}."
    if plan is not None:
        yield (
            f"At this hospital: ε {plan.epsilon:.2f} at δ {plan.delta:g} for each of {plan.patients} training "
            f"patients, with noise {plan.noise_multiplier:.3g} over {plan.steps} steps. "
            f"At most ε {plan.ceiling:.2f}, with {repeated_rounds(job.federation.rounds)} rounds repeated after "
            "processes were killed, and never above this "
            "hospital's own cap, which ends the job here first where it is lower."
        )
    elif job.privacy.mechanism != "none":
        yield "What ε it comes to here is not known: the cohort is not indexed, or does not fit."


def _metrics(job: JobSpec, disclosure: Disclosure | None) -> str:
    if disclosure is None:
        return "not known here"
    names = metrics_that_leave(job, disclosure)
    groups: dict[str, list[str]] = {}
    for name in names:
        group, _, metric = name.partition(".")
        groups.setdefault(group, []).append(metric)
    reported = "; ".join(f"{group}: {', '.join(found)}" for group, found in groups.items())
    if not reported:
        return "none"
    few = f"what rests on fewer than {disclosure.min_count} patients held back"
    return f"{reported}; rounded to {disclosure.decimals} decimals, {few}"


def _final(job: JobSpec) -> str:
    stays = job.encryption is not None and not job.encryption.open_final
    goes = "stays with the hospitals" if stays else "goes to who submitted the job"
    if job.acceptance is None:
        return goes
    measure = TITLES[job.measure]
    return f"{goes}; at each hospital its {measure} is held to {job.acceptance.threshold:g}"


def _names(names: Sequence[str]) -> str:
    return ", ".join(names)


def compact(value: object) -> str:
    """Return a setting as one short line."""
    if value is None:
        return "none"
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, sort_keys=True)
