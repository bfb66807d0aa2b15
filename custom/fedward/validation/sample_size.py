"""Compute the number of labelled patients for an interval of a wanted width. Plain arithmetic, no data.

For an area under the ROC curve the variance is Hanley and McNeil's (1982, Radiology 143:29-36, the equation for
SE(W) with Q1 = A/(2 - A) and Q2 = 2A²/(1 + A)); for a mean Dice it is the variance of a mean. Several images of one
patient give less information than the same number of patients: the design effect 1 + (m - 1)·ρ is the factor (Kish
1965, section 5.4; for ROC areas of clustered images Obuchowski 1997, Biometrics 53:567-578). By default ρ is 1, so that
a second image of a patient adds no information: the safe side.

The rule of thumb "100 to 200 cases" is neither a minimum nor a promise; ``rule_of_thumb`` gives the resulting widths.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

from fedward.errors import SettingsError

RULE_OF_THUMB = (100, 200)
"""Labelled patients that a cold start needs by the common rule of thumb."""
LEVEL = 0.95
MOST_PATIENTS = 1_000_000
"""Largest number of patients in an answer; above it, the width cannot be reached."""
FEWEST = 10
"""Smallest number of patients, and of patients of each kind, for which these formulas describe the interval."""
SD_OF_DICE = 0.15
"""Standard deviation of Dice from patient to patient, if it was not measured yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Needed:
    """Number of patients needed for a width.

    Attributes:
        patients: labelled patients; None if more than ``MOST_PATIENTS`` are needed.
        positives: number of them with the finding; None for Dice.
        width: wanted width of the 95 % interval, from its low to its high end.
    """

    patients: int | None
    positives: int | None
    width: float


def auc_variance(auc: float, *, positives: float, negatives: float) -> float:
    """Compute the variance of an area under the ROC curve (Hanley and McNeil 1982).

    Args:
        auc: the expected area, 0 to 1.
        positives, negatives: independent cases of each kind, above 0.
    """
    both_positive, both_negative = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    alone = auc * (1 - auc)
    above = (positives - 1) * (both_positive - auc**2) + (negatives - 1) * (both_negative - auc**2)
    return max(0.0, (alone + above) / (positives * negatives))


def design_effect(images_per_patient: float, *, correlation: float = 1.0) -> float:
    """Return the factor by which more images are needed if each patient has several, 1 + (m - 1)·ρ.

    Args:
        images_per_patient: 1 or more.
        correlation: of two images of one patient, 0 to 1.
    """
    return 1.0 + (images_per_patient - 1.0) * correlation


def auc_width(
    patients: float,
    *,
    auc: float,
    prevalence: float,
    images_per_patient: float = 1.0,
    correlation: float = 1.0,
) -> float:
    """Return the width of the 95 % interval for a number of patients, 2·z·SE; it may reach beyond 0 and 1."""
    cases = patients * images_per_patient / design_effect(images_per_patient, correlation=correlation)
    variance = auc_variance(auc, positives=cases * prevalence, negatives=cases * (1 - prevalence))
    return 2 * _z() * math.sqrt(variance)


def patients_for_auc(
    width: float,
    *,
    auc: float,
    prevalence: float,
    images_per_patient: float = 1.0,
    correlation: float = 1.0,
) -> Needed:
    """Return the fewest labelled patients, ``FEWEST`` of each kind, for a 95 % interval of the area within ``width``.

    Args:
        width: from the low to the high end, above 0.
        auc: expected area, from 0.5 to below 1: a perfect area has no variance here.
        prevalence: share of the patients with the finding, above 0 and below 1.
        images_per_patient: on average.
        correlation: of two images of one patient, 0 to 1.

    Raises:
        SettingsError: a number is out of its range.
    """
    _require("width", width, 0 < width < 1, "give the interval's width, such as 0.1")
    _require("expected AUC", auc, 0.5 <= auc < 1, "give what is expected, from 0.5 to below 1")
    _require("prevalence", prevalence, 0 < prevalence < 1, "it takes patients with and without the finding")

    def enough(patients: int) -> bool:
        if min(patients * prevalence, patients * (1 - prevalence)) < FEWEST:
            return False
        known = {"images_per_patient": images_per_patient, "correlation": correlation}
        return auc_width(patients, auc=auc, prevalence=prevalence, **known) <= width

    if not enough(MOST_PATIENTS):
        return Needed(patients=None, positives=None, width=width)
    low, high = 1, MOST_PATIENTS
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return Needed(patients=low, positives=math.ceil(low * prevalence), width=width)


def patients_for_dice(
    width: float, *, sd: float = SD_OF_DICE, images_per_patient: float = 1.0, correlation: float = 1.0
) -> Needed:
    """Return the fewest labelled patients whose 95 % interval of the mean Dice is at most ``width``: (2·z·sd/width)².

    Args:
        width: from the low to the high end, above 0.
        sd: standard deviation of Dice from image to image, 0 or more.
        images_per_patient, correlation: as for ``patients_for_auc``.

    Raises:
        SettingsError: a number is out of its range.
    """
    _require("width", width, 0 < width < 1, "give the interval's width, such as 0.1")
    _require("standard deviation of Dice", sd, 0 <= sd <= 0.5, "Dice goes from 0 to 1")
    images = (2 * _z() * sd / width) ** 2 * design_effect(images_per_patient, correlation=correlation)
    patients = max(FEWEST, math.ceil(images / images_per_patient - 1e-9))
    return Needed(patients=patients if patients <= MOST_PATIENTS else None, positives=None, width=width)


def dice_width(patients: float, *, sd: float = SD_OF_DICE) -> float:
    """Return the width of the 95 % interval of a mean Dice over a number of patients."""
    return 2 * _z() * sd / math.sqrt(patients)


def rule_of_thumb(*, auc: float, prevalence: float) -> dict[int, float]:
    """Return patients of ``RULE_OF_THUMB`` -> width of their interval at this area and prevalence."""
    return {patients: auc_width(patients, auc=auc, prevalence=prevalence) for patients in RULE_OF_THUMB}


def _z() -> float:
    return NormalDist().inv_cdf((1 + LEVEL) / 2)


def _require(name: str, value: float, holds: bool, remedy: str) -> None:
    if not holds:
        raise SettingsError(f"{name} is out of its range", value=value, remedy=remedy)
