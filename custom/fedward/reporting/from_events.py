"""A job's events -> its report. What events do not hold is not measured, and stays so."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fedward.errors import FedwardError
from fedward.metrics.events import EVENTS_FILE, EventReader
from fedward.reporting.report import (
    NOT_MEASURED,
    CohortFacts,
    JobFacts,
    Participation,
    Population,
    Report,
    RoundTime,
    Score,
    SitePrivacy,
    SiteResult,
    Time,
)
from fedward.settings import JOB_FILE, JobSpec, parse

Event = Mapping[str, Any]

OTHERS = {
    "classification": {
        "average_precision": "average precision",
        "sensitivity_at_95_specificity": "sensitivity at 95 % specificity",
    },
    "segmentation": {"hd95_mm": "95 % Hausdorff distance (mm)"},
}
"""Further measures, as they come from a site -> as they are shown."""

MECHANISMS = {
    "none": "none",
    "dp-sgd": "DP-SGD for each patient, at each hospital",
    "update-noise": "clipped and noised updates, for each patient",
}
"""A job's mechanism -> how the report names it."""

ENCRYPTIONS = {
    "aes-ctr": "AES-256-CTR additive cipher",
    "bfv": "BFV homomorphic encryption",
    "ckks": "CKKS homomorphic encryption",
}
"""A key's scheme -> how the report names it."""

_WHY_NOT_POOLED = "a real site cannot pool"


def report_of(job: JobSpec, events: Sequence[Event], *, wall_s: float | None = None) -> Report:
    """The report of a finished job.

    Args:
        job: what was asked for.
        events: the server's events, in order.
        wall_s: seconds from submit to finish; None: from the first event to the last.

    Raises:
        FedwardError: events without a beginning.
    """
    started = next(_of(events, "started"), None)
    if started is None:
        raise FedwardError("events have no beginning", remedy="give the result folder of a job that ran")
    rounds = list(_of(events, "round"))
    admitted = {event["site"]: event for event in _of(events, "admitted")}
    together = _last(events, "pooled") or {"sites": (), "pooled": {}}
    return Report(
        job=JobFacts(
            name=job.job.name,
            task=job.job.task,
            description=job.job.description,
            seed=job.job.seed,
            network=job.model.network,
            size=job.data.size,
            rounds=job.federation.rounds,
        ),
        finished_at=datetime.fromtimestamp(events[-1]["at"], UTC).isoformat(timespec="seconds"),
        rounds_done=len(rounds),
        encryption=_encryption(_last(events, "encrypted")),
        privacy=MECHANISMS[job.privacy.mechanism],
        sites=tuple(_site(job, site, event, events) for site, event in sorted(admitted.items())),
        participation=tuple(_participation(site, events) for site in started["sites"]),
        pooled=score_of(job, together["pooled"]) if together["sites"] else Score(why=_WHY_NOT_POOLED),
        pooled_sites=tuple(sorted(together["sites"])),
        pooled_labels={
            name: score_of(job, scores) for name, scores in (together["pooled"].get("labels") or {}).items()
        },
        population=_population(_last(events, "cohort")),
        centralised_pooled=Score(why=_WHY_NOT_POOLED),
        time=_time(events, events[-1]["at"] - events[0]["at"] if wall_s is None else wall_s),
        hashes={
            f"cohort of {site}": event["cohort_hash"]
            for site, event in sorted(admitted.items())
            if event.get("cohort_hash")
        },
    )


def read_result(folder: Path) -> tuple[JobSpec, list[Event]]:
    """A job's settings and events from its result as FLARE's download leaves it.

    Raises:
        FedwardError: the folder is not such a result, or the job never began.
    """
    settings = sorted(folder.glob(f"job/*/app/config/{JOB_FILE}"))
    events = folder / "workspace" / EVENTS_FILE
    if len(settings) != 1 or not events.is_file():
        remedy = "give the folder that holds job/ and workspace/"
        raise FedwardError("not a downloaded result of a Fedward job", where=folder, remedy=remedy)
    content = json.loads(settings[0].read_text(encoding="utf-8"))
    return parse(JobSpec, content, where=settings[0]), list(EventReader(events))


def score_of(job: JobSpec, scores: Mapping[str, Any]) -> Score:
    """The job's measure among the scores that a site sent."""
    measure = "auc" if job.job.task == "classification" else "dice"
    value = scores.get(measure)
    return Score(
        value=value,
        low=scores.get(f"{measure}_low"),
        high=scores.get(f"{measure}_high"),
        n=scores.get("n"),
        patients=scores.get("patients"),
        positives=scores.get("positives"),
        suppressed=value is None and bool(scores.get("suppressed")),
        why=_why(value, scores),
    )


def _of(events: Iterable[Event], kind: str, **fields: Any) -> Iterator[Event]:
    return (
        event
        for event in events
        if event["event"] == kind and all(event.get(name) == value for name, value in fields.items())
    )


