"""What a job asks for, and what a hospital insists on, so that a patient stays hidden. The stricter of the two holds.

Nothing here has a lenient default: a job says that it asks for no protection, and a hospital says that it asks for
none. Combinations that make no sense are named by ``fedward.privacy.policy.linter``, all of them at once.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from fedward.settings.base import Settings

Epsilon = Annotated[float, Field(gt=0.0)]
Delta = Annotated[float, Field(gt=0.0, lt=1.0)]
Norm = Annotated[float, Field(gt=0.0)]
JobHash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Mechanism = Literal["none", "dp-sgd", "update-noise"]


class DpSgd(Settings):
    """``[privacy.dp_sgd]``: gradients clipped and noised for each patient (Abadi et al. 2016, alg. 1, by patient)."""

    epsilon: Epsilon | None = Field(
        default=None, description="Wanted ε of the whole job at each site; the noise follows from it."
    )
    noise_multiplier: Norm | None = Field(
        default=None, description="Or: noise's standard deviation over clip_norm_l2; ε follows from it."
    )
    delta: Delta = Field(description="δ; refused above 1/(10 · training patients).")
    clip_norm_l2: Norm = Field(description="Bound on one patient's gradient, L2 norm over all parameters.")
    patients_per_step: float = Field(gt=0.0, description="Patients expected in a step; each is drawn independently.")
    images_per_patient: int = Field(default=1, ge=1, description="Images of a drawn patient used in a step.")
    augmentations: int = Field(
        default=1, ge=1, description="Augmented copies of each image, averaged before clipping (De et al. 2022, 3.1)."
    )
    ema_decay: Annotated[float, Field(gt=0.0, lt=1.0)] | None = Field(
        default=None, description="Send the moving average of the round's weights instead of the last ones."
    )

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if (self.epsilon is None) == (self.noise_multiplier is None):
            raise ValueError("give exactly one of epsilon and noise_multiplier")
        return self


class UpdateProtection(Settings):
    """``[privacy.update]``: what the hospital's door does to a whole update before it leaves."""

    clip: Literal["global", "per-layer"] = Field(
        default="global", description="Bound the norm of the whole update, or each tensor's share of it."
    )
    clip_norm_l2: Norm = Field(description="Bound on the update's L2 norm.")
    noise_multiplier: float = Field(
        default=0.0, ge=0.0, description="Noise's standard deviation over clip_norm_l2; 0: clipped only."
    )
    delta: Delta | None = Field(default=None, description="δ, where there is noise.")
    filters: tuple[Literal["SVTPrivacy", "PercentilePrivacy"], ...] = Field(
        default=(), description="FLARE's filters, applied before the clip. Not differential privacy."
    )


class JobPrivacy(Settings):
    """``[privacy]`` of a job."""

    mechanism: Mechanism = Field(
        description="'dp-sgd': for each patient, in training; 'update-noise': on the update; 'none': no guarantee."
    )
    dp_sgd: DpSgd | None = Field(default=None, description="With mechanism dp-sgd.")
    update: UpdateProtection | None = Field(default=None, description="Clip, and noise, of the whole update.")

    @model_validator(mode="after")
    def _tables_fit(self) -> Self:
        if (self.mechanism == "dp-sgd") != (self.dp_sgd is not None):
            raise ValueError("mechanism dp-sgd goes with a [privacy.dp_sgd] table, and only with it")
        if self.mechanism == "update-noise" and self.update is None:
            raise ValueError("mechanism update-noise needs a [privacy.update] table")
        return self

    @property
    def delta(self) -> float | None:
        """δ of the mechanism in force, or None."""
        if self.dp_sgd is not None:
            return self.dp_sgd.delta
        return None if self.update is None else self.update.delta


class CohortPrivacy(Settings):
    """``[cohorts.<name>.privacy]``: what a job must keep to when it trains on this cohort."""

    dp: Literal["required", "not-required"] = Field(
        description="Whether a job without differential privacy may train on this cohort."
    )
    epsilon_cap: Epsilon | None = Field(
        default=None,
        description="Most ε that any patient may spend, over all jobs ever; with dp required it must be given.",
    )
    delta: Delta | None = Field(
        default=None, description="δ at which ε is counted; a job's own may be smaller, not larger."
    )
    max_clip_norm_l2: Norm | None = Field(
        default=None, description="Largest clip a job may ask for, in training or of the update."
    )
    min_noise_multiplier: Norm | None = Field(default=None, description="Smallest noise multiplier a job may use.")
    update_clip_norm_l2: Norm | None = Field(
        default=None, description="Clip every update of every job to this L2 norm, whatever the job asks."
    )
    encryption: Literal["required", "not-required"] = Field(
        description="Whether an update may leave that the server can read."
    )

    @model_validator(mode="after")
    def _cap_with_delta(self) -> Self:
        if (self.epsilon_cap is None) != (self.delta is None):
            raise ValueError("epsilon_cap and delta go together")
        if self.dp == "required" and self.epsilon_cap is None:
            raise ValueError("dp required needs epsilon_cap and delta")
        return self


class Disclosure(Settings):
    """``[disclosure]``: which numbers may leave this hospital, and how coarse."""

    metrics: tuple[str, ...] = Field(
        description="Names of metrics that may leave; see `fedward.privacy.disclosure.release`."
    )
    decimals: int = Field(ge=0, le=6, description="Decimals that a metric is rounded to.")
    min_count: int = Field(
        ge=1, description="What rests on fewer patients than this is suppressed; see the privacy officer's page."
    )
