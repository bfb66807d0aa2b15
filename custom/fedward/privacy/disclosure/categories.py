"""Define the categories that divide metrics: ages, sexes, makers, grey values, rates, bins."""

from __future__ import annotations

from collections.abc import Mapping

AGES = (*(f"{decade}-{decade + 9}" for decade in range(0, 90, 10)), "90 and above", "unknown")
"""Years of age in cohort statistics."""


SEXES = ("F", "M", "O", "unknown")
"""PatientSex (0010,0040) in cohort statistics."""


INTENSITIES = tuple(f"{low / 4:+.2f}" for low in range(-16, 16))
"""Lower edges of the grey values of a standardised image, in its standard deviations; the outer bins are open."""


AGE_BANDS = ("0-19", "20-39", "40-59", "60-79", "80 and above", "unknown")
"""Years of age in subgroups."""


MAKERS = (
    *("Agfa", "Canon", "Carestream", "Fujifilm", "GE", "Hologic", "Konica Minolta", "Philips", "Samsung"),
    *("Shimadzu", "Siemens", "Toshiba", "other", "several", "unknown"),
)
"""Makers of scanners, as ``fedward.validation.subgroups.maker_of`` reads them from Manufacturer (0008,0070); a patient
with images of scanners by more than one maker has "several", so that each patient is in one part."""


DIMENSIONS: Mapping[str, tuple[str, ...]] = {"sex": SEXES, "age": AGE_BANDS, "maker": MAKERS}
"""Dimension of subgroups -> its values."""


FALSE_POSITIVE_RATES = tuple(f"{k / 20:.2f}" for k in range(21))
"""False-positive rates at which a ROC curve is disclosed."""


RELIABILITY_BINS = tuple(f"{k / 10:.1f}" for k in range(10))
"""Lower edges of the scores of a reliability table."""
