"""Rank four possible causes why a model serves one hospital worse than the others, with evidence and remedy.

Every quantity is compared with the other hospitals' in one unit (``fedward.validation.comparison.effect_size``), so
that causes can be ordered. The order is evidence, not proof. Limits:

- Wrong labels cannot be distinguished from patients whose disease the model cannot see: both contradict a confident
  model.
- A model that is confident and wrong on another scanner's images also makes labels look wrong. The grey values then
  differ by more and come first; read the labels' finding again after the images are harmonised.
- Labels swapped in one direction alone change the prevalence too, by as much; re-reading some images decides.
- Grey values are compared after each image is standardised: another brightness or contrast is no finding because the
  network never sees it; another curve (gamma), noise, collimation or position is.
- A hospital that withholds its numbers, or has counts below its minimum count, has no finding there; the evidence
  reports that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

from fedward.validation.comparison.effect_size import Difference, number_distance, shares_distance, strength, together
from fedward.validation.comparison.site_facts import SiteFacts

Cause = Literal["population-shift", "few-patients", "covariate-shift", "label-noise"]

NOTABLE = 0.5
"""Strength from which a cause is worth a check: three times that of chance and usual differences."""
_TOLD = 1.0
"""Distance below which a quantity is as elsewhere: chance and usual differences give as much."""
_RARE = 0.05
"""Mean share of a maker's scanners at the others below which the others count as lacking this maker."""
_AGE_SD_YEARS, _GREY_SD, _NOISE_SD = 20.0, 0.1, 0.25
"""Standard deviations of one patient's or image's part in a difference: of age; of an image's grey values from their
mean over images (Wasserstein); of an estimate of label noise if no label is wrong, times √images."""


@dataclass(frozen=True, slots=True)
class PossibleCause:
    """Possible cause of a difference.

    Attributes:
        cause: its name.
        strength: 0 to 1, comparable between causes: 0 without evidence or without data, NOTABLE at three times the
            effect of chance and usual differences between hospitals.
        evidence: sentences with the numbers, the strongest first, and the facts that are not disclosed.
        remedy: actions to try.
    """

    cause: Cause
    strength: float
    evidence: tuple[str, ...]
    remedy: str


def diagnose(
    site: str, profiles: Mapping[str, Mapping[str, Any]], supports: Mapping[str, Mapping[str, Any]]
) -> tuple[PossibleCause, ...]:
    """Return the four causes for one site, the strongest first.

    Args:
        site: the site to diagnose.
        profiles: site -> disclosed part of ``fedward.validation.profile.site_profile``; a value may be null or absent.
        supports: site -> its ``Support.plain``, likewise.
    """
    names = dict.fromkeys((*profiles, *supports))
    own = SiteFacts(profiles.get(site), supports.get(site))
    others = [SiteFacts(profiles.get(name), supports.get(name)) for name in names if name != site]
    found = [look(own, others) for look in (_population, _few, _covariate, _noise)]
    return tuple(sorted(found, key=lambda one: -one.strength))


def _population(own: SiteFacts, others: Sequence[SiteFacts]) -> PossibleCause:
    asked: list[Difference | str] = [_prevalence(own, others, label) for label in own.labels]
    if not own.labels:
        asked.append(_not_disclosed("how many of its patients are positive"))
    asked += [_women(own, others), _ages(own, others)]
    remedy = (
        "choose the threshold at this site (the ranking may be right where the threshold is not) and read its scores "
        "by subgroup; train with a balanced loss or sampler, or seek more patients like these at other hospitals"
    )
    return _finding("population-shift", asked, remedy)


def _prevalence(own: SiteFacts, others: Sequence[SiteFacts], label: str) -> Difference | str:
    what = f"how many of its validation patients are {label!r}"
    value, n = own.prevalence(label), own.patients
    rest = [other for one in others if (other := one.prevalence(label)) is not None]
    if value is None or n is None or not rest:
        return _missing(what, own=value)
    usual = min(0.98, max(0.02, median(rest)))
    z = number_distance(value, rest, usual=0.05, chance=math.sqrt(usual * (1 - usual) / n))
    message = f"{_percent(value)} of its validation patients are {label!r} where the others have {_percents(rest)}"
    return Difference(z=z, sentence=message)


