"""Measure each hospital's contribution to a demo's model: rebuild coalition models from the updates of one training.

Training once for each of 2^n coalitions is too expensive. So the federation trains once, and each coalition's model is
rebuilt from the updates that its members sent: it takes the same rounds with their updates alone (Song, Tong, Wei 2019,
Profit Allocation for Federated Learning, IEEE Big Data, one-round reconstruction). Its value is the mean over all
sites, members or not, of the job's measure on their validation patients. It is an approximation: starting from the
coalition's own model, a member would have trained differently.

Only a demo can do this. In a real federation with encryption no party has a hospital's update, and every hospital would
have to score 2^n models; there it needs the hospitals' consent and their own evaluation. A value computed from scores
does not measure a hospital's worth in general: a hospital with rare patients contributes more than a mean shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from fedward.aggregation.step import ServerStep
from fedward.dataset.manifest import Manifest
from fedward.demo.simulate import Follow, Updates, run_rounds, take_part, trainers
from fedward.errors import CohortError
from fedward.settings import JobSpec
from fedward.validation.comparison.contribution import Value, coalitions, leave_one_out, require_few, shapley
from fedward.weights import Weights, add

if TYPE_CHECKING:
    from fedward.training.trainer import Trainer


@dataclass(frozen=True, slots=True, kw_only=True)
class Contribution:
    """Contribution of a hospital, in units of the job's measure (AUC or Dice), averaged over the hospitals.

    Attributes:
        leave_one_out: loss of the model without it.
        shapley: share in the gain of the whole federation over the untrained model; the shares add up to that gain.
    """

    leave_one_out: float
    shapley: float


def contributions(
    job: JobSpec, cohorts: Mapping[str, Manifest], *, follow: Follow | None = None
) -> dict[str, Contribution]:
    """Train once in this process and divide the model's result among the sites; return site -> contribution.

    Trains every site with the job's settings and scores 2^n models at each of n sites.

    Args:
        job: the job; the last round's model is valued; ``federation.select`` is ignored.
        cohorts: site -> its images; a site that cannot take part is left out.
        follow: called at every step of the training.

    Raises:
        CohortError: fewer than two sites can take part, or the measure is not available at one of them.
        FedwardError: more sites than ``fedward.validation.comparison.contribution`` can value exactly.
        JobError: as in ``fedward.demo.simulate.run_rounds``.
    """
    parts, _ = take_part(job, cohorts)
    if len(parts) < 2:
        remedy = "it takes two that can take part"
        raise CohortError("one site alone has no contribution to compare", value=len(parts), remedy=remedy)
    require_few(sorted(parts))
    sites = trainers(job, parts)
    models = CoalitionModels(job, sorted(sites))
    run_rounds(
        job.model_copy(update={"federation": job.federation.model_copy(update={"select": "last"})}),
        sites,
        follow=follow,
        on_updates=models.add,
    )
    value = cached(lambda coalition: mean_score(job, sites, models.of(coalition)))
    missed, shares = leave_one_out(sites, value), shapley(sites, value)
    return {site: Contribution(leave_one_out=missed[site], shapley=shares[site]) for site in sorted(sites)}


class CoalitionModels:
    """Models of all coalitions, updated round by round with the updates that their members sent.

    Args:
        job: job whose aggregation each coalition's server does, each with a separate state.
        sites: all sites; 2^n models are kept.
    """

    def __init__(self, job: JobSpec, sites: list[str]) -> None:
        from fedward.training.networks import initial_weights

        initial = initial_weights(job)
        self._models: dict[frozenset[str], Weights] = dict.fromkeys(coalitions(sites), initial)
        self._steps = {coalition: ServerStep(job) for coalition in self._models if coalition}

    def add(self, updates: Updates) -> None:
        """Take one round's step for every coalition, with its members' updates, if there are any."""
        for coalition, step in self._steps.items():
            own = {site: update for site, update in updates.items() if site in coalition}
            if own:
                self._models[coalition] = add(self._models[coalition], step.difference(own))

    def of(self, coalition: frozenset[str]) -> Weights:
        """Return a coalition's model; the empty coalition has the untrained one."""
        return self._models[coalition]


def cached(value: Value) -> Value:
    """Return the same value function, computed once for each coalition."""
    known: dict[frozenset[str], float] = {}

    def once(coalition: frozenset[str]) -> float:
        if coalition not in known:
            known[coalition] = value(coalition)
        return known[coalition]

    return once


def mean_score(job: JobSpec, sites: Mapping[str, Trainer], weights: Weights) -> float:
    """Return the mean over sites of the job's measure on their validation patients.

    Raises:
        CohortError: a site where it is not available.
    """
    found = {site: quick_score(job, trainer, weights) for site, trainer in sites.items()}
    for site, value in found.items():
        if value is None:
            remedy = "leave the site out, or give it validation patients of both kinds"
            raise CohortError(f"{job.measure} cannot be had on its validation patients", where=site, remedy=remedy)
    return fmean(value for value in found.values() if value is not None)


def quick_score(job: JobSpec, trainer: Trainer, weights: Weights) -> float | None:
    """Return the measure without its interval, which is not used here."""
    if job.job.task == "segmentation":
        value: float | None = trainer.validate(weights).plain()["dice"]
        return value
    from fedward.training.scores.details import by_name
    from fedward.validation.ranking import auroc

    labels, scores = by_name(job, trainer.predict(weights))
    areas = [auroc(labels[name], scores[name]) for name in labels]
    return None if None in areas else fmean(area for area in areas if area is not None)
