"""What a finished job has to say, as data: the one source of ``report.json``, ``report.html`` and ``summary.json``.

None is "not measured". A score that was withheld because too few patients stand behind it has ``suppressed`` set and is
shown as "insufficient support". Neither is ever shown as 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from fedward.reporting.data.curves import Curves
from fedward.reporting.data.participation import Contribution, Coverage, Participation, RoundLedger
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
"""``Report.encryption`` of an encrypted job whose sites came to no key."""
TOGETHER = "all together"
"""The column of ``Report.matrix`` for all sites' validation images as one set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFacts:
    """What was asked for.

    Attributes:
        name, task, description, seed, network: from ``job.toml``.
        size: pixels the network sees.
        rounds: rounds asked for.
        threshold: what a hospital's own result must reach, in the job's measure; None where the job names none.
    """

    name: str
    task: Task
    description: str
    seed: int
    network: str
    size: tuple[int, ...]
    rounds: int
    threshold: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CohortFacts:
    """What a site brought, as counts; None where the site's policy does not let a count out.

    Attributes:
        images, patients, train_patients, validation_patients: that take part.
        quarantined: patients with an image file that was set aside.
        content_hash: of the cohort's manifest.
    """

    images: int | None
    patients: int | None
    train_patients: int | None
    validation_patients: int | None
    quarantined: int | None
    content_hash: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SitePrivacy:
    """What a job cost a site's training patients, as the site's ledger has it.

    Attributes:
        mechanism: "dp-sgd" or "update-noise".
        epsilon, delta: of this job, for each patient.
        spent: ε of the patient who has spent most, over all jobs ever.
        cap: the hospital's, or None.
        noise_multiplier: noise's standard deviation over the clip norm, for a whole update over twice that.
        sampling_rate: chance of a patient to be in a step.
        steps: steps that count.
        planned: the site said so when it admitted the job, and not at its end: of steps that were never begun the
            ledger gives the cost back.
    """

    mechanism: str
    epsilon: float | None
    delta: float | None
    spent: float | None = None
    cap: float | None = None
    noise_multiplier: float | None = None
    sampling_rate: float | None = None
    steps: int | None = None
    planned: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelResult:
    """The federated model on one label, class or structure, where there are several; fields as in ``SiteResult``."""

    federated: Score
    others: Mapping[str, Score] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteResult:
    """One site's numbers, all on its own validation patients.

    Attributes:
        site: its id.
        validated: it answered the validation of the final model.
        federated: the final federated model, in the job's measure (AUC or mean Dice).
        local_only: the model that this site trained alone, without noise.
        private_alone: a model trained at this site alone at the job's own ε; only a demo measures it.
        centralised: a model trained on all sites' images together.
        others: further measures of the federated model, by name as it is to be shown.
        history: the incoming global model, in the job's measure, before each round and after the last.
        cohort: what it brought, or None.
        privacy: what the job cost its patients, or None for a job without differential privacy.
        labels: by label, class or structure, where there are several.
        subgroups: by sex, age and scanner, the worst first; empty where the hospital keeps them.
        curves: by label; empty where the hospital keeps them.
        standing: beside the other sites; None where nobody was compared.
        admission: how the hospital admitted the job: "any", "approved" or "submitter"; None where it does not say.
        fedward: version that ran there, or None.
    """

    site: str
    federated: Score
    local_only: Score = NOT_MEASURED
    private_alone: Score = NOT_MEASURED
    centralised: Score = NOT_MEASURED
    others: Mapping[str, Score] = field(default_factory=dict)
    history: tuple[Point, ...] = ()
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
    """Who the patients of several hospitals are together, training and validation, from encrypted sums.

    A count below the floor is None, and with it what would give it away.

    Attributes:
        sites: whose numbers were added.
        patients, images: of all of them.
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
    """A finished job.

    Attributes:
        job: what was asked for.
        finished_at: ISO 8601 date and time; given, so that the same report is the same bytes.
        rounds_done: rounds that counted.
        encryption: "none", ``NOT_BEGUN``, or what hid the updates from the server.
        updates: an update of a site came to the server.
        privacy: "none", or the differential privacy that the sites applied, in words.
        sites: one a site that took part.
        coverage: what the job asked of its sites, and whether that was met.
        participation: one a site that was invited.
        ledger: one a round, from the first.
        pooled: the federated model over all sites' validation images together.
        pooled_sites: the sites in the encrypted sum that ``pooled`` comes from; empty where it comes from none.
        pooled_labels: the same for each label or class, where there are several.
        pooled_curves: by label, from the same sum.
        population: who all sites' patients are together, or None where no sum of them was opened.
        centralised_pooled: the centralised model, likewise.
        matrix: site whose own model it is -> site it was tested at, or ``TOGETHER`` -> value; empty if not measured.
        time: where the seconds went.
        versions: software -> version.
        hashes: what -> SHA-256.
        compared: which models were measured on whom, a sentence each.
        notes: remarks, a sentence each.
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
    pooled: Score = NOT_MEASURED
    pooled_sites: tuple[str, ...] = ()
    pooled_labels: Mapping[str, Score] = field(default_factory=dict)
    pooled_curves: Mapping[str, Curves] = field(default_factory=dict)
    population: Population | None = None
    centralised_pooled: Score = NOT_MEASURED
    matrix: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    time: Time
    versions: Mapping[str, str] = field(default_factory=dict)
    hashes: Mapping[str, str] = field(default_factory=dict)
    compared: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def measure(self) -> str:
        """The job's measure: "auc" or "dice"."""
        return "auc" if self.job.task == "classification" else "dice"

    @property
    def models(self) -> Mapping[str, str]:
        """Models that stand beside each other at a site: field of ``SiteResult`` -> how it is named."""
        if self.privacy == "none":
            beside = {"local_only": "Trained alone", "centralised": "Centralised"}
        else:
            beside = {
                "private_alone": "Alone, same ε",
                "local_only": "Alone, no noise",
                "centralised": "Centralised, no noise",
            }
        return {"federated": "Federated", **beside}

    @property
    def worst_first(self) -> tuple[SiteResult, ...]:
        """Sites by their federated value, the lowest first; those without one come last."""
        return tuple(sorted(self.sites, key=_rank))

    @property
    def worst(self) -> SiteResult | None:
        """The site with the lowest federated value, or None where no site has one."""
        first = self.worst_first[:1]
        return first[0] if first and first[0].federated.value is not None else None

    @property
    def flagged(self) -> tuple[SiteResult, ...]:
        """Sites that the model serves worse than the others, the lowest first."""
        return tuple(site for site in self.worst_first if site.standing is not None and site.standing.flagged)

    @property
    def mean(self) -> float | None:
        """Mean of the sites' federated values, each site counting once; None where no site has one."""
        known = [site.federated.value for site in self.sites if site.federated.value is not None]
        return sum(known) / len(known) if known else None


def _rank(site: SiteResult) -> tuple[bool, float, str]:
    value = site.federated.value
    return (value is None, 0.0 if value is None else value, site.site)
