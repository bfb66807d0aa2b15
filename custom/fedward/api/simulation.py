"""Simulate a job's federation in this process: the arithmetic of the real one, without FLARE, gates and ledger."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fedward.api.job import Job
from fedward.errors import CohortError, FedwardError, PolicyError

if TYPE_CHECKING:
    from fedward.dataset.manifest import Manifest
    from fedward.demo.simulate import Follow
    from fedward.reporting.metrics.plot import Drawing
    from fedward.reporting.metrics.table import Row
    from fedward.settings import JobSpec
    from fedward.validation.scores import Scores
    from fedward.weights import Weights


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """Result of a simulated federation.

    Attributes:
        job: the job.
        weights: final model, chosen by ``federation.select``; ``load_model`` makes a torch module of it.
        scores: site -> scores of the final model on the site's validation patients.
        rounds: the same for the model after each round.
        aside: site -> reason why it took no part.
    """

    job: Job
    weights: Weights
    scores: Mapping[str, Scores]
    rounds: tuple[Mapping[str, Scores], ...]
    aside: Mapping[str, str]

    def table(self) -> tuple[Row, ...]:
        """Return one row for each site, round, label and measure, such as ``pandas.DataFrame`` takes."""
        from fedward.reporting.metrics.table import ordered, score_rows

        return ordered(
            row
            for number, scores in enumerate(self.rounds, start=1)
            for site, found in scores.items()
            for row in score_rows(self.job.settings, found.plain(), site=site, number=number)
        )

    def plot(self) -> Drawing:
        """Return a drawing of each site's score over the rounds, which a notebook shows."""
        from fedward.measures import TITLES
        from fedward.reporting.metrics.plot import draw_rounds

        measure = self.job.settings.measure
        return draw_rounds(self.table(), measure=measure, name=TITLES[measure])


def simulate(
    job: Job,
    sites: Mapping[str, Path | str] | Path | str | None = None,
    *,
    folder: Path | str | None = None,
    seed: int = 0,
    follow: Follow | None = None,
) -> Simulation:
    """Run a job's whole federation in this process, one site after the other, and score each round's model.

    It trains as the real federation does, with its privacy, but charges no ledger and withholds no score: it is for
    images of this machine. Ctrl-C stops it; no other process is started.

    Args:
        job: the job.
        sites: site -> its ``site.toml``, whose cohort is indexed; or a folder with one folder for each hospital, as for
            ``fedward demo --data``; None: the demo's synthetic hospitals.
        folder: folder for synthetic images and for indices, which stay there; it must be empty or absent. None: a
            temporary one, removed at the end. Not used where each site has its own index.
        seed: seed of the synthetic images.
        follow: called with round, site and that site's progress at every step; an exception from it stops the run.

    Raises:
        JobError: the job has a fault, or a loss is no longer finite.
        CohortError: no site can take part.
        PolicyError: a site's policy asks for its ledger, which a simulation does not charge.
        FedwardError: the folder is not empty.
    """
    from fedward.demo.prepare import gather
    from fedward.training.check import require_sound

    require_sound(job.settings)
    if isinstance(sites, Mapping):
        return _run(job, *_indexed(job.settings, sites), follow)
    place = None if folder is None else Path(folder)
    if place is not None and place.is_dir() and any(place.iterdir()):
        raise FedwardError("folder is not empty", where=place, remedy="name a new one")
    with tempfile.TemporaryDirectory(prefix="fedward-simulate-") if place is None else nullcontext(place) as where:
        data = None if sites is None else Path(sites)
        gathered = gather(job.settings, data, Path(where), named={}, seed=seed, workers=0)
        return _run(job, gathered.cohorts, gathered.refused, follow)


def _run(job: Job, cohorts: Mapping[str, Manifest], refused: Mapping[str, str], follow: Follow | None) -> Simulation:
    from fedward.demo.simulate import simulate as run
    from fedward.demo.simulate import take_part

    parts, aside = take_part(job.settings, cohorts)
    aside = {**refused, **aside}
    if not parts:
        raise CohortError("no site can take part", remedy=" | ".join(aside.values()) or "give hospitals")
    done = run(job.settings, parts, follow=follow, score_rounds=True)
    return Simulation(job=job, weights=done.weights, scores=done.scores, rounds=done.history, aside=aside)


def _indexed(job: JobSpec, sites: Mapping[str, Path | str]) -> tuple[dict[str, Manifest], dict[str, str]]:
    """Read each site's index, and return those that may take part, and the reason of each other site.

    A policy that asks for a ledger ends the simulation.
    """
    from fedward.dataset.manifest import read_manifest
    from fedward.dataset.selection import select
    from fedward.settings import read_site

    found, refused = {}, {}
    for site, path in sites.items():
        cohort = read_site(Path(path)).cohorts.get(job.data.cohort)
        if cohort is None:
            remedy = "name its cohort as data.cohort does, or change data.cohort"
            raise CohortError("site has no such cohort", where=Path(path), value=job.data.cohort, remedy=remedy)
        if cohort.privacy.dp == "required" or cohort.privacy.epsilon_cap is not None:
            remedy = "submit the job; or simulate it on images of no patient whom ε protects"
            what = "its policy counts ε in a ledger, which a simulation does not charge"
            raise PolicyError(what, where=Path(path), remedy=remedy)
        manifest = read_manifest(cohort.index)
        try:
            select(job, [manifest], site=site, min_patients=cohort.min_patients)
            found[site] = manifest
        except CohortError as error:
            refused[site] = str(error)
    return found, refused
