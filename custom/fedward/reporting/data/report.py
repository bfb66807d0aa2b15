"""Define a finished job's report as data: the one source of ``report.json``, ``report.html`` and ``summary.json``.

None means "not measured". A score that is withheld because it covers too few patients has ``suppressed`` set and is
shown as "insufficient support". Neither is ever shown as 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from fedward.measures import Measure, measure_of
from fedward.reporting.data.curves import Curves
from fedward.reporting.data.ending import Interruption
from fedward.reporting.data.participation import Contribution, Coverage, Participation, RoundLedger
from fedward.reporting.data.protection import SitePrivacy
from fedward.reporting.data.score import NOT_MEASURED, Point, Score
from fedward.reporting.data.site_comparison import ComparedSite
from fedward.reporting.data.subgroups import Subgroup
from fedward.reporting.data.timing import RoundTime, Time

__all__ = [
    "NOT_BEGUN",
    "NOT_MEASURED",
    "TOGETHER",
    "CohortFacts",
    "ComparedSite",
    "Contribution",
    "Coverage",
    "Curves",
    "Interruption",
    "JobFacts",
    "LabelResult",
    "Participation",
    "Point",
    "Population",
    "Report",
    "RoundLedger",
    "RoundTime",
    "Score",
    "SitePrivacy",
    "SiteResult",
    "Subgroup",
    "Time",
]

Task = Literal["classification", "segmentation"]
NOT_BEGUN = "asked for, and not begun"
"""Value of ``Report.encryption`` for an encrypted job whose sites agreed on no key."""
TOGETHER = "all together"
"""Column of ``Report.matrix`` for all sites' validation images as one set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFacts:
    """Settings of the job.

    Attributes:
        name, task, description, seed, network: from ``job.toml``.
        size: image size for the network, in pixels.
        rounds: number of rounds requested.
        targets: labels, classes or structures that the network learns.
        start: weights that the job starts from, in a phrase, with the job before it.
        preparation: what is done to each image before the network sees it, in order.
        threshold: required result at each hospital, in the job's measure; None if the job has none.
        scheme: of the encryption of the updates; None: there is none.
        left_out: number of models that the aggregation leaves out in each round.
    """

    name: str
    task: Task
    description: str
    seed: int
    network: str
    size: tuple[int, ...]
    rounds: int
    targets: tuple[str, ...] = ()
    start: str = ""
    preparation: tuple[str, ...] = ()
    threshold: float | None = None
    scheme: str | None = None
    left_out: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CohortFacts:
    """Cohort of a site, as counts; None if the site's policy withholds a count.

    Attributes:
        images, patients, train_patients, validation_patients: numbers that take part.
        quarantined: patients with an image file in quarantine.
        content_hash: hash of the cohort's manifest.
        left_out: patients with an image that lacks a label, a mask or a size that the job needs.
    """

    images: int | None
    patients: int | None
    train_patients: int | None
    validation_patients: int | None
    quarantined: int | None
    content_hash: str | None
    left_out: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelResult:
    """Federated model on one label, class or structure, if there are several; fields as in ``SiteResult``."""

    federated: Score
    others: Mapping[str, Score] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteResult:
    """Results of one site, all on its own validation patients.

    Attributes:
        site: id of the site.
        validated: True if it answered the validation of the final model.
        federated: final federated model, in the job's measure (AUC or mean Dice).
        local_only: model that this site trained alone, without noise.
        private_alone: model trained at this site alone at the job's own ε; only a demo measures it.
        pooled_private: model trained at the job's own ε on all sites' images in one place; only a demo measures it.
        centralised: model trained on all sites' images together.
        others: further measures of the federated model, by name as shown.
        history: incoming global model, in the job's measure, before each round and after the last.
        losses: mean training loss in each round; None where the hospital withholds it, as under DP-SGD.
        cohort: cohort of the site, or None.
        privacy: privacy cost of the job for its patients, or None for a job without differential privacy.
        labels: results by label, class or structure, if there are several.
        subgroups: results by sex, age and scanner, the worst first; empty if the hospital withholds them.
        curves: curves by label; empty if the hospital withholds them.
        standing: comparison with the other sites; None if there was none.
        admission: rule by which the hospital admitted the job: "any", "approved" or "submitter"; None if not reported.
        fedward: version that ran there, or None.
    """

    site: str
    federated: Score
    local_only: Score = NOT_MEASURED
    private_alone: Score = NOT_MEASURED
    pooled_private: Score = NOT_MEASURED
    centralised: Score = NOT_MEASURED
    others: Mapping[str, Score] = field(default_factory=dict)
    history: tuple[Point, ...] = ()
    losses: tuple[float | None, ...] = ()
    cohort: CohortFacts | None = None
    privacy: SitePrivacy | None = None
    labels: Mapping[str, LabelResult] = field(default_factory=dict)
    subgroups: tuple[Subgroup, ...] = ()
    curves: Mapping[str, Curves] = field(default_factory=dict)
    standing: ComparedSite | None = None
    validated: bool = True
    admission: str | None = None
    fedward: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Population:
    """Patients of several hospitals together, training and validation, from encrypted sums.

    A count below the minimum count is None, and so is any other count that would disclose it.

    Attributes:
        sites: sites whose numbers were added.
        patients, images: numbers over all sites.
        age, sex: years, or PatientSex -> patients.
        positives: label, or class -> patients; empty for a segmentation.
        intensity: lower end of a bin, in standard deviations of a standardised image -> share of its grey values.
    """

    sites: tuple[str, ...]
    patients: int | None
    images: int | None
    age: Mapping[str, int | None] = field(default_factory=dict)
    sex: Mapping[str, int | None] = field(default_factory=dict)
    positives: Mapping[str, int | None] = field(default_factory=dict)
    intensity: Mapping[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Report of a finished job.

    Attributes:
        job: settings of the job.
        finished_at: ISO 8601 date and time; an input, so that the same report gives the same bytes.
        rounds_done: number of rounds that counted.
        encryption: "none", ``NOT_BEGUN``, or the encryption that hid the updates from the server.
        updates: True if an update of a site reached the server.
        privacy: "none", or a description of the differential privacy that the sites applied.
        sites: one entry for each site that took part.
        coverage: coverage policy of the job, and the verdict.
        participation: one entry for each site that was invited.
        ledger: one entry for each round, from the first.
        interruptions: resumptions and pauses of the server, and returns of sites, in order.
        pooled: federated model over all sites' validation images together.
        pooled_sites: sites in the encrypted sum behind ``pooled``; empty if there was no such sum.
        pooled_labels: the same for each label or class, if there are several.
        pooled_curves: curves by label, from the same sum.
        population: all sites' patients together, or None if no sum of them was opened.
        centralised_pooled: centralised model, likewise.
        pooled_private: model trained at the job's own ε on all sites' images in one place, likewise.
        noise: sentences on a noise for the sum of all hospitals; empty where each adds all of its own.
        matrix: site that trained the model -> site that tested it, or ``TOGETHER`` -> value; empty if not measured.
        time: distribution of the job's seconds.
        versions: software -> version.
        hashes: name -> SHA-256.
        compared: models and the patients they were measured on, one sentence each.
        notes: remarks, one sentence each.
    """

    job: JobFacts
    finished_at: str
    rounds_done: int
    encryption: str
    privacy: str
    sites: tuple[SiteResult, ...]
    updates: bool = True
    coverage: Coverage
    participation: tuple[Participation, ...]
    ledger: tuple[RoundLedger, ...] = ()
    interruptions: tuple[Interruption, ...] = ()
    pooled: Score = NOT_MEASURED
    pooled_sites: tuple[str, ...] = ()
    pooled_labels: Mapping[str, Score] = field(default_factory=dict)
    pooled_curves: Mapping[str, Curves] = field(default_factory=dict)
    population: Population | None = None
    centralised_pooled: Score = NOT_MEASURED
    pooled_private: Score = NOT_MEASURED
    noise: tuple[str, ...] = ()
    matrix: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    time: Time
    versions: Mapping[str, str] = field(default_factory=dict)
    hashes: Mapping[str, str] = field(default_factory=dict)
    compared: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def measure(self) -> Measure:
        """Measure of the job: "auc" or "dice"."""
        return measure_of(self.job.task)

    @property
    def models(self) -> Mapping[str, str]:
        """Models that are compared at a site: field of ``SiteResult`` -> name as shown."""
        if self.privacy == "none":
            return {"federated": "Federated", "local_only": "Trained alone", "centralised": "Centralised"}
        same = {"private_alone": "Alone, same ε", "pooled_private": "Centralised, same ε"}
        quiet = {"local_only": "Alone, no noise", "centralised": "Centralised, no noise"}
        return {"federated": "Federated", **same, **quiet}

    @property
    def worst_first(self) -> tuple[SiteResult, ...]:
        """Sites by their federated value, the lowest first; those without one come last."""
        return tuple(sorted(self.sites, key=_rank))

    @property
    def worst(self) -> SiteResult | None:
        """Site with the lowest federated value, or None if no site has one."""
        first = self.worst_first[:1]
        return first[0] if first and first[0].federated.value is not None else None

    @property
    def flagged(self) -> tuple[SiteResult, ...]:
        """Sites where the model is worse than at the others, the lowest first."""
        return tuple(site for site in self.worst_first if site.standing is not None and site.standing.flagged)

    @property
    def mean(self) -> float | None:
        """Mean of the sites' federated values, with equal weight; None if no site has one."""
        known = [site.federated.value for site in self.sites if site.federated.value is not None]
        return sum(known) / len(known) if known else None


def _rank(site: SiteResult) -> tuple[bool, float, str]:
    value = site.federated.value
    return (value is None, 0.0 if value is None else value, site.site)
