"""Say what a finished job's model is worth, apart from how the run ended: verdicts on its scores, the bad ones first.

A run in which every round counted may leave a model that predicts nothing. Each verdict compares scores of the same
patients, and says what to try. A score that is withheld or was not measured takes part in none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from fedward.measures import TITLES
from fedward.reporting.data.report import Report, SiteResult
from fedward.reporting.data.score import Score

Kind = Literal["useless", "worsened", "below-alone", "below-pooled", "unmeasured", "joining", "sound"]
NOTHING = 0.05
"""Dice below which a model predicts nothing: two masks that are drawn at random reach more."""
CHANCE = 0.5
"""AUC of a coin."""
MARGIN = 0.05
"""Difference of two scores that is told: that of two runs of one job with other seeds is smaller."""
_SHOWN = 4


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


def verdicts(report: Report) -> tuple[ModelVerdict, ...]:
    """Return the verdicts on a report's model, the bad ones first; at least one."""
    measured = [site for site in report.sites if site.federated.value is not None]
    if not measured:
        return (_unmeasured(report),)
    found = [
        *_useless(report, measured),
        *_worsened(report, measured),
        *_joining(report, measured),
        *_below_pooled(report, measured),
    ]
    return tuple(sorted(found, key=lambda one: one.good)) or (_sound(report, measured),)


def joining(report: Report) -> ModelVerdict | None:
    """Return the verdict on joining: each hospital's federated model beside the one that it trains alone.

    Under differential privacy the latter is trained at the same ε. None: no hospital's own model was measured.
    """
    measured = [site for site in report.sites if site.federated.value is not None]
    return next(_joining(report, measured), None)


def _unmeasured(report: Report) -> ModelVerdict:
    few = sum(site.federated.suppressed for site in report.sites)
    why = f"{few} of {len(report.sites)} have too few validation patients" if few else "no site reported a score"
    advice = "have sites hold out more patients (validation_fraction in site.toml), or ask them to release scores"
    return ModelVerdict(kind="unmeasured", good=False, words=f"Nobody measured the model: {why}.", advice=advice)


def _useless(report: Report, sites: Sequence[SiteResult]) -> Iterator[ModelVerdict]:
    measure = TITLES[report.measure]
    if report.measure == "dice":
        bad = [site for site in sites if _value(site.federated) < NOTHING]
        what = "The model predicts next to nothing"
        advice = (
            "a loss that weighs the structure (DiceCELoss, TverskyLoss), a lower learning rate, more rounds; see "
            "whether the training loss falls"
        )
    else:
        bad = [site for site in sites if _maybe_chance(site.federated)]
        what = "The model is not shown to be better than chance"
        advice = "check the labels, hold out more patients, train more rounds; see whether the training loss falls"
    if bad:
        shown = _named([(site, f"{measure} {_interval(site.federated)}") for site in bad])
        yield ModelVerdict(
            kind="useless", good=False, words=f"{what} at {_share(bad, report)}: {shown}.", advice=advice
        )


def _maybe_chance(score: Score) -> bool:
    """True if the interval holds 0.5; without one, if the value is within ``MARGIN`` of it or below."""
    return score.low <= CHANCE if score.low is not None else _value(score) <= CHANCE + MARGIN


def _worsened(report: Report, sites: Sequence[SiteResult]) -> Iterator[ModelVerdict]:
    """A site's model was better after an earlier round, by more than ``MARGIN``."""
    told = []
    for site in sites:
        known = [(point.value, number) for number, point in enumerate(site.history) if point.value is not None]
        best, number = max(known, default=(0.0, 0))
        if number and best - _value(site.federated) > MARGIN:
            told.append((site, f"{best:.3f} after round {number}, {_value(site.federated):.3f} now"))
    if told:
        words = f"The model was better before, at {_share(told, report)}: {_named(told)}."
        advice = 'federation.select = "best", a lower learning rate, lr_schedule = "cosine", or fewer rounds'
        yield ModelVerdict(kind="worsened", good=False, words=words, advice=advice)


