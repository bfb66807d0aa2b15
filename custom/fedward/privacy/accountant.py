"""Compute a patient's ε from the events of all jobs: composed by PLD, with PRV as the cross-check.

Events are kept and composed, never their ε: the same job done five times costs less than five times its ε.

An event's noise multiplier is over the bound on what one patient changes: the clip norm under DP-SGD, twice the clip
norm for noise on an update (``update_noise_event``). The noise that is added is whole numbers, as many times larger as
rounding enlarges that bound (``fedward.privacy.grid``), and its ε is that of the Gaussian mechanism or less
(``fedward.privacy.rounded_normal``).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from fedward.errors import JobError

if TYPE_CHECKING:
    from dp_accounting.pld.privacy_loss_distribution import PrivacyLossDistribution

Key = tuple[tuple[float, float, int], ...]
"""Sorted (sampling_rate, noise_multiplier, steps); equal mechanisms are merged."""

_WHERE = "privacy accounting"
_LEAST_MULTIPLIER = 0.05
"""Smallest multiplier that counts as noise; below it ε would be in the hundreds, and costly to compute."""
_MOST_MULTIPLIER = 1e6
_FINEST, _FIRST = 1e-4, 1e-2
"""Discretisation of the privacy loss: the finest, which is dp-accounting's default, and the first that is tried."""
_STEP = 5e-4
"""Relative width at which the search for a noise multiplier ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """The same release, ``steps`` times: patients drawn by Poisson sampling, a clipped sum, Gaussian noise.

    Two hospitals' data are neighbours when one has one patient more (add or remove one). ``noise_multiplier`` is the
    noise's standard deviation over the bound to which a patient's part is clipped; 0 is no protection, and ε is then
    infinite.
    """

    unit: Literal["patient"] = "patient"
    sampling_rate: float
    noise_multiplier: float
    steps: int

    def __post_init__(self) -> None:
        if self.unit != "patient":
            raise JobError("events are for patients alone", where=_WHERE, value=self.unit, remedy=_SET)
        if not 0.0 < self.sampling_rate <= 1.0:
            raise JobError("sampling rate must be in (0, 1]", where=_WHERE, value=self.sampling_rate, remedy=_SET)
        if not (math.isfinite(self.noise_multiplier) and self.noise_multiplier >= 0.0):
            raise JobError("noise multiplier must be >= 0", where=_WHERE, value=self.noise_multiplier, remedy=_SET)
        if isinstance(self.steps, bool) or not isinstance(self.steps, int) or self.steps < 0:
            raise JobError("steps must be a whole number >= 0", where=_WHERE, value=self.steps, remedy=_SET)


def update_noise_event(multiplier: float, *, rounds: int) -> Event:
    """Return the event of a whole update that is clipped and noised each round.

    One patient may move the clipped update anywhere in the ball. So the bound is twice the clip norm, and the event's
    multiplier is half of the job's.

    Args:
        multiplier: the noise's standard deviation over the clip norm.
        rounds: number of updates released.
    """
    return Event(sampling_rate=1.0, noise_multiplier=multiplier / 2.0, steps=rounds)


def epsilon(events: Iterable[Event], *, delta: float) -> float:
    """Compute the ε of all events together, at ``delta``; this result is the authority.

    Privacy loss distributions of dp-accounting (Koskela et al. 2020; connect-the-dots, Doroshenko et al. 2022), add or
    remove one patient. Every discretisation errs on the side of a larger ε; it is refined until the error costs less
    than a thousandth. The order of events does not matter.

    Returns:
        0.0 for no step; infinity for a step whose noise is below 0.05 times the sensitivity.

    Raises:
        JobError: delta is not within (0, 1).
    """
    key = _key(events)
    _require_delta(delta)
    return _epsilon(key, delta)


def epsilon_prv(events: Iterable[Event], *, delta: float) -> float:
    """Compute the same ε by Opacus's PRV accountant (Gopi, Lee and Wutschitz 2021): a cross-check, not the authority.

    The accountant does not accept a sampling rate of 1, so 1 is counted as 1 - 1e-9.

    Raises:
        JobError: delta is not within (0, 1).
    """
    key = _key(events)
    _require_delta(delta)
    if not _protected(key):
        return math.inf
    if not key:
        return 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PRV warns about its RDP bound, which only sizes a grid.
        from opacus.accountants import PRVAccountant

        accountant = PRVAccountant()
        accountant.history = [(noise, min(rate, 1.0 - 1e-9), steps) for rate, noise, steps in key]
        return _at_least_zero(float(accountant.get_epsilon(delta)))


def noise_for(*, epsilon: float, delta: float, sampling_rate: float, steps: int, before: Sequence[Event] = ()) -> float:
    """Find the smallest noise multiplier, to 1e-3 upwards, that keeps ``before`` and the job within ``epsilon``.

    Guarantee: ``epsilon([*before, job], delta=delta) <= epsilon`` holds for the returned value.

    Args:
        epsilon: target, > 0.
        steps: steps of the job, >= 1.
        before: earlier events of the same patients.

    Raises:
        JobError: an argument is out of range, or no noise is enough because ``before`` has spent the whole ε.
    """
    if not (math.isfinite(epsilon) and epsilon > 0):
        raise JobError("wanted epsilon must be > 0", where=_WHERE, value=epsilon, remedy=_SET)
    if steps < 1:
        raise JobError("a job has at least one step", where=_WHERE, value=steps, remedy=_SET)
    _require_delta(delta)

    def within(noise: float, interval: float | None) -> bool:
        key = _key([*before, Event(sampling_rate=sampling_rate, noise_multiplier=noise, steps=steps)])
        return (_epsilon(key, delta) if interval is None else _at(key, delta, interval)) <= epsilon

    coarse = min(_FIRST, max(_FINEST, epsilon * 1e-3))
    fine = min(_FIRST, max(_FINEST, epsilon * 1e-4))
    low, high = _bracket(lambda noise: within(noise, coarse))
    low, high = _bisect(lambda noise: within(noise, coarse), low, high, ratio=1.01)
    low *= 0.99  # A coarse ε errs upwards: the smallest noise may be lower.
    while low > _LEAST_MULTIPLIER and within(low, fine):
        low, high = low * 0.98, low
    _, high = _bisect(lambda noise: within(noise, fine), max(low, _LEAST_MULTIPLIER), high, ratio=1.0 + _STEP)
    found = _round_up(high)
    while not within(found, None):
        found = _round_up(found * (1.0 + _STEP))
    return found


def largest_delta(patients: int) -> float:
    """Return 1 / (10 · patients). With 1 / patients, publishing one patient drawn at random would pass as private.

    Raises:
        JobError: there is no patient.
    """
    if patients < 1:
        raise JobError("there is no patient to protect", where=_WHERE, value=patients, remedy="give training patients")
    return 1.0 / (10.0 * patients)


def check_delta(delta: float, *, patients: int, where: str) -> None:
    """Refuse a δ that is too large for this number of patients.

    Raises:
        JobError: names ``where``, δ and the largest allowed.
    """
    _require_delta(delta)
    most = largest_delta(patients)
    if delta > most:
        remedy = f"give at most {most:.3g}, which is 1/(10 · {patients} patients)"
        raise JobError("delta is too large", where=where, value=delta, remedy=remedy)


def _require_delta(delta: float) -> None:
    if not 0.0 < delta < 1.0:
        raise JobError("delta must be within (0, 1)", where=_WHERE, value=delta, remedy=_SET)


def _key(events: Iterable[Event]) -> Key:
    """Merge the events of equal mechanisms."""
    merged: dict[tuple[float, float], int] = {}
    for event in events:
        if event.steps:
            kind = (float(event.sampling_rate), float(event.noise_multiplier))
            merged[kind] = merged.get(kind, 0) + event.steps
    return tuple((rate, noise, steps) for (rate, noise), steps in sorted(merged.items()))


def _protected(key: Key) -> bool:
    return all(noise >= _LEAST_MULTIPLIER for _, noise, _ in key)


@lru_cache(maxsize=4096)
def _epsilon(key: Key, delta: float) -> float:
    interval = _FIRST
    while True:
        found = _at(key, delta, interval)
        if not math.isfinite(found):
            return found
        wanted = max(_FINEST, 10.0 ** math.ceil(math.log10(max(_FINEST, found * 5e-6))))
        if interval <= wanted * 1.5:
            return found
        interval = wanted


def _at(key: Key, delta: float, interval: float) -> float:
    """Compute ε with one discretisation, made coarser where the loss spans more than a million of its intervals."""
    if not _protected(key):
        return math.inf
    if not key:
        return 0.0
    span = sum(steps * min(noise**-2, rate**2 * math.expm1(noise**-2)) for rate, noise, steps in key)
    interval = max(interval, span * 1e-6)
    composed = _loss(*key[0], interval)
    for event in key[1:]:
        composed = composed.compose(_loss(*event, interval))
    return _at_least_zero(float(composed.get_epsilon_for_delta(delta)))


def _at_least_zero(found: float) -> float:
    """Return at least 0; NaN counts as no protection (infinity), since it would compare as if within every cap."""
    return math.inf if math.isnan(found) else max(0.0, found)


@lru_cache(maxsize=16)
def _loss(rate: float, noise: float, steps: int, interval: float) -> PrivacyLossDistribution:
    from dp_accounting.pld import privacy_loss_distribution as pld

    one: Any = pld.from_gaussian_mechanism(noise, value_discretization_interval=interval, sampling_prob=rate)
    return one.self_compose(steps)


def _bracket(enough: Callable[[float], bool]) -> tuple[float, float]:
    """Return a multiplier that is not enough, or the least allowed, and one that is enough, a factor 2 apart."""
    high = 1.0
    while not enough(high):
        high *= 2.0
        if high > _MOST_MULTIPLIER:
            raise JobError("no noise keeps epsilon within what is wanted", where=_WHERE, remedy=_SPENT)
    while high / 2.0 > _LEAST_MULTIPLIER and enough(high / 2.0):
        high /= 2.0
    return max(_LEAST_MULTIPLIER, high / 2.0), high


def _bisect(enough: Callable[[float], bool], low: float, high: float, *, ratio: float) -> tuple[float, float]:
    while high > low * ratio:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if enough(middle) else (middle, high)
    return low, high


def _round_up(value: float) -> float:
    """Round up to five significant digits."""
    digits = 4 - math.floor(math.log10(value))
    scaled = math.ceil(value * 10.0**digits)
    return float(f"{scaled}e{-digits}")


_SET = "correct the job's [privacy] table"
_SPENT = "ask for a larger epsilon or use a cohort with more of it left"
