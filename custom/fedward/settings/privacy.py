"""Define the protection that a job asks for and that a hospital requires. The stricter of the two applies.

No setting here has a lenient default: a job states that it asks for no protection, and a hospital that it requires
none. ``fedward.privacy.policy.linter`` reports combinations that make no sense, all of them at once.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from fedward.settings.base import Flag, Settings, form

Epsilon = Annotated[float, Field(gt=0.0)]
Delta = Annotated[float, Field(gt=0.0, lt=1.0)]
Norm = Annotated[float, Field(gt=0.0)]
JobHash = Annotated[
    str, form(r"[0-9a-f]{64}", "is no job's hash: copy the 64 digits that `fedward job check JOB` prints")
]
Mechanism = Literal["none", "dp-sgd", "update-noise"]


class DpSgd(Settings):
    """``[privacy.dp_sgd]``: gradients clipped and noised for each patient (Abadi et al. 2016, alg. 1, by patient)."""

    epsilon: Epsilon | None = Field(
        default=None, description="Target ε of the whole job at each site; the noise is computed from it."
    )
    noise_multiplier: Norm | None = Field(
        default=None, description="Or: noise's standard deviation over clip_norm_l2; ε is computed from it."
    )
    delta: Delta = Field(description="δ; refused above 1/(10 · training patients).")
    clip_norm_l2: Norm = Field(description="L2 bound on one patient's gradient, over all parameters.")
    noise: Literal["site", "sum"] = Field(
        default="site",
        description="Noise for each hospital's own update, as if it were read; or for the masked sum of all, of which "
        "each hospital adds a share: a round is then one step over all hospitals' patients.",
    )
    patients_per_step: float = Field(
        gt=0.0,
        description="Expected patients in a step, with noise for the sum at all hospitals together; each is drawn "
        "independently.",
    )
    sampling_rate: Annotated[float, Field(gt=0.0, le=1.0)] | None = Field(
        default=None, description="Noise for the sum: probability of each patient, at every hospital, to be drawn."
    )
    max_missing: int | None = Field(
        default=None, ge=0, description="Noise for the sum: hospitals that a round may be without; if absent, none."
    )
    max_colluding: int | None = Field(
        default=None,
        ge=0,
        description="Noise for the sum: hospitals that may tell others what noise they added, and ε holds as stated; "
        "if absent, encryption.max_colluding.",
    )
    images_per_patient: int = Field(default=1, ge=1, description="Images of a drawn patient used in a step.")
    augmentations: int = Field(
        default=1, ge=1, description="Augmented copies of each image, averaged before clipping (De et al. 2022, 3.1)."
    )
    ema_decay: Annotated[float, Field(gt=0.0, lt=1.0)] | None = Field(
        default=None, description="Decay of a moving average of the round's weights, sent instead of the last weights."
    )

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if self.epsilon is None and self.noise_multiplier is None:
            raise ValueError("epsilon and noise_multiplier are both missing: give one")
        if self.epsilon is not None and self.noise_multiplier is not None:
            both = f"epsilon, {self.epsilon:g}, and noise_multiplier, {self.noise_multiplier:g}"
            raise ValueError(f"{both}, are both given, and each follows from the other: give one")
        return self

    @model_validator(mode="after")
    def _noise_fits(self) -> Self:
        if self.noise == "sum":
            if self.sampling_rate is None:
                raise ValueError("noise = 'sum' needs sampling_rate, which all hospitals share")
            return self
        own = [name for name in ("sampling_rate", "max_missing", "max_colluding") if getattr(self, name) is not None]
        if own:
            raise ValueError(f"{own[0]} is for noise = 'sum' alone")
        return self


class UpdateProtection(Settings):
    """``[privacy.update]``: protection that the hospital's gate applies to a whole update before it leaves."""

    clip: Literal["global", "per-layer"] = Field(
        default="global", description="Bound the norm of the whole update, or each tensor's share of it."
    )
    clip_norm_l2: Norm = Field(description="Bound on the update's L2 norm.")
    noise_multiplier: float = Field(
        default=0.0, ge=0.0, description="Noise's standard deviation over clip_norm_l2; 0: clipping only."
    )
    delta: Delta | None = Field(default=None, description="δ, where there is noise.")
    filters: tuple[Literal["SVTPrivacy", "PercentilePrivacy"], ...] = Field(
        default=(), description="FLARE's filters, applied before clipping. They are not differential privacy."
    )


class JobPrivacy(Settings):
    """``[privacy]`` of a job."""

    mechanism: Mechanism = Field(
        description="'dp-sgd': for each patient, in training; 'update-noise': on the update; 'none': no guarantee."
    )
    dp_sgd: DpSgd | None = Field(default=None, description="With mechanism dp-sgd.")
    update: UpdateProtection | None = Field(default=None, description="Clipping, and noise, of the whole update.")

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
    """``[cohorts.<name>.privacy]``: limits for every job that trains on this cohort."""

    dp: Literal["required", "not-required"] = Field(
        description="Differential privacy of the jobs that train on this cohort: required or not."
    )
    epsilon_cap: Epsilon | None = Field(
        default=None,
        description="Largest ε that any patient may spend, over all jobs ever; with dp required it must be given.",
    )
    delta: Delta | None = Field(
        default=None, description="δ at which ε is computed; a job's δ may be smaller, not larger."
    )
    max_clip_norm_l2: Norm | None = Field(
        default=None, description="Largest clip norm that a job may ask for, in training or for the update."
    )
    min_noise_multiplier: Norm | None = Field(default=None, description="Smallest noise multiplier that a job may use.")
    update_clip_norm_l2: Norm | None = Field(
        default=None, description="Clip every update of every job to this L2 norm, whatever the job asks."
    )
    encryption: Literal["required", "not-required"] = Field(
        description="Encryption of every update: required, or the server may read it."
    )
    noise_for_sum: Flag = Field(
        default=False,
        description="Allow jobs whose noise is for the sum of all hospitals: this hospital then adds only its share, "
        "and its patients' ε rests on the others' shares and on the masks.",
    )
    sum_min_sites: int = Field(
        default=3, ge=3, le=256, description="Noise for the sum: smallest number of hospitals that must take part."
    )
    sum_min_colluding: int = Field(
        default=1,
        ge=0,
        description="Noise for the sum: smallest number of hospitals that a job must allow to tell others their noise.",
    )

    @model_validator(mode="after")
    def _cap_with_delta(self) -> Self:
        if (self.epsilon_cap is None) != (self.delta is None):
            raise ValueError("epsilon_cap and delta go together")
        if self.dp == "required" and self.epsilon_cap is None:
            raise ValueError("dp required needs epsilon_cap and delta")
        return self


class Disclosure(Settings):
    """``[disclosure]``: numbers that may leave this hospital, and their rounding."""

    metrics: tuple[str, ...] = Field(
        description="Metrics that may leave, in groups or one by one; docs/reference.md lists them below the settings."
    )
    decimals: int = Field(ge=0, le=6, description="Decimals that a metric is rounded to.")
    min_count: int = Field(
        ge=1,
        description="Minimum count: a number based on fewer patients is suppressed; see the privacy officer's page.",
    )
