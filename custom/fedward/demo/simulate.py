"""Simulate a federation in one process: train the sites in turn, then take the weighted mean, round after round.

This is the arithmetic of the real federation, with its privacy, but without messages, ledger and gates: no ledger is
charged. It is for measurements on images of one machine, never for a hospital's own images.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fedward.aggregation.best import Candidate, better, candidate
from fedward.aggregation.fedavg import site_weight
from fedward.aggregation.step import ServerStep
from fedward.dataset.manifest import Manifest
from fedward.errors import CohortError, JobError
from fedward.privacy.noise import SecureRandom
from fedward.privacy.outgoing import protect
from fedward.privacy.policy.agreement import Agreement, own_terms
from fedward.settings import JobSpec
from fedward.weights import Weights, add, difference

if TYPE_CHECKING:
    from fedward.training.dp_sgd.dp_sgd import Private
    from fedward.training.trainer import Progress, Trainer
    from fedward.validation.scores import Scores

Follow = Callable[[int, str, "Progress"], None]
"""Called with round, site and that site's progress after each step; an exception from it stops the federation."""
Updates = Mapping[str, tuple[Weights, float]]
"""Site -> the protected difference that left it, and the weight of the site."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated:
    """Result of a simulated federation.

    Attributes:
        weights: final model, chosen by ``federation.select``.
        rounds: model after each round.
        scores: site -> scores of the final model on the site's validation patients.
        history: the same after each round; empty unless it was asked for.
    """

    weights: Weights
    rounds: tuple[Weights, ...]
    scores: Mapping[str, Scores]
    history: tuple[Mapping[str, Scores], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedSite:
    """Site that can take part.

    Attributes:
        manifest: images of the site.
        patients: number of its training patients.
        private: noise that it plans for itself; None without DP-SGD.
    """

    manifest: Manifest
    patients: int
    private: Private | None


def simulate(
    job: JobSpec, parts: Mapping[str, SimulatedSite], *, follow: Follow | None = None, score_rounds: bool = False
) -> Simulated:
    """Run the whole federation over the sites of ``take_part`` and score its model at each.

    Args:
        job: the job.
        parts: the sites.
        follow: called at every step.
        score_rounds: also score the model of each round. The result is the same to the last bit.

    Raises:
        CohortError: no site.
        JobError: the job cannot be built, or a loss is no longer finite.
    """
    if not parts:
        raise CohortError("no site can take part", remedy="look at each one's reason")
    sites = trainers(job, parts)
    history: list[Mapping[str, Scores]] = []

    def score(weights: Weights) -> None:
        if score_rounds:
            history.append(_scores(sites, weights))

    if job.noises_sum:
        from fedward.demo.simulate_sum import run_sum

        weights, rounds = run_sum(job, sites, on_step=_stepper(follow))
        for each in rounds:
            score(each)
    else:
        weights, rounds = run_rounds(job, sites, follow=follow, on_round=score)
    return Simulated(weights=weights, rounds=rounds, scores=_scores(sites, weights), history=tuple(history))


def run_pooled(
    job: JobSpec, parts: Mapping[str, SimulatedSite], *, on_step: Callable[[int, str], None] = lambda number, site: None
) -> Weights:
    """Train on all sites' images in one place at the job's ε, and return the model; arguments as for ``run_sum``."""
    from fedward.demo.simulate_sum import run_sum
    from fedward.training.trainer import Trainer

    private = next(part.private for part in parts.values())
    everyone = Trainer(job, [part.manifest for part in parts.values()], site="pooled", private=private)
    return run_sum(job, {"pooled": everyone}, on_step=on_step)[0]


def take_part(job: JobSpec, cohorts: Mapping[str, Manifest]) -> tuple[dict[str, SimulatedSite], dict[str, str]]:
    """Return the sites that can take part, and the reason of each other one: its cohort, or the cost of its ε."""
    from fedward.dataset.selection import select

    parts: dict[str, SimulatedSite] = {}
    aside: dict[str, str] = {}
    for site, manifest in cohorts.items():
        try:
            patients = len(select(job, [manifest], site=site).train_patients)
            parts[site] = SimulatedSite(
                manifest=manifest, patients=patients, private=_private(job, patients, site=site)
            )
        except (CohortError, JobError) as error:
            aside[site] = str(error)
    return parts, aside


def trainers(job: JobSpec, parts: Mapping[str, SimulatedSite]) -> dict[str, Trainer]:
    """Return a fresh trainer for each site.

    Raises:
        JobError: the job cannot be built.
    """
    from fedward.training.trainer import Trainer

    return {site: Trainer(job, [part.manifest], site=site, private=part.private) for site, part in parts.items()}


def run_rounds(
    job: JobSpec,
    sites: Mapping[str, Trainer],
    *,
    follow: Follow | None = None,
    on_updates: Callable[[Updates], None] = lambda updates: None,
    on_round: Callable[[Weights], None] = lambda weights: None,
) -> tuple[Weights, tuple[Weights, ...]]:
    """Average the sites' protected differences; return the final model, and the model after each round.

    Args:
        job: the job.
        sites: from ``trainers``.
        follow: called at every step.
        on_updates: called with each round's updates, before the server's step.
        on_round: called with the model after each round.

    Raises:
        JobError: the job's privacy settings have a fault, it requires FLARE's filters, or a loss is no longer finite.
    """
    from fedward.training.networks import initial_weights

    terms = own_terms(job)
    if terms.filters:
        remedy = "leave them out; they are not differential privacy"
        raise JobError("FLARE's filters run in a federation alone", where="privacy.update.filters", remedy=remedy)
    weights, rounds, best, step = initial_weights(job), [], None, ServerStep(job)
    for number in range(job.federation.rounds):
        best = _better(best, job, sites, weights, after=number)
        updates = {}
        for site, trainer in sites.items():
            trained = trainer.train(weights, round_number=number, on_progress=_reporter(follow, number, site))
            count = site_weight(job.federation.weighting, patients=trained.patients)
            updates[site] = (_left(difference(trained.weights, weights), terms), count)
        on_updates(updates)
        weights = add(weights, step.difference(updates))
        rounds.append(weights)
        on_round(weights)
    best = _better(best, job, sites, weights, after=job.federation.rounds)
    return (weights if best is None else best.model), tuple(rounds)


def _scores(sites: Mapping[str, Trainer], weights: Weights) -> dict[str, Scores]:
    return {site: trainer.validate(weights) for site, trainer in sites.items()}


def _private(job: JobSpec, patients: int, *, site: str) -> Private | None:
    """Return the noise that a site plans for itself; None without DP-SGD."""
    if job.privacy.mechanism == "none":
        return None
    from fedward.privacy.budget_plan import plan_site, steps_a_round
    from fedward.training.dp_sgd.dp_sgd import Private

    plan = plan_site(job, site=site, patients=patients, steps_a_round=steps_a_round(job, patients=patients))
    if job.privacy.mechanism == "update-noise":
        return None
    return Private(sampling_rate=plan.sampling_rate, noise_multiplier=plan.noise_multiplier)


def _left(update: Weights, terms: Agreement) -> Weights:
    """Return an update as it would leave a hospital."""
    return protect(update, terms, source=SecureRandom() if terms.mechanism == "update-noise" else None)


def _stepper(follow: Follow | None) -> Callable[[int, str], None]:
    """Return a function that reports a site's part of a step, which is all of its round."""
    from fedward.training.results import Progress

    def step(number: int, site: str) -> None:
        if follow is not None:
            follow(number, site, Progress(step=1, steps=1, loss=math.nan))

    return step


def _reporter(follow: Follow | None, number: int, site: str) -> Callable[[Progress], None] | None:
    return None if follow is None else lambda progress: follow(number, site, progress)


def _better(
    best: Candidate[Weights] | None, job: JobSpec, sites: Mapping[str, Trainer], weights: Weights, *, after: int
) -> Candidate[Weights] | None:
    """Return the better of two models if the job selects the best one; None if it selects the last."""
    if job.federation.select == "last":
        return None
    values = [trainer.validate(weights).plain()[job.measure] for trainer in sites.values()]
    return better(best, candidate(weights, values, after=after))
