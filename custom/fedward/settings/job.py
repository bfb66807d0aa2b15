"""A federated job, as data: what ``jobs/<name>/job.toml`` says."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from fedward.settings.base import Fraction, Name, Settings, SiteId
from fedward.settings.encryption import JobEncryption
from fedward.settings.privacy import JobPrivacy


class JobHeader(Settings):
    name: Name = Field(description="The job's name; also its folder's.")
    task: Literal["classification", "segmentation"] = Field(description="What the network is to learn.")
    description: str = Field(default="", description="One line for people who approve jobs.")
    seed: int = Field(default=0, ge=0, description="Seed of initial weights, batch order and augmentation.")


class Rounds(Settings):
    rounds: int = Field(ge=1, le=10_000, description="How many times the model goes round.")
    min_sites: int = Field(ge=1, description="Fewest sites whose updates make a round count.")
    must_include: tuple[SiteId, ...] = Field(
        default=(), description="Hospitals without each of which no round counts; they are waited for."
    )
    min_patients: int | None = Field(
        default=None,
        ge=1,
        description="Fewest training patients that make a round count, over the sites in it that say how many.",
    )
    round_timeout_s: float = Field(gt=0, description="Seconds after which a round goes on without the missing sites.")
    grace_s: float = Field(
        default=600.0,
        ge=0,
        description="Seconds to wait for the rest once min_sites, must_include and min_patients are met.",
    )
    weighting: Literal["patients", "equal"] = Field(
        default="patients",
        description="What a site counts for in the mean: its training patients, or as much as any other.",
    )
    aggregation: Literal["mean", "median", "fedadam"] = Field(
        default="mean",
        description="What the server makes of the updates: their weighted mean, each value's median (Yin et al. 2018), "
        "or a step of Adam on the mean (Reddi et al. 2021). An encrypted job can only have the mean.",
    )
    server_lr: float = Field(default=0.01, gt=0, description="fedadam only: learning rate of the server's step.")
    select: Literal["last", "best"] = Field(
        default="last",
        description="The final model: the last round's, or the best by the sites' mean validation score.",
    )
    local_baseline: bool = Field(
        default=True, description="Each site also trains alone, same passes over its data, for the report's comparison."
    )

    @model_validator(mode="after")
    def _named_once(self) -> Self:
        twice = sorted({site for site in self.must_include if self.must_include.count(site) > 1})
        if twice:
            raise ValueError(f"must_include lists a hospital twice: {', '.join(twice)}")
        return self


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


class Acceptance(Settings):
    """What the consortium holds a hospital's own result to."""

    threshold: Fraction = Field(
        description="What a hospital's own result must reach: AUC of a classification job, Dice of a segmentation job."
    )


class JobSpec(Settings):
    """One federated job, as data: what ``jobs/<name>/job.toml`` says and all that travels to a site."""

    job: JobHeader
    federation: Rounds
    data: Data
    model: Model
    training: Training
    transforms: Transforms = Transforms()
    privacy: JobPrivacy
    acceptance: Acceptance | None = Field(
        default=None, description="Without it no result is held to a threshold; a hospital judges for itself."
    )
    encryption: JobEncryption | None = Field(
        default=None, description="Without it every update leaves in the clear, to be read by the server."
    )

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
    def measure(self) -> Literal["auc", "dice"]:
        """What the job is judged by."""
        return "dice" if self.job.task == "segmentation" else "auc"

    @property
    def names(self) -> tuple[str, ...]:
        """Labels, classes and structures: whatever a score of this job may be about."""
        return (*self.data.labels, *self.data.classes, *self.data.structures)

    @property
    def scored_names(self) -> tuple[str, ...]:
        """Labels or classes, for each of which an image has a score; none of a segmentation."""
        if self.job.task == "segmentation":
            return ()
        return self.data.classes if self.data.target == "multiclass" else self.data.labels

    @property
    def exclusive(self) -> bool:
        """Whether the names are classes, of which each image has one."""
        return self.job.task == "classification" and self.data.target == "multiclass"

    @property
    def outputs(self) -> int:
        """Channels that the network puts out: one a class, a label, or a structure and background."""
        if self.job.task == "segmentation":
            return len(self.data.structures) + 1
        return {"binary": 1, "multiclass": len(self.data.classes), "multilabel": len(self.data.labels)}[
            self.data.target
        ]
