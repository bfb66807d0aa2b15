"""A hospital's own word on its own data: ``site.toml``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from fedward.settings.base import Fraction, Name, Settings, SiteId
from fedward.settings.pacs import Pacs
from fedward.settings.privacy import CohortPrivacy, Disclosure, JobHash


class CohortPolicy(Settings):
    """One cohort of a hospital: where its images are and what they must be to count."""

    images: Path = Field(description="Folder of DICOM or NIfTI images; a relative path starts at site.toml's folder.")
    index: Path = Field(description="Folder that `fedward site index` writes manifest, quarantine and cache to.")
    labels: Path | None = Field(
        default=None,
        description="CSV keyed by PatientID, StudyInstanceUID or SOPInstanceUID (NIfTI: by Image, the file name).",
    )
    masks: Path | None = Field(default=None, description="Folder of DICOM SEG or NIfTI masks.")
    volumes: bool = Field(default=False, description="Take a DICOM series as one volume instead of an image a file.")
    modalities: tuple[str, ...] = Field(
        default=(), description="Modality (0008,0060) must be one of these; none named: any."
    )
    body_parts: tuple[str, ...] = Field(
        default=(), description="BodyPartExamined (0018,0015) must be one of these where it is given; none named: any."
    )
    require: tuple[str, ...] = Field(
        default=(),
        description="Label columns, or 'mask', that every image must have, or else go to quarantine.",
    )
    exclude_burned_in: bool = Field(
        default=False,
        description="Quarantine what says BurnedInAnnotation YES (0028,0301) instead of flagging it.",
    )
    max_quarantined_fraction: Fraction = Field(
        description="Past this fraction of unusable files the whole cohort is refused."
    )
    validation_fraction: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(
        description="Fraction of patients kept for validation; who they are depends on the site's key alone."
    )
    min_patients: int = Field(default=2, ge=2, description="Fewest patients with which this site takes part in a job.")
    pacs: Pacs | None = Field(
        default=None, description="Archive that `fedward site index --pacs` fetches into the images folder."
    )
    privacy: CohortPrivacy = Field(description="What a job must keep to when it trains on this cohort.")


class Admission(Settings):
    """``[[auto_approve]]``: jobs that may run here without being looked at one by one; every line that is given must
    hold.
    """

    submitter: str | None = Field(default=None, min_length=3, description="Sign-in name of who submits it.")
    organisation: Name | None = Field(default=None, description="Organisation of who submits it.")
    study: Name | None = Field(default=None, description="FLARE study that the job is submitted in.")

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.submitter is None and self.organisation is None and self.study is None:
            raise ValueError("give at least one of submitter, organisation, study; or approved_jobs = 'any'")
        return self


class SitePolicy(Settings):
    """A hospital's ``site.toml``: its own word on its own data."""

    site: SiteId = Field(description="The hospital's id, the same as in its certificate.")
    key: Path = Field(description="File with the site's secret key for pseudonyms and splits; made on first use.")
    ledger: Path = Field(
        description="File of the privacy ledger; made once by `fedward site ledger --create`, never by a job."
    )
    federation_key: Path | None = Field(
        default=None,
        description="File of the federation's key, from `fedward key create` or `key open`; encrypted jobs need it.",
    )
    approved_jobs: Literal["any"] | tuple[JobHash, ...] = Field(
        description="Jobs that may run here: 'any', or hashes as `fedward job check` prints them."
    )
    auto_approve: tuple[Admission, ...] = Field(
        default=(), description="Jobs that may run here by who submits them and in which study."
    )
    approvals: Path | None = Field(
        default=None, description="Folder of jobs that `fedward site approve` approved, one file a job."
    )
    federation_key_id: str | None = Field(
        default=None,
        pattern=r"^[0-9a-f]{32}$",
        description="Id of the federation's key as another hospital read it to you; the doctor holds the file to it.",
    )
    disclosure: Disclosure = Field(description="Which numbers may leave this hospital, and how coarse.")
    cohorts: dict[Name, CohortPolicy] = Field(description="Cohorts by the name that jobs ask for.")
