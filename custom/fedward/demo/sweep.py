"""Run the same job at each wanted ε, to show the cost of privacy in accuracy for each site and class.

Each run has the ε at which it is drawn. The sweep as a whole has none: choosing among all its runs uses the patients in
a form that no accountant counted (Papernot & Steinke 2022, section 1).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fedward.dataset.manifest import Manifest
from fedward.demo.simulate import SimulatedSite, simulate, take_part
from fedward.demo.sweep_ways import run_way
from fedward.errors import CohortError, JobError, SettingsError
from fedward.privacy.policy.job_hash import job_hash
from fedward.privacy.policy.linter import faults
from fedward.reporting.sweep.chart import shown
from fedward.reporting.sweep.sweep import ALONE, EACH, POOLED, SUM, Point, Sweep, points_of
from fedward.settings import JobSpec, changed_job, plain

Follow = Callable[[float, str], None]
"""Called with the fraction done, 0 to 1, and the name of the current run."""


def run_sweep(
    job: JobSpec,
    cohorts: Mapping[str, Manifest],
    *,
    epsilons: Sequence[float],
    seeds: int,
    refused: Mapping[str, str],
    follow: Follow,
    keep: Callable[[Sweep], None],
) -> Sweep:
    """Run the job at each ε and with ``seeds`` seeds, over the sites that can take part at every ε.

    Args:
        job: job with a mechanism, unless ``epsilons`` is inf alone.
        cohorts: site -> its images.
        epsilons: target ε at each site; inf runs without differential privacy.
        seeds: number of seeds, from the job's own upwards.
        refused: site -> reason why its cohort is unusable.
        follow: called with the progress; an exception from it stops the sweep.
        keep: called after each run with the results so far.

    Raises:
        CohortError: no site can take part at every ε.
        JobError: a job that cannot be built, or with a fault in its privacy settings.
    """
    asked, ways = tuple(sorted(set(epsilons))), (ALONE, EACH, SUM, POOLED) if job.noises_sum else ("",)
    jobs = {epsilon: with_epsilon(job, epsilon) for epsilon in asked}
    parts, aside = _who(jobs, cohorts, refused)
    patients = {site: part.patients for site, part in parts[asked[0]].items()}
    numbers = tuple(job.job.seed + number for number in range(seeds))
    runs = [(epsilon, seed, way) for seed in numbers for epsilon in asked for way in ways]
    points: tuple[Point, ...] = ()
    for done, (epsilon, seed, way) in enumerate(runs):
        words = f"ε {shown(epsilon)}, seed {seed}{', ' if way else ''}{way}"
        progressed = _share(follow, words, done=done, runs=len(runs))
        made = with_seed(jobs[epsilon], seed)
        points += _run(made, parts[epsilon], epsilon=epsilon, way=way, on_progress=progressed)
        sweep = Sweep(
            job=job.job.name,
            hash=job_hash(job),
            measure=job.measure,
            epsilons=asked,
            seeds=numbers,
            patients=patients,
            aside=aside,
            points=points,
            ways=ways,
        )
        keep(sweep)
    return sweep


def with_epsilon(job: JobSpec, epsilon: float) -> JobSpec:
    """Return the job with another target ε; inf removes its noise and keeps the update's clip.

    Raises:
        JobError: the job names no mechanism, or its privacy settings have a fault.
    """
    content = plain(job)
    privacy: dict[str, Any] = content["privacy"]
    update = privacy["update"]
    if math.isinf(epsilon):
        quiet = None if update is None else {**update, "noise_multiplier": 0.0}
        content["privacy"] = {"mechanism": "none", "dp_sgd": None, "update": quiet}
        content["training"]["keep_optimizer"] |= job.noises_sum  # as its hospitals do
    elif privacy["mechanism"] == "dp-sgd":
        privacy["dp_sgd"] |= {"epsilon": epsilon, "noise_multiplier": None}
    elif privacy["mechanism"] == "update-noise":
        update["noise_multiplier"] = _update_noise(job, epsilon)
    else:
        remedy = "give it mechanism 'dp-sgd' and a [privacy.dp_sgd] table"
        raise JobError("no mechanism to sweep", where="privacy.mechanism", value="none", remedy=remedy)
    found = changed_job(job, content, where=job.job.name)
    if wrong := faults(found):
        raise JobError(" | ".join(wrong), where=job.job.name)
    return found


def with_seed(job: JobSpec, seed: int) -> JobSpec:
    """Return the job with another seed."""
    return job.model_copy(update={"job": job.job.model_copy(update={"seed": seed})})


def epsilons_of(text: str) -> tuple[float, ...]:
    """Parse ``"1,2,8,inf"`` into numbers.

    Raises:
        SettingsError: a part that is not a number above 0, or occurs twice.
    """
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if not values or len(set(values)) != len(values) or not all(value > 0 for value in values):
        raise SettingsError(
            "not a list of different ε above 0", where="--epsilon", value=text, remedy="for example 1,2,4,8,inf"
        )
    return values


def _who(
    jobs: Mapping[float, JobSpec], cohorts: Mapping[str, Manifest], refused: Mapping[str, str]
) -> tuple[dict[float, dict[str, SimulatedSite]], dict[str, str]]:
    """Return ε -> the sites that can take part at every ε, and the reason of each other site."""
    found = {epsilon: take_part(job, cohorts) for epsilon, job in jobs.items()}
    aside = dict(refused)
    for _, without in found.values():
        aside |= without
    if not set(cohorts) - set(aside):
        raise CohortError("no site can take part at every ε", remedy=" | ".join(aside.values()) or "give hospitals")
    known = {
        epsilon: {site: part for site, part in parts.items() if site not in aside}
        for epsilon, (parts, _) in found.items()
    }
    return known, aside


def _run(
    job: JobSpec, parts: Mapping[str, SimulatedSite], *, epsilon: float, way: str, on_progress: Callable[[float], None]
) -> tuple[Point, ...]:
    if way:
        scores = run_way(way, job, parts, done=on_progress)
        return tuple(
            point
            for site, found in scores.items()
            for point in points_of(job, found, epsilon=epsilon, site=site, way=way)
        )
    order = {site: number for number, site in enumerate(parts)}
    whole = job.federation.rounds * len(parts)
    done = simulate(
        job,
        parts,
        follow=lambda number, site, progress: on_progress(
            (number * len(order) + order[site] + progress.step / max(progress.steps, 1)) / whole
        ),
    )
    return tuple(
        point for site, scores in done.scores.items() for point in points_of(job, scores, epsilon=epsilon, site=site)
    )


def _update_noise(job: JobSpec, epsilon: float) -> float:
    from fedward.privacy.accountant import noise_for

    delta = job.privacy.delta
    if delta is None:
        raise JobError("noise without δ has no ε", where="privacy.update.delta", remedy="give one")
    # one patient can move a clipped update by twice the clip: noise over clip is twice the noise over sensitivity
    return 2 * noise_for(epsilon=epsilon, delta=delta, sampling_rate=1.0, steps=job.federation.rounds)


def _share(follow: Follow, words: str, *, done: int, runs: int) -> Callable[[float], None]:
    """Return a function that reports a fraction of one run as a fraction of all runs."""
    return lambda fraction: follow((done + fraction) / runs, words)
