"""Collect a model's release dossier: the facts that a hospital's board needs before it signs, in a file with a hash."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fedward.errors import FedwardError
from fedward.provisioning.stamp import package_hash
from fedward.reporting.data.report import JobFacts, Participation, Report, Score, SitePrivacy, SiteResult
from fedward.reporting.data.subgroups import Spread, Subgroup, spreads
from fedward.reporting.data.worth import verdicts
from fedward.validation.acceptance import Verdict, judge
from fedward.weights import MODEL_FILE

DOSSIER_SCHEMA = 2
"""Version of ``dossier.json``; ``dossier.schema.json`` beside this module defines its content."""
NOT_SAID = "Not stated when this dossier was written: the consortium states it before a board signs."


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One hospital that took part.

    Attributes:
        site: id of the hospital.
        admission: rule by which it admitted the job: "any", "approved" or "submitter"; None if it does not state one.
        cohort_sha256: hash of its cohort's manifest; None if it withholds it.
        fedward: version that ran there, or None.
        privacy: privacy cost of the job for its patients; None without differential privacy.
        federated, others: scores of the model on its own validation patients, as in a report.
        acceptance: its interval compared with the job's threshold by ``fedward.validation.acceptance``; None if the job
            has no threshold.
        flagged: True if the model is worse there than at the other sites by more than chance.
        participation: rounds in which it took part.
        worst: its subgroup with the widest gap, or None if none was measured.
        spreads: best less worst subgroup by label and dimension, the widest first.
    """

    site: str
    admission: str | None
    cohort_sha256: str | None
    fedward: str | None
    privacy: SitePrivacy | None
    federated: Score
    others: Mapping[str, Score] = field(default_factory=dict)
    acceptance: Verdict | None
    flagged: bool
    participation: Participation
    worst: Subgroup | None
    spreads: tuple[Spread, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Dossier:
    """Model that hospitals may decide to use.

    Attributes:
        job: settings of the job.
        finished_at: time in ISO 8601.
        fit: True if the coverage verdict is success, and no verdict calls the model useless.
        verdict: coverage verdict as text.
        model_sha256: hash of the model's file.
        wheel_sha256: hash of the installed Fedward that wrote this; sites compare it with their own.
        job_sha256: hash of the job's settings, which hospitals approved.
        encryption, privacy: as in a report.
        intended_use: use that the consortium intends.
        limits: limits of the model, one sentence each.
        measure: "auc" or "dice".
        lowest: site with the lowest value, or None.
        mean: mean over the sites, with equal weight.
        pooled: score over all sites' images together.
        members: sites, the lowest value first.
        declined: site -> reason why it took no part.
        versions: software -> version.
    """

    job: JobFacts
    finished_at: str
    fit: bool
    verdict: str
    model_sha256: str
    wheel_sha256: str
    job_sha256: str
    encryption: str
    privacy: str
    intended_use: str
    limits: tuple[str, ...]
    measure: str
    lowest: str | None
    mean: float | None
    pooled: Score
    members: tuple[Member, ...]
    declined: Mapping[str, str]
    versions: Mapping[str, str]


def find_model(result: Path) -> Path:
    """Return the path of the final model in a downloaded result.

    Raises:
        FedwardError: the result has no final model.
    """
    found = sorted(result.rglob(MODEL_FILE))
    if len(found) != 1:
        remedy = "download the result of a job that ended; an encrypted one needs encryption.open_final = true"
        raise FedwardError("result has no final model", where=result, value=len(found), remedy=remedy)
    return found[0]


def dossier_of(report: Report, model: Path, *, intended_use: str = NOT_SAID, unfit: bool = False) -> Dossier:
    """Make the dossier of a reported job and its model.

    Args:
        report: report of the job, from its events.
        model: path of the model's file.
        intended_use: use that the consortium intends.
        unfit: True to write it although it is not fit; the dossier then states this.

    Raises:
        FedwardError: the coverage verdict is not success, or the model is useless.
    """
    useless = next((one.words for one in verdicts(report) if one.kind == "useless"), None)
    if not report.coverage.success and not unfit:
        remedy = "run the job again with its sites, or give --unfit for a dossier that says so"
        raise FedwardError("not fit for release", where=report.job.name, value=report.coverage.verdict, remedy=remedy)
    if useless is not None and not unfit:
        remedy = "train a better model, or give --unfit for a dossier that says so"
        raise FedwardError("not fit for release", where=report.job.name, value=useless, remedy=remedy)
    parts = {one.site: one for one in report.participation}
    return Dossier(
        job=report.job,
        finished_at=report.finished_at,
        fit=report.coverage.success and useless is None,
        verdict=report.coverage.verdict,
        model_sha256=hashlib.sha256(model.read_bytes()).hexdigest(),
        wheel_sha256=package_hash(),
        job_sha256=report.hashes["job"],
        encryption=report.encryption,
        privacy=report.privacy,
        intended_use=intended_use,
        limits=_limits(report),
        measure=report.measure,
        lowest=None if report.worst is None else report.worst.site,
        mean=report.mean,
        pooled=report.pooled,
        members=tuple(_member(report, site, parts[site.site]) for site in report.worst_first),
        declined={one.site: one.declined for one in report.participation if one.declined is not None},
        versions=report.versions,
    )


def _member(report: Report, site: SiteResult, part: Participation) -> Member:
    measured = [one for one in site.subgroups if one.gap is not None]
    return Member(
        site=site.site,
        admission=site.admission,
        cohort_sha256=None if site.cohort is None else site.cohort.content_hash,
        fedward=site.fedward,
        privacy=site.privacy,
        federated=site.federated,
        others=site.others,
        acceptance=_acceptance(site.federated, report.job.threshold),
        flagged=site.standing is not None and site.standing.flagged,
        participation=part,
        worst=measured[0] if measured else None,
        spreads=spreads(site.subgroups),
    )


def _acceptance(score: Score, threshold: float | None) -> Verdict | None:
    if threshold is None:
        return None
    interval = None if score.low is None or score.high is None else (score.low, score.high)
    return judge(score.value, interval, patients=score.n or 0, threshold=threshold).verdict


def _limits(report: Report) -> tuple[str, ...]:
    lines = [
        "Measured on the patients of the hospitals named here, and on nobody else’s: another hospital validates it "
        "on its own patients first, with fedward site validate.",
        "This dossier clears nothing: whether and how a model may be used on patients is for each hospital’s board and "
        "the law.",
    ]
    lines += [one.words for one in verdicts(report) if not one.good]
    if report.coverage.missing:
        names = ", ".join(one.site for one in report.coverage.missing)
        lines.append(f"Missing at the end of its training: {names}; the report says since when, and why.")
    silent = [site.site for site in report.worst_first if site.federated.value is None]
    if silent:
        lines.append(f"Nothing is known of how it does at {', '.join(silent)}: no value was measured or let out.")
    if report.flagged:
        names = ", ".join(site.site for site in report.flagged)
        lines.append(f"It does worse than elsewhere at {names}; the report says what may be behind it.")
    unseen = [site.site for site in report.worst_first if all(one.gap is None for one in site.subgroups)]
    if unseen:
        lines.append(f"Nothing is known of how it does by sex, age and scanner at {', '.join(unseen)}.")
    if report.privacy == "none":
        lines.append("It was trained without differential privacy: what it reveals of one patient has no bound.")
    suspects = [one.site for one in report.participation if one.suspect]
    if suspects:
        lines.append(f"Updates of {', '.join(suspects)} were such as no local training explains.")
    return tuple(lines)
