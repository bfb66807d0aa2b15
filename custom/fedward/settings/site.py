"""Define a hospital's policy for its own data: ``site.toml``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from fedward.settings.base import Flag, Fraction, Settings, form
from fedward.settings.names import Name, SiteId
from fedward.settings.pacs import Pacs
from fedward.settings.privacy import CohortPrivacy, Disclosure, JobHash

KeyId = Annotated[
    str, form(r"[0-9a-f]{32}", "is no key's id: write the 32 digits that `fedward key show KEY` prints, without spaces")
]


SequenceRule = Annotated[str, form(r".*[^*? ].*", "is no rule: write what the series is called, such as *FLAIR*")]


class Retention(Settings):
    """``[upkeep]``, and the server's ``upkeep.toml``: how long what ended jobs, logs and downloads left is kept.

    Without it nothing is removed.
    """

    keep_days: int = Field(ge=1, le=36_500, description="Days that everything is kept after its last change.")
    keep_jobs: int = Field(
        default=10, ge=0, description="Ended jobs that are kept longer than `keep_days`: the newest so many."
    )
    max_gb: float | None = Field(
        default=None,
        gt=0,
        description="Gigabytes (10⁹ bytes) of all that is counted; above it the oldest goes first, younger than "
        "`keep_days` or not. None: no limit.",
    )
    audit_days: int | None = Field(
        default=None,
        ge=365,
        le=36_500,
        description="Days that a closed file of the audit log is kept after its last entry, a year or more; an entry "
        "says what was removed. None: for ever.",
    )


class CohortPolicy(Settings):
    """One cohort of a hospital: the place of its images, and the conditions that an image must meet."""

    images: Path = Field(description="Folder of DICOM or NIfTI images; a relative path starts at site.toml's folder.")
    index: Path = Field(description="Folder that `fedward site index` writes manifest, quarantine and cache to.")
    labels: Path | None = Field(
        default=None,
        description="CSV UTF-8 keyed by PatientID, StudyInstanceUID, SeriesInstanceUID or SOPInstanceUID "
        "(NIfTI: by Image, the file name); ids as text, with their leading zeros.",
    )
    masks: Path | None = Field(default=None, description="Folder of DICOM SEG or NIfTI masks.")
    volumes: Flag = Field(default=False, description="Read a DICOM series as one volume, not each file as an image.")
    sequences: dict[Name, SequenceRule] = Field(
        default_factory=dict,
        description="Sequences by the names that jobs use: each a pattern with * and ?, case ignored, of the whole "
        "SeriesDescription (0008,103E), or of a NIfTI file's path without its ending.",
    )
    modalities: tuple[str, ...] = Field(
        default=(), description="Allowed values of Modality (0008,0060); none given: any."
    )
    body_parts: tuple[str, ...] = Field(
        default=(),
        description="Allowed values of BodyPartExamined (0018,0015), where an image has it; none given: any.",
    )
    require: tuple[str, ...] = Field(
        default=(),
        description="Label columns, or 'mask', that every image must have; an image without one goes to quarantine.",
    )
    exclude_burned_in: Flag = Field(
        default=False,
        description="Quarantine images with BurnedInAnnotation YES (0028,0301) instead of flagging them.",
    )
    max_quarantined_fraction: Fraction = Field(
        description="Largest fraction of unusable files; above it the whole cohort is refused."
    )
    validation_fraction: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(
        description="Fraction of patients kept for validation; only the site's key decides which patients."
    )
    min_patients: int = Field(default=2, ge=2, description="Smallest number of patients for this site to join a job.")
    pacs: Pacs | None = Field(
        default=None, description="Archive from which `fedward site index SITE_TOML --pacs` fills the images folder."
    )
    privacy: CohortPrivacy = Field(description="Limits for every job that trains on this cohort.")


class Admission(Settings):
    """``[[auto_approve]]``: jobs that may run here without individual review; every line that is given must match."""

    submitter: str | None = Field(default=None, min_length=3, description="Sign-in name of the submitter.")
    organisation: Name | None = Field(default=None, description="Organisation of the submitter.")
    study: Name | None = Field(default=None, description="FLARE study that the job is submitted in.")

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.submitter is None and self.organisation is None and self.study is None:
            raise ValueError("give at least one of submitter, organisation, study; or approved_jobs = 'any'")
        return self


class SitePolicy(Settings):
    """A hospital's ``site.toml``: the policy for its own data."""

    site: SiteId = Field(description="The hospital's id, the same as in its certificate.")
    key: Path = Field(description="File with the site's secret key for pseudonyms and splits; created on first use.")
    ledger: Path = Field(
        description="File of the privacy ledger; created once by `fedward site ledger SITE_TOML --create`, never by a "
        "job."
    )
    federation_key: Path | None = Field(
        default=None,
        description="File of the federation's key, from `fedward key create` or `key open`; encrypted jobs need it.",
    )
    approved_jobs: Literal["any"] | tuple[JobHash, ...] = Field(
        description="Jobs that may run here: 'any', or hashes as `fedward job check` prints them."
    )
    auto_approve: tuple[Admission, ...] = Field(
        default=(), description="Jobs that may run here because of their submitter, organisation or study."
    )
    approvals: Path | None = Field(
        default=None, description="Folder of jobs that `fedward site approve` approved, one file for each job."
    )
    roster: Path | None = Field(
        default=None,
        description="File of the hospitals that this one knows by telephone, from `fedward site roster`.",
    )
    min_known: int = Field(
        default=0,
        ge=0,
        le=255,
        description="Smallest number of other hospitals in a masked job, and in each sum that this one helps to open, "
        "that are on the roster or introduced by one that is; others may be as many as the job bears on the server's "
        "side. 0: any hospital with a certificate counts.",
    )
    federation_key_id: KeyId | None = Field(
        default=None,
        description="Id of the federation's key, as another hospital read it to you; the doctor checks the file.",
    )
    upkeep: Retention | None = Field(
        default=None, description="How long the kit keeps what ended jobs left; without it, for ever."
    )
    disclosure: Disclosure = Field(description="Numbers that may leave this hospital, and their rounding.")
    cohorts: dict[Name, CohortPolicy] = Field(description="Cohorts by the name that jobs ask for.")

    @model_validator(mode="after")
    def _known_sites_are_on_a_roster(self) -> Self:
        if self.min_known and self.roster is None:
            raise ValueError('min_known needs a roster: write roster = "../state/roster.json", or another file')
        return self
