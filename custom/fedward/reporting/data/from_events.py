"""Make a job's report from its events. A value that no event holds stays not measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from fedward.dataset.preparation import preparation_words
from fedward.encryption.masks.graphs.threshold import Threshold, malicious_of
from fedward.errors import FedwardError
from fedward.privacy.policy.job_hash import job_hash
from fedward.privacy.policy.wording import guarantee, how_it_starts
from fedward.reporting.data.compared import compared
from fedward.reporting.data.curves import curves_of
from fedward.reporting.data.ending import interruptions_of
from fedward.reporting.data.event_lookup import Event, final_answers, last_of, of_kind
from fedward.reporting.data.participation import coverage_of, ledger_of, participation_of
from fedward.reporting.data.protection import noise_of, site_privacy
from fedward.reporting.data.report import (
    NOT_BEGUN,
    NOT_MEASURED,
    CohortFacts,
    JobFacts,
    LabelResult,
    Point,
    Population,
    Report,
    Score,
    SiteResult,
)
from fedward.reporting.data.score import others_of, score_of
from fedward.reporting.data.site_comparison import standings_of
from fedward.reporting.data.subgroups import subgroups_of
from fedward.reporting.data.timing import time_of
from fedward.settings import JobSpec

MECHANISMS = {
    "none": "none",
    "dp-sgd": "DP-SGD for each patient, at each hospital",
    "update-noise": "clipped and noised updates, for each patient",
}
"""Mechanism of a job -> its name in the report."""

ENCRYPTIONS = {
    "masked": "pairwise masks",
    "aes-ctr": "AES-256-CTR additive cipher",
    "bfv": "BFV homomorphic encryption",
    "ckks": "CKKS homomorphic encryption",
}
"""Scheme of a job -> its name in the report."""

_NO_SUM = "no sum over hospitals was opened: an encrypted job with statistics gives one"
_NOT_IN_ONE_PLACE = "real hospitals cannot bring their images to one place"


def report_of(job: JobSpec, events: Sequence[Event], *, wall_s: float | None = None) -> Report:
    """Make the report of a finished job.

    Args:
        job: settings of the job.
        events: events of the server, in order.
        wall_s: seconds from submit to finish; None to measure from the first event to the last.

    Raises:
        FedwardError: events without a start.
    """
    started = next(of_kind(events, "started"), None)
    if started is None:
        raise FedwardError("events have no beginning", remedy="give the result folder of a job that ran")
    admitted = {event["site"]: event for event in of_kind(events, "admitted")}
    together = last_of(events, "pooled") or {"sites": (), "pooled": {}}
    ledger, finals, coverage = ledger_of(events), final_answers(events), coverage_of(job, events)
    invited = dict.fromkeys([*started["sites"], *coverage.must_include])
    return Report(
        job=_job(job),
        finished_at=datetime.fromtimestamp(events[-1]["at"], UTC).isoformat(timespec="seconds"),
        rounds_done=sum(one.counted for one in ledger),
        encryption=_encryption(job, last_of(events, "encrypted")),
        updates=any(of_kind(events, "answered", task="round")),
        privacy=MECHANISMS[job.privacy.mechanism],
        noise=noise_of(job, events),
        sites=_sites(job, admitted, finals, events),
        coverage=coverage,
        participation=tuple(participation_of(site, events, ledger) for site in invited),
        ledger=ledger,
        interruptions=interruptions_of(events),
        pooled=score_of(job, together["pooled"]) if together["sites"] else Score(why=_NO_SUM),
        pooled_sites=tuple(sorted(together["sites"])),
        pooled_labels={
            name: score_of(job, scores) for name, scores in (together["pooled"].get("labels") or {}).items()
        },
        pooled_curves=curves_of(together["pooled"].get("curves")),
        population=_population(last_of(events, "cohort")),
        centralised_pooled=Score(why=_NOT_IN_ONE_PLACE),
        time=time_of(events, events[-1]["at"] - events[0]["at"] if wall_s is None else wall_s),
        hashes={"job": job_hash(job)}
        | {
            f"cohort of {site}": event["cohort_hash"]
            for site, event in sorted(admitted.items())
            if event.get("cohort_hash")
        },
        compared=compared(job, events),
    )


def _job(job: JobSpec) -> JobFacts:
    return JobFacts(
        name=job.job.name,
        task=job.job.task,
        description=job.job.description,
        seed=job.job.seed,
        network=_network(job),
        size=job.data.size,
        rounds=job.federation.rounds,
        targets=_targets(job),
        start=how_it_starts(job),
        preparation=preparation_words(job),
        threshold=None if job.acceptance is None else job.acceptance.threshold,
        scheme=None if job.encryption is None else job.encryption.scheme,
        left_out=malicious_of(job) if job.federation.aggregation == "byzsecagg" else 0,
    )


def _network(job: JobSpec) -> str:
    """Name the network as it is built: with another normalisation than MONAI's class has, its weights fit no other."""
    chosen = {"norm", "norm_name", "norm_type"} & set(job.model.args)
    group = job.model.batch_norm == "refuse" and not chosen
    return job.model.network + (", GroupNorm in place of BatchNorm" if group else "")


