"""What people write down: a job, a hospital's own policy, a federation. Frozen, unknown keys refused.

Every file is read once, here. A mistake becomes one ``SettingsError`` line for each, with file, key, value and remedy.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from fedward.errors import SettingsError

SiteId = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$", max_length=48)]
"""Lower-case kebab: the same in certificate, folder, label and dashboard."""
Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$", max_length=64)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


class Settings(BaseModel):
    """Base of every settings model: immutable, no unknown key, no silent coercion of NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


# ---------------------------------------------------------------- a job


class JobHeader(Settings):
    name: Name = Field(description="The job's name; also its folder's.")
    task: Literal["classification", "segmentation"] = Field(description="What the network is to learn.")
    description: str = Field(default="", description="One line for people who approve jobs.")
    seed: int = Field(default=0, ge=0, description="Seed of initial weights, batch order and augmentation.")


class Rounds(Settings):
    rounds: int = Field(ge=1, le=10_000, description="How many times the model goes round.")
    min_sites: int = Field(ge=1, description="Fewest sites whose updates make a round count.")
    round_timeout_s: float = Field(gt=0, description="Seconds after which a round goes on without the missing sites.")
    grace_s: float = Field(
        default=600.0, ge=0, description="Seconds to wait for the rest once min_sites have answered a round."
    )
    local_only: bool = Field(
        default=True, description="Each site also trains alone, same passes over its data, for the report's comparison."
    )


class Data(Settings):
    cohort: Name = Field(description="The cohort's name in each hospital's site.toml.")
    size: tuple[int, ...] = Field(
        min_length=2, max_length=3, description="Pixels the network sees: [H, W] or [D, H, W]."
    )
    labels: tuple[str, ...] = Field(default=(), description="Classification: columns of the hospital's label table.")
    target: Literal["binary", "multiclass", "multilabel"] = Field(
        default="binary",
        description="Classification: one yes-or-no label, one of several classes, or several yes-or-no labels.",
    )
    classes: tuple[str, ...] = Field(default=(), description="multiclass: the values of the label, in order.")
    structures: tuple[str, ...] = Field(
        default=(), description="Segmentation: segment labels of DICOM SEG, or values of a NIfTI label map, in order."
    )
    cache: bool = Field(default=True, description="Keep prepared images in memory (MONAI CacheDataset).")

    @model_validator(mode="after")
    def _positive(self) -> Self:
        if any(side < 1 for side in self.size):
            raise ValueError("every side of size must be at least 1 pixel")
        return self


class Component(Settings):
    """A MONAI class by name, with its arguments. Names outside Fedward's tables are refused at ``job check``."""

    name: Name = Field(description="Class name in MONAI, from Fedward's table of those reviewed.")
    args: dict[str, Any] = Field(default_factory=dict, description="Its keyword arguments.")


class Model(Settings):
    network: Name = Field(description="MONAI network by class name, from Fedward's table.")
    args: dict[str, Any] = Field(
        default_factory=dict, description="Its keyword arguments beyond those Fedward derives."
    )
    batch_norm: Literal["refuse", "local", "average"] = Field(
        default="refuse",
        description="BatchNorm: refuse it, keep its parameters and statistics at each site (FedBN), or average them.",
    )


class Training(Settings):
    loss: Component = Field(description="MONAI or torch loss by name.")
    optimizer: Literal["SGD", "Adam", "AdamW"] = Field(description="torch optimizer.")
    lr: float = Field(gt=0, description="Learning rate at the first round.")
    lr_schedule: Literal["constant", "cosine"] = Field(
        default="constant", description="How the learning rate falls over all rounds."
    )
    weight_decay: float = Field(default=0.0, ge=0, description="Weight decay of the optimizer.")
    momentum: float = Field(default=0.9, ge=0, lt=1, description="SGD only.")
    keep_optimizer: bool = Field(default=False, description="A site keeps its optimizer's momenta from round to round.")
    batch_size: int = Field(ge=1, description="Images a step.")
    local_epochs: int | None = Field(default=None, ge=1, description="Passes over the site's training split a round.")
    local_steps: int | None = Field(
        default=None, ge=1, description="Or: optimizer steps a round, the same at each site."
    )
    fedprox_mu: float = Field(
        default=0.0, ge=0, description="Pull towards the global model, mu/2·|w - w_global|² (Li et al. 2020, eq. 2)."
    )
    threads: int = Field(default=0, ge=0, description="CPU threads of a site's trainer; 0 lets torch choose.")

    @model_validator(mode="after")
    def _one_budget(self) -> Self:
        if (self.local_epochs is None) == (self.local_steps is None):
            raise ValueError("give exactly one of local_epochs and local_steps")
        return self


class Transforms(Settings):
    prepare: tuple[Component, ...] = Field(default=(), description="Deterministic MONAI transforms, cached once.")
    augment: tuple[Component, ...] = Field(default=(), description="Random MONAI transforms, for training only.")


