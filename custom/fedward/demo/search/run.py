"""Try a job with other settings in the simulator, each with each or by successive halving.

The trials are judged by the sites' validation patients, as ``federation.select`` judges rounds. That reads patients
whom no ε covers, and choosing reads them again: under differential privacy it is refused on patients' images.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from fedward.dataset.manifest import Manifest
from fedward.demo.search.halving import halve, rung_sizes
from fedward.demo.search.override import override
from fedward.demo.search.result import Search, SiteScore, Trial, worded
from fedward.demo.simulate import simulate, take_part
from fedward.demo.sweep import with_seed
from fedward.errors import CohortError, JobError, SettingsError
from fedward.privacy.policy.job_hash import job_hash
from fedward.settings import JobSpec
from fedward.validation.scores import Scores

Follow = Callable[[float, str], None]
"""Called with the fraction done, 0 to 1, and the settings of the current run."""
Choice = Mapping[str, Any]
MOST = 200
"""Most choices of one search; beyond it somebody has most likely misjudged how many there are."""


def choices_of(job: JobSpec, settings: Mapping[str, Sequence[Any]]) -> tuple[tuple[Choice, JobSpec], ...]:
    """Return every combination of the values, with its job, in the order in which they are written.

    Raises:
        SettingsError: a name that is no setting, a value that is not allowed, or too many combinations.
        JobError: a job with a fault.
    """
    from fedward.training.check import require_sound

    count = 1
    for values in settings.values():
        count *= len(values)
    if count > MOST:
        raise SettingsError(f"more than {MOST} settings to try", where="--set", value=count, remedy="name fewer values")
    found = []
    for values in itertools.product(*settings.values()):
        choice = dict(zip(settings, values, strict=True))
        made = override(job, choice)
        try:
            require_sound(made)
        except JobError as error:
            raise JobError(f"{worded(choice)}: {error}") from None
        found.append((choice, made))
    return tuple(found)


def require_free_choice(jobs: Sequence[JobSpec], *, on_patients: bool) -> None:
    """Refuse to choose settings of a private job on patients' images.

    Raises:
        JobError: a job has differential privacy, and the images are of patients.
    """
    if on_patients and any(job.privacy.mechanism != "none" for job in jobs):
        what = "to choose settings on patients' images costs more ε than the chosen job's (Papernot & Steinke 2022)"
        remedy = (
            "search on synthetic hospitals (without --data), add --public-data if no ε protects whom the images show, "
            "or draw the cost of each ε with --epsilon, which chooses nothing"
        )
        raise JobError(what, where="privacy.mechanism", remedy=remedy)


def run_search(
    job: JobSpec,
    cohorts: Mapping[str, Manifest],
    *,
    settings: Mapping[str, Sequence[Any]],
    halving: bool,
    seeds: int,
    on_patients: bool,
    refused: Mapping[str, str],
    follow: Follow,
    keep: Callable[[Search], None],
) -> Search:
    """Run the job with every choice of settings, over the sites that can take part with each.

    Args:
        job: the job.
        cohorts: site -> its images.
        settings: setting -> values to try.
        halving: True: short trials for all, the whole number of rounds for the best; False: all rounds for all.
        seeds: number of seeds of each trial, from the job's own upwards; a trial is judged by their mean.
        on_patients: True if the images are of patients whom an ε may protect.
        refused: site -> reason why its cohort is unusable.
        follow: called with the progress; an exception from it stops the search.
        keep: called after each run with the results so far.

    Raises:
        SettingsError: settings that no job can have.
        JobError: a job with a fault, or a private one on patients' images.
        CohortError: no site can take part with every choice.
    """
    made = choices_of(job, settings)
    require_free_choice([one for _, one in made], on_patients=on_patients)
    rounds = {one.federation.rounds for _, one in made}
    if halving and len(rounds) > 1:
        remedy = "leave federation.rounds out of --set, or --halving"
        raise SettingsError("halving gives the rounds itself", where="--set", value="federation.rounds", remedy=remedy)
    parts, aside = _who(made, cohorts, refused)
    sizes = rung_sizes(len(made), budget=max(rounds), factor=2) if halving else ((len(made), 0),)
    runs = _Runs(
        sites=parts,
        seeds=tuple(job.job.seed + number for number in range(seeds)),
        follow=follow,
        keep=keep,
        work=sum(count * (budget or max(rounds)) for count, budget in sizes) * seeds,
        search=Search(
            job=job.job.name,
            hash=job_hash(job),
            measure=job.measure,
            settings={key: tuple(values) for key, values in settings.items()},
            halving=halving,
            candidates=len(made),
            planned=sum(count for count, _ in sizes) * seeds,
            trials=(),
            aside=aside,
            on_patients=on_patients,
        ),
    )
    if halving:
        halve(range(len(made)), lambda number, budget: runs.score(*made[number], rounds=budget), budget=max(rounds))
    else:
        for choice, one in made:
            runs.score(choice, one, rounds=one.federation.rounds)
    return runs.search


@dataclass(slots=True, kw_only=True)
class _Runs:
    """Runs of a search, with its results so far."""

    sites: Mapping[str, Manifest]
    seeds: tuple[int, ...]
    follow: Follow
    keep: Callable[[Search], None]
    work: int
    search: Search
    done: int = field(default=0)

    def score(self, choice: Choice, job: JobSpec, *, rounds: int) -> float | None:
        """Run the job with each seed, keep the results, and return the mean score; None if a run has none."""
        means = []
        for seed in self.seeds:
            trial = self._trial(choice, with_seed(_with_rounds(job, rounds), seed))
            means.append(trial.mean)
            self.done += rounds
            self.search = replace(self.search, trials=(*self.search.trials, trial))
            self.keep(self.search)
        known = [mean for mean in means if mean is not None]
        return sum(known) / len(known) if len(known) == len(means) else None

    def _trial(self, choice: Choice, job: JobSpec) -> Trial:
        words, rounds = f"{worded(choice)}, {job.federation.rounds} rounds", job.federation.rounds
        trial = Trial(settings=choice, rounds=rounds, seed=job.job.seed, sites={})
        parts, aside = take_part(job, self.sites)  # a private job plans its noise for its own rounds
        if aside:
            return replace(trial, failed=" | ".join(aside.values()))
        order = {site: place for place, site in enumerate(parts)}

        def follow(number: int, site: str, progress: Any) -> None:
            step = (order[site] + progress.step / max(progress.steps, 1)) / len(order)
            self.follow(min(1.0, (self.done + number + step) / self.work), words)

        try:
            scores = simulate(job, parts, follow=follow).scores
        except JobError as error:  # such as a learning rate at which the loss is no longer finite
            return replace(trial, failed=str(error))
        return replace(trial, sites={site: _site_score(job, found) for site, found in scores.items()})


def _with_rounds(job: JobSpec, rounds: int) -> JobSpec:
    return job.model_copy(update={"federation": job.federation.model_copy(update={"rounds": rounds})})


def _site_score(job: JobSpec, scores: Scores) -> SiteScore:
    content, measure = scores.plain(), job.measure
    return SiteScore(
        value=content[measure],
        low=content[f"{measure}_low"],
        high=content[f"{measure}_high"],
        n=content.get("dice_patients", content["patients"]),
    )


def _who(
    made: Sequence[tuple[Choice, JobSpec]], cohorts: Mapping[str, Manifest], refused: Mapping[str, str]
) -> tuple[dict[str, Manifest], dict[str, str]]:
    """Return the sites that can take part with every choice, and the reason of each other site."""
    aside = dict(refused)
    for _, job in made:
        aside |= take_part(job, cohorts)[1]
    parts = {site: manifest for site, manifest in cohorts.items() if site not in aside}
    if not parts:
        raise CohortError(
            "no site can take part with every setting", remedy=" | ".join(aside.values()) or "give hospitals"
        )
    return parts, aside