def _joining(report: Report, sites: Sequence[SiteResult]) -> Iterator[ModelVerdict]:
    private = report.privacy != "none"
    own = {site.site: site.private_alone if private else site.local_only for site in sites}
    pairs = [
        (site, _value(site.federated), _value(own[site.site])) for site in sites if own[site.site].value is not None
    ]
    if not pairs:
        return
    how = "alone at the same ε" if private else "alone"
    less = [(site, f"{alone:.3f} against {together:.3f}") for site, together, alone in pairs if together <= alone]
    if less:
        words = f"Joining did not pay everywhere: {how}, {_named(less)} did as well or better."
        advice = (
            "more hospitals or a larger ε"
            if private
            else "training.fedprox_mu, batch_norm 'local', fewer local steps and more rounds; or fine-tune at the site"
        )
        yield ModelVerdict(kind="below-alone", good=False, words=words, advice=advice)
        return
    gains = [together - alone for _, together, alone in pairs]
    every = "every hospital" if len(pairs) == len(report.sites) else f"{len(pairs)} of {len(report.sites)} hospitals"
    words = f"Joining paid at {every}: {min(gains):.3f} to {max(gains):.3f} above {how}"
    yield ModelVerdict(
        kind="joining", good=True, words=f"{words}{_beside_pooled(report)}{_beside_no_noise(report, sites)}."
    )


def _below_pooled(report: Report, sites: Sequence[SiteResult]) -> Iterator[ModelVerdict]:
    """A model that was trained on all images in one place is better, by more than ``MARGIN``."""
    private = report.privacy != "none"
    told = []
    for site in sites:
        pooled = site.pooled_private if private else site.centralised
        if pooled.value is not None and pooled.value - _value(site.federated) > MARGIN:
            told.append((site, f"{pooled.value:.3f} against {_value(site.federated):.3f}"))
    if told:
        how = "in one place at the same ε" if private else "in one place"
        words = f"Training on all images {how} is better, at {_share(told, report)}: {_named(told)}."
        advice = "fewer local steps and more rounds, training.fedprox_mu, aggregation 'fedadam'"
        yield ModelVerdict(kind="below-pooled", good=False, words=words, advice="more rounds" if private else advice)


def _sound(report: Report, sites: Sequence[SiteResult]) -> ModelVerdict:
    low = min(sites, key=lambda site: _value(site.federated))
    words = (
        f"The lowest {TITLES[report.measure]} of {len(sites)} hospitals is {_interval(low.federated)}, at {low.site}"
    )
    return ModelVerdict(kind="sound", good=True, words=f"{words}; nothing was measured beside it.")


def _beside_no_noise(report: Report, sites: Sequence[SiteResult]) -> str:
    """Return at how many hospitals a model trained alone without noise is better, which no one else may have."""
    if report.privacy == "none":
        return ""
    known = [site for site in sites if site.local_only.value is not None]
    better = sum(_value(site.local_only) > _value(site.federated) for site in known)
    return f"; alone without noise, {better} of {len(known)} would do better for themselves" if better else ""


def _beside_pooled(report: Report) -> str:
    """Return how far the federated model is from one that is trained on all images in one place, if both are known."""
    reference = report.pooled_private if report.privacy != "none" else report.centralised_pooled
    if report.pooled.value is None or reference.value is None:
        return ""
    apart = report.pooled.value - reference.value
    side = "above" if apart > 0 else "below"
    return f"; over all images together {abs(apart):.3f} {side} training on all in one place"


def _value(score: Score) -> float:
    if score.value is None:
        raise ValueError("score was not measured")
    return score.value


def _interval(score: Score) -> str:
    """Format a score with its 95 % interval, where it has one."""
    ends = "" if score.low is None or score.high is None else f" (95 % interval {score.low:.2f} to {score.high:.2f})"
    return f"{_value(score):.3f}{ends}"


def _share(some: Sequence[object], report: Report) -> str:
    count, every = len(some), len(report.sites)
    return "every hospital" if count == every and every > 1 else f"{count} of {every} hospitals"


def _named(told: Sequence[tuple[SiteResult, str]]) -> str:
    """Name the sites with their values, a few of them."""
    ordered = sorted(told, key=lambda one: one[0].site)
    names = [f"{site.site} ({values})" for site, values in ordered[:_SHOWN]]
    more = len(ordered) - _SHOWN
    return ", ".join([*names, f"and {more} more"] if more > 0 else names)