def _women(own: SiteFacts, others: Sequence[SiteFacts]) -> Difference | str:
    value, n, rest = own.women, own.patients, [other for one in others if (other := one.women) is not None]
    if value is None or n is None or not rest:
        return _missing("the sexes of its patients", own=value)
    z = number_distance(value, rest, usual=0.08, chance=0.5 / math.sqrt(n))
    return Difference(
        z=z, sentence=f"{_percent(value)} of its patients are women where the others have {_percents(rest)}"
    )


def _ages(own: SiteFacts, others: Sequence[SiteFacts]) -> Difference | str:
    value, n, rest = own.ages, own.patients, [other for one in others if (other := one.ages) is not None]
    if value is None or n is None or not rest:
        return _missing("the ages of its patients", own=value)
    z, far, apart = shares_distance(value, rest, width=10.0, usual=4.0, chance=_AGE_SD_YEARS / math.sqrt(n))
    mean, means = _mean_age(value), [_mean_age(other) for other in rest]
    message = (
        f"its patients are {mean:.0f} years old on average where the others' are {_middle(means, '{:.0f}')}; the ages "
        f"lie {far:.1f} years from theirs, theirs up to {apart:.1f} from each other"
    )
    return Difference(z=z, sentence=message)


def _few(own: SiteFacts, others: Sequence[SiteFacts]) -> PossibleCause:
    asked = [
        _size("trains", own.train_patients, [one.train_patients for one in others]),
        _size("is scored", own.patients, [one.patients for one in others]),
    ]
    share, given = own.train_patients, [one.train_patients for one in others]
    known = [count for count in given if count is not None]
    if share is not None and known and len(known) == len(given):
        weight = share / (share + sum(known))
        asked.append(f"weighted by patients it counts for {_percent(weight)} of the model, of {len(given) + 1} sites")
    if own.patients is not None and own.labels:
        asked += [_width(own, label) for label in own.labels[:3]]
    remedy = (
        "read the score with its interval before anything else; index more studies here; let the site count for more "
        '(federation.weighting = "equal"), or let it stay closer to its own data (training.fedprox_mu, more '
        "local_steps, a local fine-tune)"
    )
    return _finding("few-patients", asked, remedy)


def _size(does: str, value: float | None, given: Sequence[float | None]) -> Difference | str:
    rest = [other for other in given if other is not None]
    if value is None or not rest:
        return _missing(f"on how many patients it {does} (it may be fewer than its floor)", own=value)
    logs = [math.log(other) for other in rest]
    z = number_distance(math.log(value), logs, usual=math.log(1.5), chance=0.0, side="below")
    return Difference(
        z=z, sentence=f"it {does} on {value:.0f} patients where the others have {_middle(rest, '{:.0f}')}"
    )


def _width(own: SiteFacts, label: str) -> str:
    """Describe half the 95 % interval of an AUC of 0.85 with this many yes and no (Hanley and McNeil 1982, eq. 1)."""
    share, patients, area = own.prevalence(label), own.patients, 0.85
    if share is None or patients is None or not 0 < share < 1:
        return _not_disclosed(f"how many of its patients are {label!r}")
    yes, no = share * patients, (1 - share) * patients
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    variance = (area * (1 - area) + (yes - 1) * (q1 - area**2) + (no - 1) * (q2 - area**2)) / (yes * no)
    half = 1.96 * math.sqrt(variance)
    return f"with {yes:.0f} of {patients:.0f} patients {label!r} an AUC of 0.85 is known to ±{half:.2f}"


def _covariate(own: SiteFacts, others: Sequence[SiteFacts]) -> PossibleCause:
    remedy = (
        "look at its images beside another hospital's as the network sees them; harmonise the grey values "
        "(transforms.prepare: HistogramNormalized) or train over the range (transforms.augment: RandAdjustContrastd, "
        "RandGaussianNoised); keep BatchNorm at the site (model.batch_norm = local); check photometric interpretation "
        "and windowing at the index"
    )
    return _finding("covariate-shift", [_greys(own, others), _makers(own, others), _spacing(own, others)], remedy)


