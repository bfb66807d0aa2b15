"""What each hospital brought to a demo's model: coalition models made again from the updates of one training.

Training once for each of 2^n coalitions is out of reach. So the federation trains once, and each coalition's model is
made again from the updates that its members sent: it goes the same rounds with theirs alone (Song, Tong, Wei 2019,
Profit Allocation for Federated Learning, IEEE Big Data, one-round reconstruction). Its value is the mean
over all sites, members or not, of the job's measure on their validation patients. It is an approximation: a member
would have trained otherwise from the coalition's own model.

Only a demo can do this. In a real federation with encryption nobody holds a hospital's update, and 2^n models would
have to be scored by every hospital; there it takes the hospitals' consent and their own evaluation. A value read off
scores says nothing of a hospital's worth elsewhere: a hospital of rare patients brings what no mean shows.
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
    """What a hospital brought, in units of the job's measure (AUC or Dice), averaged over the hospitals.

    Attributes:
        leave_one_out: what the model loses without it.
        shapley: its share of what the whole federation gained over the untrained model; the shares add up to that.
    """

    leave_one_out: float
    shapley: float


def contributions(
    job: JobSpec, cohorts: Mapping[str, Manifest], *, follow: Follow | None = None
) -> dict[str, Contribution]:
    """Train once in this process and share out what the model reaches; site -> what it brought.

    Trains every site as the job asks and scores 2^n models at each of n sites.

    Args:
        job: the job; the last round's model is valued, whatever ``federation.select`` says.
        cohorts: site -> its images; a site that cannot take part is left out.
        follow: sees every step of the training.

    Raises:
        CohortError: fewer than two sites can take part, or the measure cannot be had at one.
        FedwardError: more sites than ``fedward.validation.comparison.contribution`` values exactly.
        JobError: as ``fedward.demo.simulate.run_rounds``.
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
    """The model of every coalition, grown round by round from the updates that its members sent.

    Args:
        job: whose aggregation each coalition's server does, with a memory of its own.
        sites: all of them; 2^n models are held.
    """

    def __init__(self, job: JobSpec, sites: list[str]) -> None:
        from fedward.training.networks import initial_weights

        initial = initial_weights(job)
        self._models: dict[frozenset[str], Weights] = dict.fromkeys(coalitions(sites), initial)
        self._steps = {coalition: ServerStep(job) for coalition in self._models if coalition}

    def add(self, updates: Updates) -> None:
        """Let every coalition make its step of a round: of its own members' updates, if any came."""
        for coalition, step in self._steps.items():
            own = {site: update for site, update in updates.items() if site in coalition}
            if own:
                self._models[coalition] = add(self._models[coalition], step.difference(own))

    def of(self, coalition: frozenset[str]) -> Weights:
        """A coalition's model; nobody's is the untrained one."""
        return self._models[coalition]


def cached(value: Value) -> Value:
    """The same value, worked out once for each coalition."""
    known: dict[frozenset[str], float] = {}

    def once(coalition: frozenset[str]) -> float:
        if coalition not in known:
            known[coalition] = value(coalition)
        return known[coalition]

    return once


def mean_score(job: JobSpec, sites: Mapping[str, Trainer], weights: Weights) -> float:
    """The mean over sites of the job's measure on their validation patients.

    Raises:
        CohortError: a site at which it cannot be had.
    """
    found = {site: quick_score(job, trainer, weights) for site, trainer in sites.items()}
    for site, value in found.items():
        if value is None:
            remedy = "leave the site out, or give it validation patients of both kinds"
            raise CohortError(f"{job.measure} cannot be had on its validation patients", where=site, remedy=remedy)
    return fmean(value for value in found.values() if value is not None)


def quick_score(job: JobSpec, trainer: Trainer, weights: Weights) -> float | None:
    """The measure without its interval, which nobody reads here."""
    if job.job.task == "segmentation":
        value: float | None = trainer.validate(weights).plain()["dice"]
        return value
    from fedward.training.details import by_name
    from fedward.validation.ranking import auroc

    labels, scores = by_name(job, trainer.predict(weights))
    areas = [auroc(labels[name], scores[name]) for name in labels]
    return None if None in areas else fmean(area for area in areas if area is not None)
