"""Run a job with noise for the sum, and what its hospitals could do instead: alone, noise for each, all in one place.

Every way has as many steps, the same sampling rate and the same ε. Without noise, the first and the last are plain
training; together it is federated averaging of one local step, whoever the noise would be for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from fedward.dataset.manifest import Manifest
from fedward.demo.simulate import SimulatedSite, run_pooled, simulate, take_part, trainers
from fedward.errors import JobError
from fedward.reporting.sweep.sweep import ALONE, EACH, POOLED
from fedward.settings import JobSpec, changed_job, plain

if TYPE_CHECKING:
    from fedward.validation.scores import Scores

Done = Callable[[float], None]
"""Called with the fraction of one way that is done, 0 to 1."""


def run_way(way: str, job: JobSpec, parts: Mapping[str, SimulatedSite], *, done: Done) -> dict[str, Scores]:
    """Return each site's scores of the model that it gets in one way.

    Args:
        way: ``ALONE``, ``EACH``, ``SUM`` or ``POOLED``.
        job: job with noise for the sum; or the same without noise.
        parts: the sites.
        done: called with the progress; an exception from it stops the run.

    Raises:
        CohortError, JobError: a site cannot take part in this way, or the job cannot be built.
    """
    if job.privacy.mechanism == "none":
        return _quiet(way, job, parts, done)
    if way == POOLED:
        rounds = job.federation.rounds
        weights = run_pooled(job, parts, on_step=lambda number, site: done((number + 1) / rounds))
        return {site: one.validate(weights) for site, one in trainers(job, parts).items()}
    if way == ALONE:
        found = {}
        for site, part in parts.items():
            found[site] = simulate(job, {site: part}).scores[site]
            done(len(found) / len(parts))
        return found
    if way == EACH:
        job = for_each(job, parts)
        parts = _planned(job, parts)
    return dict(simulate(job, parts, follow=_follow(job, parts, done)).scores)


def for_each(job: JobSpec, parts: Mapping[str, SimulatedSite]) -> JobSpec:
    """Return the job with noise for each site's own update: as many steps, each site averaging its own.

    A step expects as many patients at every site as the sampling rate gives the smallest.

    Raises:
        JobError: the job has no noise for the sum.
    """
    content: dict[str, Any] = plain(job)
    asked = content["privacy"]["dp_sgd"]
    if asked is None or asked["noise"] != "sum":
        raise JobError("job has no noise for the sum", where=job.job.name, remedy="sweep it as it is")
    fewest = min(part.patients for part in parts.values())
    content["privacy"]["dp_sgd"] = asked | {
        "noise": "site",
        "patients_per_step": max(1.0, round(asked["sampling_rate"] * fewest)),
        "sampling_rate": None,
        "max_missing": None,
        "max_colluding": None,
    }
    content["training"]["keep_optimizer"] = True
    return changed_job(job, content, where=job.job.name)


def _planned(job: JobSpec, parts: Mapping[str, SimulatedSite]) -> dict[str, SimulatedSite]:
    cohorts: dict[str, Manifest] = {site: part.manifest for site, part in parts.items()}
    found, aside = take_part(job, cohorts)
    if aside:
        raise JobError(" | ".join(aside.values()), where=job.job.name)
    return found


def _quiet(way: str, job: JobSpec, parts: Mapping[str, SimulatedSite], done: Done) -> dict[str, Scores]:
    """Run one way without noise."""
    from fedward.training.trainer import Trainer

    parts = {site: _plain(part) for site, part in parts.items()}
    tests = trainers(job, parts)
    if way == ALONE:
        found = {}
        for site, one in tests.items():
            found[site] = one.validate(one.train_alone())
            done(len(found) / len(tests))
        return found
    if way == POOLED:
        everyone = Trainer(job, [part.manifest for part in parts.values()], site="pooled")
        weights = everyone.train_alone(on_progress=lambda progress: done(progress.step / progress.steps))
        return {site: one.validate(weights) for site, one in tests.items()}
    return dict(
        simulate(job, {site: _plain(part) for site, part in parts.items()}, follow=_follow(job, parts, done)).scores
    )


def _plain(part: SimulatedSite) -> SimulatedSite:
    return SimulatedSite(manifest=part.manifest, patients=part.patients, private=None)


def _follow(job: JobSpec, parts: Mapping[str, SimulatedSite], done: Done) -> Callable[[int, str, Any], None]:
    order = {site: number for number, site in enumerate(parts, start=1)}
    whole = job.federation.rounds * len(parts)
    return lambda number, site, progress: done((number * len(parts) + order[site]) / whole)