class JobSpec(Settings):
    """One federated job, as data: what ``jobs/<name>/job.toml`` says and all that travels to a site."""

    job: JobHeader
    federation: Rounds
    data: Data
    model: Model
    training: Training
    transforms: Transforms = Transforms()

    @model_validator(mode="after")
    def _task_fits_data(self) -> Self:
        data = self.data
        if self.job.task == "segmentation":
            if not data.structures:
                raise ValueError("a segmentation job needs data.structures")
            if data.labels:
                raise ValueError("data.labels is for classification; a segmentation job names data.structures")
            return self
        if data.structures:
            raise ValueError("data.structures is for segmentation; a classification job names data.labels")
        if data.target == "multilabel":
            if len(data.labels) < 2:
                raise ValueError("target multilabel needs two data.labels or more")
        elif len(data.labels) != 1:
            raise ValueError(f"target {data.target} needs exactly one of data.labels")
        if (data.target == "multiclass") != bool(data.classes):
            raise ValueError("data.classes goes with target multiclass, and only with it")
        if data.target == "multiclass" and len(data.classes) < 3:
            raise ValueError("target multiclass needs three data.classes or more")
        return self

    @property
    def outputs(self) -> int:
        """Channels that the network puts out: one a class, a label, or a structure and background."""
        if self.job.task == "segmentation":
            return len(self.data.structures) + 1
        return {"binary": 1, "multiclass": len(self.data.classes), "multilabel": len(self.data.labels)}[
            self.data.target
        ]


# ---------------------------------------------------------------- a hospital


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


class SitePolicy(Settings):
    """A hospital's ``site.toml``: its own word on its own data."""

    site: SiteId = Field(description="The hospital's id, the same as in its certificate.")
    key: Path = Field(description="File with the site's secret key for pseudonyms and splits; made on first use.")
    cohorts: dict[Name, CohortPolicy] = Field(description="Cohorts by the name that jobs ask for.")


# ---------------------------------------------------------------- a federation


class Person(Settings):
    email: Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$")] = Field(description="Sign-in name.")
    organisation: Name = Field(description="Organisation the person belongs to.")
    role: Literal["project_admin", "org_admin", "lead", "member"] = Field(description="FLARE role.")


class Hospital(Settings):
    site: SiteId = Field(description="The hospital's id.")
    organisation: Name = Field(description="Organisation name in its certificate.")


class Server(Settings):
    host: str = Field(
        description="Name that hospitals connect to, as in its certificate; 'localhost' listens on loopback only."
    )
    port: int = Field(ge=1, le=65_535, description="The one outside port.")
    organisation: Name = Field(description="Organisation that runs the server.")


class FederationSpec(Settings):
    """``provisioning/federation.yml``: one line a hospital."""

    name: Name = Field(description="The federation's name.")
    server: Server
    hospitals: tuple[Hospital, ...] = Field(min_length=1)
    people: tuple[Person, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _unique(self) -> Self:
        for what, ids in (
            ("hospital", [h.site for h in self.hospitals]),
            ("person", [p.email for p in self.people]),
        ):
            twice = sorted({i for i in ids if ids.count(i) > 1})
            if twice:
                raise ValueError(f"{what} listed twice: {', '.join(twice)}")
        return self


# ---------------------------------------------------------------- reading

JOB_FILE = "job.json"
"""A job's settings as they travel."""

Model_ = TypeVar("Model_", bound=Settings)


def parse(model: type[Model_], content: dict[str, Any], *, where: str | Path) -> Model_:
    """Check plain data against ``model``; every fault in one ``SettingsError`` line that names file, key and value."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise SettingsError(_faults(error), where=where, remedy="correct the file") from None


def read_job(folder: Path) -> JobSpec:
    """Read ``job.toml`` from a job's folder (or the file itself)."""
    path = folder if folder.suffix == ".toml" else folder / "job.toml"
    return parse(JobSpec, _toml(path), where=path)


def read_site(path: Path) -> SitePolicy:
    """Read a ``site.toml``; its relative paths become absolute, from the folder it stands in."""
    policy = parse(SitePolicy, _toml(path), where=path)
    base = path.resolve().parent
    cohorts = {
        name: cohort.model_copy(
            update={
                field: base / value
                for field in ("images", "index", "labels", "masks")
                if (value := getattr(cohort, field)) is not None
            }
        )
        for name, cohort in policy.cohorts.items()
    }
    return policy.model_copy(update={"key": base / policy.key, "cohorts": cohorts})


def read_federation(path: Path) -> FederationSpec:
    """Read a ``federation.yml``."""
    try:
        content = yaml.safe_load(_text(path))
    except yaml.YAMLError as error:
        raise SettingsError(f"not YAML, {error}", where=path, remedy="correct the file") from None
    return parse(FederationSpec, content if isinstance(content, dict) else {}, where=path)


def plain(settings: Settings) -> dict[str, Any]:
    """The settings as JSON-ready data, the inverse of ``parse``."""
    content: dict[str, Any] = json.loads(settings.model_dump_json())
    return content


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise SettingsError(str(reason), where=path, remedy="give the path of a file that can be read") from None


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(_text(path))
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"not TOML, {error}", where=path, remedy="correct the file") from None


def _faults(error: ValidationError) -> str:
    faults = []
    for fault in error.errors(include_url=False):
        key = ".".join(str(part) for part in fault["loc"])
        message = fault["msg"].removeprefix("Value error, ")
        shown = "" if fault["type"] == "missing" or isinstance(fault["input"], dict) else f" (found {fault['input']!r})"
        faults.append(f"{key}: {message}{shown}" if key else message)
    return " | ".join(faults)
