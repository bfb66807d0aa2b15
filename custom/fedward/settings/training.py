"""Define how each hospital trains in a job: ``[training]`` and ``[transforms]``."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from fedward.settings.base import Flag, Settings
from fedward.settings.names import Name

Share = Annotated[float, Field(gt=0.0, lt=1.0)]


class Component(Settings):
    """A MONAI class by name, with its arguments. ``job check`` refuses names outside Fedward's tables."""

    name: Name = Field(description="Class name in MONAI, from Fedward's table of reviewed classes.")
    args: dict[str, Any] = Field(default_factory=dict, description="Its keyword arguments.")


class Training(Settings):
    loss: Component = Field(description="MONAI or torch loss by name.")
    optimizer: Literal["SGD", "Adam", "AdamW"] = Field(description="torch optimizer.")
    lr: float = Field(gt=0, description="Learning rate at the first round.")
    lr_schedule: Literal["constant", "cosine", "step"] = Field(
        default="constant", description="Schedule of the learning rate over all rounds; step: see lr_steps."
    )
    lr_steps: tuple[Share, ...] = Field(
        default=(),
        description="step only: shares of all rounds after each of which the rate is multiplied by lr_factor.",
    )
    lr_factor: float = Field(default=0.1, gt=0, lt=1, description="step only.")
    warmup: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(
        default=0.0, description="Share of all rounds in which the rate rises to lr, in a straight line, step by step."
    )
    weight_decay: float = Field(default=0.0, ge=0, description="Weight decay of the optimizer.")
    momentum: float = Field(default=0.9, ge=0, lt=1, description="SGD only.")
    keep_optimizer: Flag = Field(default=False, description="A site keeps its optimizer's momenta from round to round.")
    batch_size: int = Field(ge=1, description="Images in a step.")
    balanced: Flag = Field(
        default=False,
        description="Draw as many images of each class, or with and without the structures, as of the others; images "
        "of the smaller group come more often. Not under dp-sgd, whose draws are by patient.",
    )
    local_epochs: int | None = Field(
        default=None, ge=1, description="Passes over the site's training split in a round."
    )
    local_steps: int | None = Field(
        default=None, ge=1, description="Or: optimizer steps in a round, the same at each site."
    )
    fedprox_mu: float = Field(
        default=0.0, ge=0, description="Penalty towards the global model, mu/2·|w - w_global|² (Li et al. 2020, eq. 2)."
    )
    mixed_precision: Flag = Field(
        default=False, description="On a GPU: compute the network in bfloat16 (torch.autocast). Not under dp-sgd."
    )
    threads: int = Field(default=0, ge=0, description="CPU threads of a site's trainer; with 0 torch chooses.")

    @model_validator(mode="after")
    def _one_budget(self) -> Self:
        if (self.local_epochs is None) == (self.local_steps is None):
            raise ValueError("give exactly one of local_epochs and local_steps")
        return self

    @model_validator(mode="after")
    def _steps_go_with_their_schedule(self) -> Self:
        if (self.lr_schedule == "step") != bool(self.lr_steps):
            raise ValueError('lr_steps goes with lr_schedule = "step", and only with it')
        if list(self.lr_steps) != sorted(set(self.lr_steps)):
            raise ValueError("lr_steps are shares of all rounds in rising order, each once")
        return self


class Transforms(Settings):
    prepare: tuple[Component, ...] = Field(default=(), description="Deterministic MONAI transforms, cached once.")
    augment: tuple[Component, ...] = Field(default=(), description="Random MONAI transforms, for training only.")