def _last(events: Sequence[Event], kind: str) -> Event | None:
    return next(_of(reversed(events), kind), None)


def _encryption(event: Event | None) -> str:
    """What hid the updates: scheme, precision, and the key by the first digits of its name."""
    if event is None:
        return "none"
    scheme, key = event["scheme"], event.get("key")
    named = f"{ENCRYPTIONS.get(scheme, scheme)}, {event['precision']}"
    return f"{named} (key {key[:4]}…)" if key else named


def _population(event: Event | None) -> Population | None:
    if event is None:
        return None
    found = event["cohort_statistics"]
    tables = {name: found.get(name) or {} for name in ("age", "sex", "positives", "intensity")}
    return Population(
        sites=tuple(sorted(event["sites"])), patients=found.get("patients"), images=found.get("images"), **tables
    )


def _site(job: JobSpec, site: str, admitted: Event, events: Sequence[Event]) -> SiteResult:
    answers = {
        (event["task"], event["round"]): event["metrics"].get("scores") for event in _of(events, "answered", site=site)
    }
    final, alone = answers.get(("final", -1)), answers.get(("alone", -1))
    history = [answers.get(("round", number)) for number in range(job.federation.rounds)]
    return SiteResult(
        site=site,
        federated=score_of(job, final) if final else Score(why="the site did not answer the last validation"),
        local_only=score_of(job, alone) if alone else _not_alone(job),
        centralised=Score(why=_WHY_NOT_POOLED),
        others={
            shown: Score(value=final.get(name), n=final.get("n"), patients=final.get("patients"))
            for name, shown in OTHERS[job.job.task].items()
            if final
        },
        history=tuple(None if scores is None else score_of(job, scores).value for scores in [*history, final]),
        cohort=_cohort(admitted),
        privacy=_privacy(admitted, events, site),
    )


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
    )


def _privacy(admitted: Event, events: Sequence[Event], site: str) -> SitePrivacy | None:
    """What the site says at the end, or, if it did not come to that, what it was charged at the beginning."""
    final = [event["metrics"] for event in _of(events, "answered", site=site, task="final")]
    facts = (final[-1] if final else admitted).get("privacy") or {}
    if facts.get("mechanism", "none") == "none":
        return None
    return SitePrivacy(
        mechanism=facts["mechanism"],
        epsilon=facts.get("epsilon"),
        delta=facts.get("delta"),
        spent=facts.get("spent"),
        cap=facts.get("epsilon_cap"),
        noise_multiplier=facts.get("noise_multiplier"),
        sampling_rate=facts.get("sampling_rate"),
        steps=facts.get("steps"),
    )


def _why(value: float | None, scores: Mapping[str, Any]) -> str:
    if value is not None:
        return ""
    if scores.get("suppressed"):
        return "too few patients or positives for the site's policy"
    return "the site's validation images or its policy do not allow it"


def _not_alone(job: JobSpec) -> Score:
    if job.federation.local_only and job.privacy.mechanism != "none":
        return Score(why="a model trained alone has no noise: its scores stay at the hospital")
    return NOT_MEASURED


def _participation(site: str, events: Sequence[Event]) -> Participation:
    declined = next(_of(events, "declined", site=site), None)
    return Participation(
        site=site,
        declined=None if declined is None else declined["reason"],
        rounds=tuple(event["round"] for event in _of(events, "round") if site in event["sites"]),
        missed={
            event["round"]: event["reason"] for event in _of(events, "dropped", site=site) if event["round"] is not None
        },
    )


def _time(events: Sequence[Event], wall_s: float) -> Time:
    """Overhead is all that is not training: the wall less each round's slowest training, less the slowest alone."""
    rounds = []
    for event in _of(events, "round"):
        answers = {a["site"]: a["metrics"] for a in _of(events, "answered", task="round", round=event["round"])}
        said = {site: answer["train_s"] for site, answer in answers.items() if answer.get("train_s") is not None}
        slowest = max(said, key=lambda site: float(said[site])) if said else None
        rounds.append(
            RoundTime(
                wall_s=event["wall_s"],
                slowest_site=slowest,
                train_s=None if slowest is None else said[slowest],
                validate_s=_longest(answers.values(), "validate_s"),
            )
        )
    alone_s = _longest([event["metrics"] for event in _of(events, "answered", task="alone")], "train_s")
    known = [one.train_s for one in rounds if one.train_s is not None]
    overhead = wall_s - sum(known) - (alone_s or 0.0) if len(known) == len(rounds) else None
    return Time(
        wall_s=round(wall_s, 3),
        overhead_s=None if overhead is None else round(overhead, 3),
        rounds=tuple(rounds),
        alone_s=alone_s,
    )


def _longest(answers: Iterable[Mapping[str, Any]], name: str) -> float | None:
    return max((float(answer[name]) for answer in answers if answer.get(name) is not None), default=None)
