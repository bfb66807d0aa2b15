"""Define a federated job as data: ``jobs/<name>/job.toml``."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from fedward.measures import Measure, measure_of
from fedward.settings.base import Flag, Fraction, Settings, form
from fedward.settings.data import Data
from fedward.settings.encryption import JobEncryption
from fedward.settings.model import Model
from fedward.settings.names import Name, SiteId
from fedward.settings.privacy import JobPrivacy
from fedward.settings.training import Training, Transforms
from fedward.settings.transport import Transport


class JobHeader(Settings):
    name: Name = Field(description="The job's name; also its folder's.")
    task: Literal["classification", "segmentation"] = Field(description="Task that the network learns.")
    description: str = Field(default="", description="One line for people who approve jobs.")
    seed: int = Field(default=0, ge=0, description="Seed of initial weights, batch order and augmentation.")


class Rounds(Settings):
    rounds: int = Field(ge=1, le=10_000, description="Number of rounds.")
    min_sites: int = Field(ge=1, description="Smallest number of sites that must send updates for a round to count.")
    must_include: tuple[SiteId, ...] = Field(
        default=(),
        description="Hospitals that must all send an update for a round to count; the server waits for them.",
    )
    min_patients: int | None = Field(
        default=None,
        ge=1,
        description="Smallest number of training patients at sites that say it, for a round to count.",
    )
    round_timeout_s: float = Field(gt=0, description="Seconds after which a round continues without the missing sites.")
    grace_s: float = Field(
        default=600.0,
        ge=0,
        description="Seconds to wait, over the whole job, for a missing site once min_sites, must_include and "
        "min_patients are met; an answer that counts gives it all of them back.",
    )
    stragglers: Literal["wait", "cut", "fewer_steps"] = Field(
        default="cut",
        description="A site that is late: wait for it until round_timeout_s; or, after three late rounds in a row, "
        "do not ask it to train, so that it spends no more; or ask it for fewer local steps (Wang et al. 2020).",
    )
    weighting: Literal["patients", "equal"] = Field(
        default="patients", description="Weight of a site in the mean: its training patients, or the same for all."
    )
    aggregation: Literal["mean", "median", "fedadam", "byzsecagg", "grouped-median"] = Field(
        default="mean",
        description="Aggregation of the updates: weighted mean, median of each value (Yin et al. 2018), "
        "or a step of Adam on the mean (Reddi et al. 2021). An encrypted job has the mean; a masked one may have the "
        "mean of the updates nearest to each other (byzsecagg, after Jahani-Nezhad et al. 2025), or the median of the "
        "means of random groups (grouped-median).",
    )
    max_malicious: int | None = Field(
        default=None,
        ge=1,
        le=100,
        description="byzsecagg and grouped-median: largest number of hospitals that send false updates. If absent, as "
        "many as min_sites bear, and 1 at least.",
    )
    max_update_norm_ratio: float = Field(
        default=10.0,
        gt=1,
        description="Unencrypted jobs: an update longer than so many usual ones does not count (Sun et al. 2019).",
    )
    server_lr: float = Field(default=0.01, gt=0, description="fedadam only: learning rate of the server's step.")
    select: Literal["last", "best"] = Field(
        default="last", description="Final model: of the last round, or the best by the sites' mean validation score."
    )
    validate_every: int = Field(
        default=1, ge=1, description="A site scores the model in every so many rounds, from the first, and at the end."
    )
    local_baseline: Flag = Field(
        default=True,
        description="Each site also trains a model alone, with as many passes, for the comparison in the report.",
    )
    resume: Literal["auto", "never"] = Field(
        default="auto",
        description="When the server's process ends early: the job goes on from its last whole round, or it fails.",
    )

    @model_validator(mode="after")
    def _named_once(self) -> Self:
        twice = sorted({site for site in self.must_include if self.must_include.count(site) > 1})
        if twice:
            raise ValueError(f"must_include lists a hospital twice: {', '.join(twice)}")
        return self

    def validates(self, number: int) -> bool:
        """Return whether sites score the model that round ``number``, from 0, starts from."""
        return number % self.validate_every == 0


class Parent(Settings):
    """``[parent]``: the finished job that this one goes on from, as `fedward job continue` writes it.

    A lineage for people, and the number from which rounds are counted on. It weakens nothing: the job is a run of its
    own, with its own approvals, keys and draws of noise, and is charged for all of its rounds.
    """

    job_hash: Annotated[str, form(r"[0-9a-f]{64}", "is no hash of a job")] = Field(
        description="Hash of the job before, which its hospitals approved."
    )
    model_sha256: Annotated[str, form(r"[0-9a-f]{64}", "is no hash of a model")] = Field(
        description="SHA-256 of its final model's file."
    )
    rounds: int = Field(
        ge=1, le=10_000, description="Rounds before this job; draws and learning rates go on from there."
    )


class Acceptance(Settings):
    """Threshold of the consortium for each hospital's own result."""

    threshold: Fraction = Field(
        description="Smallest result for a hospital to reach: AUC of a classification job, Dice of a segmentation job."
    )


