"""Say what a model is worth, apart from how its training ended: verdicts on its scores, the bad ones first.

A run in which every round counted may leave a model that predicts nothing. Each verdict compares scores of the same
patients, and says what to try. A score that is withheld or was not measured takes part in none. Plain Python: the
dashboard's process imports it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from fedward.measures import TITLES, Measure

Kind = Literal["useless", "worsened", "below-alone", "below-pooled", "unmeasured", "joining", "sound"]
NOTHING = 0.05
"""Dice below which a model predicts next to nothing."""
CHANCE = 0.5
"""AUC of a coin."""
MARGIN = 0.05
"""Difference of two scores that is told; smaller ones may be the seed's."""
ALIKE = 0.01
"""Difference of two scores that says nothing by itself."""
_SHOWN = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteScores:
    """Scores of one site, all on its own validation patients; higher is better, None is not measured.

    Attributes:
        site: its id.
        value, low, high: the model, and the ends of its 95 % interval.
        suppressed: True if the value is withheld for too few patients.
        history: rounds that the model had been through -> its value then.
        alone: model that the site trained alone; under differential privacy at the same ε.
        alone_without_noise: model that it trained alone without noise.
        pooled: model trained on all sites' images in one place; under differential privacy at the same ε.
    """

    site: str
    value: float | None
    low: float | None = None
    high: float | None = None
    suppressed: bool = False
    history: Mapping[int, float | None] = field(default_factory=dict)
    alone: float | None = None
    alone_without_noise: float | None = None
    pooled: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelScores:
    """Scores of one model.

    Attributes:
        measure: what the scores are.
        private: True if it was trained with differential privacy.
        sites: one entry for each site that took part.
        apart: over all sites' images together, the model's score less that of one trained on all of them in one place.
    """

    measure: Measure
    private: bool
    sites: Sequence[SiteScores]
    apart: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVerdict:
    """One sentence on the model.

    Attributes:
        kind: what was compared.
        good: False for a reason not to use the model as it is.
        words: sentence with the scores and the sites.
        advice: what to try; "" for a good verdict.
    """

    kind: Kind
    good: bool
    words: str
    advice: str = ""


_Known = tuple[SiteScores, float]
"""Site, and its value."""


def model_worth(scores: ModelScores) -> tuple[ModelVerdict, ...]:
    """Return the verdicts on a model, the bad ones first; at least one."""
    known = _known(scores)
    if not known:
        return (_unmeasured(scores),)
    found = [
        *_useless(scores, known),
        *_worsened(scores, known),
        *_joining(scores, known),
        *_below_pooled(scores, known),
    ]
    return tuple(sorted(found, key=lambda one: one.good)) or (_sound(scores, known),)


def _known(scores: ModelScores) -> list[_Known]:
    return [(site, site.value) for site in scores.sites if site.value is not None]


def _unmeasured(scores: ModelScores) -> ModelVerdict:
    few, every = sum(site.suppressed for site in scores.sites), len(scores.sites)
    why = f"{few} of {every} hospitals have too few validation patients" if few else "no hospital reported a score"
    advice = "hold out more patients (validation_fraction in site.toml), or release scores (disclosure.metrics)"
    return ModelVerdict(kind="unmeasured", good=False, words=f"Nobody measured the model: {why}.", advice=advice)


def _useless(scores: ModelScores, known: Sequence[_Known]) -> Iterator[ModelVerdict]:
    if scores.measure == "dice":
        bad = [(site, value) for site, value in known if value < NOTHING]
        what = "The model predicts next to nothing"
        advice = (
            "training.balanced = true or data.patches where few images show the structure, a loss that weighs it "
            "(DiceCELoss with batch = true, TverskyLoss), a lower learning rate, more rounds"
        )
    else:
        bad = [(site, value) for site, value in known if _maybe_chance(site, value)]
        what = "The model is not shown to be better than chance"
        advice = "check the labels, hold out more patients, train more rounds"
    if bad:
        shown = _named([(site, f"{TITLES[scores.measure]} {_interval(site, value)}") for site, value in bad])
        words = f"{what} at {_share(bad, scores)}: {shown}."
        yield ModelVerdict(
            kind="useless", good=False, words=words, advice=f"{advice}; see whether the training loss falls"
        )


def _maybe_chance(site: SiteScores, value: float) -> bool:
    """True if the interval holds 0.5; without one, if the value is within ``MARGIN`` of it or below."""
    return site.low <= CHANCE if site.low is not None else value <= CHANCE + MARGIN


def _worsened(scores: ModelScores, known: Sequence[_Known]) -> Iterator[ModelVerdict]:
    """The model was better after an earlier round, by more than ``MARGIN``."""
    told = []
    for site, value in known:
        before = [(one, number) for number, one in site.history.items() if one is not None and number]
        best, number = max(before, default=(0.0, 0))
        if best - value > MARGIN:
            told.append((site, f"{best:.3f} after round {number}, {value:.3f} now"))
    if told:
        words = f"The model was better before, at {_share(told, scores)}: {_named(told)}."
        advice = 'federation.select = "best", a lower learning rate, training.lr_schedule = "cosine", or fewer rounds'
        yield ModelVerdict(kind="worsened", good=False, words=words, advice=advice)