def _greys(own: SiteFacts, others: Sequence[SiteFacts]) -> Difference | str:
    value, n, rest = own.intensity, own.patients, [other for one in others if (other := one.intensity) is not None]
    if value is None or n is None or not rest:
        return _missing("the grey values of its images", own=value)
    z, far, apart = shares_distance(value, rest, width=0.25, usual=0.02, chance=_GREY_SD / math.sqrt(n))
    theirs = f", theirs up to {apart:.3f} from each other" if len(rest) > 1 else ""
    message = f"the grey values of its standardised images lie {far:.3f} standard deviations from the others'{theirs}"
    return Difference(z=z, sentence=message)


def _makers(own: SiteFacts, others: Sequence[SiteFacts]) -> Difference | str:
    value, rest = own.makers, [other for one in others if (other := one.makers) is not None]
    if value is None or not rest:
        return _missing("the makers of its scanners", own=value)
    share = _foreign(value, rest)
    shares = [_foreign(one, [*rest[:i], *rest[i + 1 :]]) for i, one in enumerate(rest)] if len(rest) > 1 else [0.0]
    z = number_distance(share, shares, usual=0.25, chance=0.0, side="above")
    names = ", ".join(sorted(name for name in value if value[name] > 0 and _foreign({name: 1.0}, rest)))
    which = f" ({names})" if names else ""
    return Difference(z=z, sentence=f"{_percent(share)} of its patients come from makers that the others lack{which}")


def _foreign(makers: Mapping[str, float], rest: Sequence[Mapping[str, float]]) -> float:
    """Return the share of patients whose scanner's maker is rare in the mean of the rest."""
    return sum(v for name, v in makers.items() if sum(one.get(name, 0.0) for one in rest) < _RARE * len(rest))


def _spacing(own: SiteFacts, others: Sequence[SiteFacts]) -> Difference | str:
    value, rest = own.spacing_mm, [other for one in others if (other := one.spacing_mm) is not None]
    if value is None or not rest:
        return _missing("the size of its pixels", own=value)
    z = number_distance(math.log(value), [math.log(other) for other in rest], usual=math.log(1.3), chance=0.0)
    return Difference(
        z=z, sentence=f"its pixels are {value:.3g} mm apart where the others' are {_middle(rest, '{:.3g}')}"
    )


def _noise(own: SiteFacts, others: Sequence[SiteFacts]) -> PossibleCause:
    remedy = "re-read the images whose label the model contradicts most surely, blind to the label"
    value, n, rest = own.label_noise, own.images, [other for one in others if (other := one.label_noise) is not None]
    if value is None or n is None or not rest:
        return _finding("label-noise", [_missing("how many of its labels look wrong", own=value)], remedy)
    z = number_distance(value, rest, usual=0.03, chance=_NOISE_SD / math.sqrt(n), side="above")
    message = (
        f"{_percent(value)} of its validation labels look wrong to the model where the others have {_percents(rest)}"
    )
    remedy = (
        f"re-read the {max(1, round(value * n))} images whose label the model contradicts most surely, blind to the "
        "label; compare how the label came about here (report text, code, reader) with the other hospitals"
    )
    return _finding("label-noise", [Difference(z=z, sentence=message)], remedy)


def _finding(cause: Cause, asked: Sequence[Difference | str], remedy: str) -> PossibleCause:
    known = sorted((one for one in asked if isinstance(one, Difference)), key=lambda one: -one.z)
    told = [one.sentence if one.z >= _TOLD else f"as elsewhere: {one.sentence}" for one in known]
    evidence = (*told, *(one for one in asked if isinstance(one, str)))
    return PossibleCause(cause, strength(together(known, looked_at=len(known))), evidence, remedy)


def _missing(what: str, *, own: object) -> str:
    return _not_disclosed(what) if own is None else f"no other hospital discloses {what.replace('its', 'their')}"


def _not_disclosed(what: str) -> str:
    return f"not disclosed: {what}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _percents(shares: Sequence[float]) -> str:
    return f"{_middle([100 * share for share in shares], '{:.0f}')} %"


def _middle(values: Sequence[float], form: str) -> str:
    """Format the median and, if there are several values, their range."""
    middle = form.format(median(values))
    return middle if len(values) < 2 else f"{middle} ({form.format(min(values))} to {form.format(max(values))})"


def _mean_age(shares: Sequence[float]) -> float:
    return math.fsum(share * (10 * decade + 5) for decade, share in enumerate(shares))