class JobSpec(Settings):
    """One federated job as data: the content of ``jobs/<name>/job.toml``, and all that travels to a site."""

    job: JobHeader
    federation: Rounds
    data: Data
    model: Model
    training: Training
    transforms: Transforms = Transforms()
    privacy: JobPrivacy
    acceptance: Acceptance | None = Field(
        default=None, description="Without it no result is compared with a threshold; each hospital judges for itself."
    )
    encryption: JobEncryption | None = Field(
        default=None, description="Without it every update leaves unencrypted, and the server can read it."
    )
    transport: Transport | None = Field(
        default=None, description="Slowest line that the job is planned for; without it FLARE's own time-outs hold."
    )
    parent: Parent | None = Field(default=None, description="Without it the job begins, and goes on from no other.")

    @model_validator(mode="after")
    def _task_fits_data(self) -> Self:
        data = self.data
        if self.job.task == "segmentation":
            if not data.structures or data.labels:
                raise ValueError("a segmentation job names data.structures, and no data.labels")
            return self
        if data.patches is not None:
            raise ValueError("data.patches is for segmentation: one patch does not show an image's label; leave it out")
        if data.structures:
            raise ValueError("data.structures is for segmentation; a classification job names data.labels")
        if data.target == "multilabel":
            if len(data.labels) < 2:
                raise ValueError("target multilabel needs two data.labels or more")
        elif len(data.labels) != 1:
            written = f"data.labels names {len(data.labels)}" if data.labels else "data.labels is missing"
            raise ValueError(f'{written}; target {data.target} needs one, such as labels = ["tb"]')
        if (data.target == "multiclass") != bool(data.classes):
            raise ValueError("data.classes goes with target multiclass, and only with it")
        if data.target == "multiclass" and len(data.classes) < 3:
            raise ValueError("target multiclass needs three data.classes or more")
        return self

    @model_validator(mode="after")
    def _draws_fit_privacy(self) -> Self:
        if self.training.balanced and self.privacy.dp_sgd is not None:
            raise ValueError("training.balanced draws images, and dp-sgd draws patients with one probability each")
        if self.training.mixed_precision and self.privacy.dp_sgd is not None:
            raise ValueError("training.mixed_precision rounds each gradient, and dp-sgd bounds and adds them exactly")
        return self

    @model_validator(mode="after")
    def _round_fits_line(self) -> Self:
        line, limit = self.transport, self.federation.round_timeout_s
        if line is not None and 2 * line.transfer_s > limit:
            raise ValueError(
                f"at {line.mbit_s:g} Mbit/s a message of {line.message_mb:g} MB takes {line.transfer_s:.0f} s, and a "
                f"round has two; federation.round_timeout_s is {limit:g}"
            )
        return self

    @model_validator(mode="after")
    def _goes_on_from_a_model(self) -> Self:
        if self.parent is not None and self.model.start is None:
            raise ValueError("a job with a parent starts from its model: give model.start and start_sha256")
        return self

    @property
    def first_round(self) -> int:
        """Rounds before this job's own, in the jobs that it goes on from."""
        return 0 if self.parent is None else self.parent.rounds

    @property
    def is_masked(self) -> bool:
        """True if the job's sums have masks, and its hospitals need no key before it."""
        return self.encryption is not None and self.encryption.scheme == "masked"

    def done(self, rounds: int, part: float = 0.0) -> float:
        """Return the fraction of all rounds, those of the jobs before included, that is done.

        Args:
            rounds: whole rounds of this job.
            part: fraction of the next one.
        """
        return (self.first_round + rounds + part) / (self.first_round + self.federation.rounds)

    @property
    def noises_sum(self) -> bool:
        """True if hospitals add shares of a noise for the sum of their gradients, and each makes the model's steps."""
        return self.privacy.dp_sgd is not None and self.privacy.dp_sgd.noise == "sum"

    @property
    def has_sparse_graph(self) -> bool:
        """True if hospitals mask with some of the others only, and draw them in the run."""
        return self.encryption is not None and self.encryption.graph != "complete"

    @property
    def measure(self) -> Measure:
        """Measure by which the job is judged."""
        return measure_of(self.job.task)

    @property
    def names(self) -> tuple[str, ...]:
        """Labels, classes and structures: all names that a score of this job may be about."""
        return (*self.data.labels, *self.data.classes, *self.data.structures)

    @property
    def scored_names(self) -> tuple[str, ...]:
        """Labels or classes that an image has a score for; none for a segmentation."""
        if self.job.task == "segmentation":
            return ()
        return self.data.classes if self.data.target == "multiclass" else self.data.labels

    @property
    def exclusive(self) -> bool:
        """True if the names are classes, and each image has one of them."""
        return self.job.task == "classification" and self.data.target == "multiclass"

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the network's output channels, in order."""
        if self.job.task == "segmentation":
            return ("background", *self.data.structures)
        return self.data.classes if self.data.target == "multiclass" else self.data.labels

    @property
    def outputs(self) -> int:
        """Output channels of the network: one for each class or label, or for each structure and for background."""
        if self.job.task == "segmentation":
            return len(self.data.structures) + 1
        return {"binary": 1, "multiclass": len(self.data.classes), "multilabel": len(self.data.labels)}[
            self.data.target
        ]