def _targets(job: JobSpec) -> tuple[str, ...]:
    """Name what the network learns: structures, labels, or of one label the classes."""
    if job.job.task == "segmentation":
        return job.data.structures
    if job.data.target == "multiclass":
        return tuple(f"{job.data.labels[0]}: {name}" for name in job.data.classes)
    return job.data.labels


def _encryption(job: JobSpec, event: Event | None) -> str:
    """Describe the encryption of the updates: scheme, precision, and the first digits of the key's name."""
    if event is None:
        return "none" if job.encryption is None else NOT_BEGUN
    scheme, key = event["scheme"], event.get("key")
    named = f"{ENCRYPTIONS.get(scheme, scheme)}, {event['precision']}"
    if scheme == "masked":
        lost = event.get("may_be_lost")
        bound = Threshold(sites=event["hospitals"], colluding=event["max_colluding"], lost=lost)
        return f"{named}: {guarantee(job, bound)}"
    return f"{named} (key {key[:4]}…)" if key else named


def _population(event: Event | None) -> Population | None:
    if event is None:
        return None
    found = event["cohort_statistics"]
    tables = {name: found.get(name) or {} for name in ("age", "sex", "positives", "intensity")}
    return Population(
        sites=tuple(sorted(event["sites"])), patients=found.get("patients"), images=found.get("images"), **tables
    )


def _sites(
    job: JobSpec, admitted: Mapping[str, Event], finals: Mapping[str, Event], events: Sequence[Event]
) -> tuple[SiteResult, ...]:
    sites = [
        _site(job, event, finals[site]["metrics"] if site in finals else {}, events)
        for site, event in sorted(admitted.items())
    ]
    standings = standings_of({site.site: site.federated for site in sites}, events) if sites else {}
    return tuple(replace(site, standing=standings[site.site]) for site in sites)


def _why_unmeasured(events: Sequence[Event]) -> str:
    """Return why a site has no score of the final model; no site is blamed where none was asked."""
    asked = next(of_kind(events, "answered", task="final"), None) is not None
    return "the site did not answer the last validation" if asked else "the job ended before the last validation"


def _site(job: JobSpec, admitted: Event, last: Mapping[str, Any], events: Sequence[Event]) -> SiteResult:
    site, final = admitted["site"], last.get("scores")
    answers = {
        (event["task"], event["round"]): event["metrics"].get("scores")
        for event in of_kind(events, "answered", site=site)
    }
    losses = {
        event["round"]: event["metrics"].get("loss") for event in of_kind(events, "answered", site=site, task="round")
    }
    alone = answers.get(("alone", -1))
    history = [answers.get(("round", number)) for number in range(job.federation.rounds)]
    parts = {} if final is None else final.get("labels") or final.get("structures") or {}
    return SiteResult(
        site=site,
        validated=final is not None,
        federated=score_of(job, final) if final else Score(why=_why_unmeasured(events)),
        local_only=score_of(job, alone) if alone else _not_alone(job),
        centralised=Score(why=_NOT_IN_ONE_PLACE),
        others=others_of(job, final) if final else {},
        history=tuple(_point(job, scores) for scores in [*history, final]),
        losses=tuple(losses.get(number) for number in range(job.federation.rounds)),
        cohort=_cohort(admitted),
        privacy=site_privacy(admitted, events, site),
        labels={
            name: LabelResult(federated=score_of(job, scores), others=others_of(job, scores))
            for name, scores in parts.items()
        },
        subgroups=subgroups_of(job.measure, last),
        curves=curves_of(last.get("curves")),
        admission=admitted.get("admission"),
        fedward=admitted.get("fedward"),
    )


def _point(job: JobSpec, scores: Mapping[str, Any] | None) -> Point:
    score = score_of(job, scores or {})
    return Point(value=score.value, low=score.low, high=score.high)


def _cohort(admitted: Event) -> CohortFacts:
    support = admitted.get("support", {})

    def both(what: str) -> int | None:
        sides = [support.get(f"{side}_{what}") for side in ("train", "validation")]
        return None if None in sides else sum(sides)

    return CohortFacts(
        images=both("images"),
        patients=both("patients"),
        train_patients=support.get("train_patients"),
        validation_patients=support.get("validation_patients"),
        quarantined=admitted.get("quarantined"),
        content_hash=admitted.get("cohort_hash"),
        left_out=support.get("left_out"),
    )


def _not_alone(job: JobSpec) -> Score:
    if job.federation.local_baseline and job.privacy.mechanism != "none":
        return Score(why="a model trained alone has no noise: its scores stay at the hospital")
    return NOT_MEASURED