def _joining(scores: ModelScores, known: Sequence[_Known]) -> Iterator[ModelVerdict]:
    pairs = [(site, value, site.alone) for site, value in known if site.alone is not None]
    if not pairs:
        return
    how = "alone at the same ε" if scores.private else "alone"
    less = [(site, f"{alone:.3f} against {value:.3f}") for site, value, alone in pairs if value <= alone]
    gains = [value - alone for _, value, alone in pairs]
    if min(gains) < -ALIKE or max(gains) <= ALIKE:
        words = f"Joining did not pay everywhere: {how}, {_named(less or _gained(pairs))} did as well or better."
        apart = "training.fedprox_mu, model.batch_norm = 'local', fewer local steps and more rounds"
        advice = "more hospitals, or a larger ε" if scores.private else apart
        yield ModelVerdict(kind="below-alone", good=False, words=words, advice=advice)
        return
    more = [gain for gain in gains if gain > 0]
    every = "every hospital" if len(more) == len(scores.sites) else f"{len(more)} of {len(scores.sites)} hospitals"
    span = f"{min(more):.3f}" + (f" to {max(more):.3f}" if len(more) > 1 else "")
    words = f"Joining paid at {every}: {span} above {how}"
    if less:
        words += f"; {_named(less)} did as well without"
    beside = _beside_pooled(scores) + _beside_no_noise(scores, known)
    yield ModelVerdict(kind="joining", good=True, words=f"{words}{beside}.")


def _gained(pairs: Sequence[tuple[SiteScores, float, float]]) -> list[tuple[SiteScores, str]]:
    return [(site, f"{alone:.3f} against {value:.3f}") for site, value, alone in pairs]


def _below_pooled(scores: ModelScores, known: Sequence[_Known]) -> Iterator[ModelVerdict]:
    """A model that was trained on all images in one place is better, by more than ``MARGIN``."""
    told = [
        (site, f"{site.pooled:.3f} against {value:.3f}")
        for site, value in known
        if site.pooled is not None and site.pooled - value > MARGIN
    ]
    if told:
        how = "in one place at the same ε" if scores.private else "in one place"
        words = f"Training on all images {how} is better, at {_share(told, scores)}: {_named(told)}."
        apart = "fewer local steps and more rounds, training.fedprox_mu, or federation.aggregation = 'fedadam'"
        advice = "more rounds" if scores.private else apart
        yield ModelVerdict(kind="below-pooled", good=False, words=words, advice=advice)


def _sound(scores: ModelScores, known: Sequence[_Known]) -> ModelVerdict:
    site, value = min(known, key=lambda one: one[1])
    words = f"The lowest {TITLES[scores.measure]} of {len(known)} hospitals is {_interval(site, value)}, at {site.site}"
    return ModelVerdict(kind="sound", good=True, words=f"{words}; no other model was measured beside it.")


def _beside_no_noise(scores: ModelScores, known: Sequence[_Known]) -> str:
    """Return at how many hospitals a model trained alone without noise is better, which no one else may have."""
    pairs = [(value, site.alone_without_noise) for site, value in known if site.alone_without_noise is not None]
    better = sum(alone > value for value, alone in pairs)
    if not scores.private or not better:
        return ""
    return f"; alone without noise, {better} of {len(pairs)} would do better for themselves"


def _beside_pooled(scores: ModelScores) -> str:
    """Return how far the model is from one of all images, unless a bad verdict of its own says that."""
    pairs = [(one.pooled, one.value) for one in scores.sites if one.pooled is not None and one.value is not None]
    told = any(pooled - value > MARGIN for pooled, value in pairs)
    if scores.apart is None or told:
        return ""
    side = "above" if scores.apart > 0 else "below"
    return f"; over all images together {abs(scores.apart):.3f} {side} training on all in one place"


def _interval(site: SiteScores, value: float) -> str:
    """Format a value with its 95 % interval, where it has one."""
    ends = "" if site.low is None or site.high is None else f" (95 % interval {site.low:.2f} to {site.high:.2f})"
    return f"{value:.3f}{ends}"


def _share(some: Sequence[object], scores: ModelScores) -> str:
    count, every = len(some), len(scores.sites)
    return "every hospital" if count == every and every > 1 else f"{count} of {every} hospitals"


def _named(told: Sequence[tuple[SiteScores, str]]) -> str:
    """Name the sites with their values, a few of them."""
    ordered = sorted(told, key=lambda one: one[0].site)
    names = [f"{site.site} ({values})" for site, values in ordered[:_SHOWN]]
    more = len(ordered) - _SHOWN
    return ", ".join([*names, f"and {more} more"] if more > 0 else names)
