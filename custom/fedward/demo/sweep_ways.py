"""Run a job with noise for the sum, and what its hospitals could do instead: alone, noise for each, all in one place.

Every way has as many steps, the same sampling rate and the same ε. Without noise, the first and the last are plain
training; together it is federated averaging of one local step, whoever the noise would be for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from fedward.dataset.manifest import Manifest
from fedward.demo.simulate import SimulatedSite, simulate, take_part, trainers
from fedward.demo.simulate_sum import run_sum
from fedward.errors import JobError
from fedward.reporting.sweep.sweep import ALONE, POOLED, SUM
from fedward.settings import JobSpec, parse, plain

if TYPE_CHECKING:
    from fedward.validation.scores import Scores
    from fedward.weights import Weights

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
    tests, patients = trainers(job, parts), sum(part.patients for part in parts.values())
    if way == SUM:
        weights, _ = run_sum(
            job, trainers(job, parts), patients=patients, together=True, on_step=_steps(job, parts, done)
        )
        return {site: one.validate(weights) for site, one in tests.items()}
    if way == POOLED:
        weights = _pooled(job, parts, done)
        return {site: one.validate(weights) for site, one in tests.items()}
    if way == ALONE:
        found = {}
        for site, part in parts.items():
            own = {site: part}
            weights, _ = run_sum(
                job, trainers(job, own), patients=part.patients, together=False, on_step=lambda number, name: None
            )
            found[site] = tests[site].validate(weights)
            done(len(found) / len(parts))
        return found
    each = for_each(job, parts)
    return dict(simulate(each, _planned(each, parts), follow=_follow(each, parts, done)).scores)


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
    return parse(JobSpec, content, where=job.job.name)


def _planned(job: JobSpec, parts: Mapping[str, SimulatedSite]) -> dict[str, SimulatedSite]:
    cohorts: dict[str, Manifest] = {site: part.manifest for site, part in parts.items()}
    found, aside = take_part(job, cohorts)
    if aside:
        raise JobError(" | ".join(aside.values()), where=job.job.name)
    return found


def _pooled(job: JobSpec, parts: Mapping[str, SimulatedSite], done: Done) -> Weights:
    from fedward.training.trainer import Trainer

    private = next(part.private for part in parts.values())
    everyone = Trainer(job, [part.manifest for part in parts.values()], site="pooled", private=private)
    patients = sum(part.patients for part in parts.values())
    rounds = job.federation.rounds
    weights, _ = run_sum(
        job,
        {"pooled": everyone},
        patients=patients,
        together=False,
        on_step=lambda number, site: done((number + 1) / rounds),
    )
    return weights


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


def _steps(job: JobSpec, parts: Mapping[str, SimulatedSite], done: Done) -> Callable[[int, str], None]:
    order = {site: number for number, site in enumerate(parts, start=1)}
    whole = job.federation.rounds * len(parts)
    return lambda number, site: done((number * len(parts) + order[site]) / whole)


def _follow(job: JobSpec, parts: Mapping[str, SimulatedSite], done: Done) -> Callable[[int, str, Any], None]:
    step = _steps(job, parts, done)
    return lambda number, site, progress: step(number, site)
