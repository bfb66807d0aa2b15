"""Collect the results of a sweep over ε: points of runs, lines drawn from them, and JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from fedward.reporting.sweep.chart import Line, Mark
from fedward.settings import JobSpec
from fedward.validation.scores import Scores

NOTE = (
    "Each run keeps the ε it is drawn at; this sweep as a whole keeps none, and its scores carry no noise. On real "
    "patients take ε from policy, or sweep over other data: a choice among these runs is not accounted for."
)
FEW_PATIENTS, FEW_POSITIVES = 50, 10
"""Smallest number of patients, and of positive ones, below which a line is marked."""
SCHEMA = 3
ALONE, EACH, SUM, POOLED = "alone", "noise for each", "noise for the sum", "all in one place"
"""Ways of a job with noise for the sum, and what its hospitals could do instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One score of one run.

    Attributes:
        epsilon: target ε at each site; inf without differential privacy.
        seed: seed of the job.
        site: site whose validation patients were measured.
        name: label, class or structure; "" for the mean over them.
        value, low, high: AUC or Dice, and its 95 % interval over patients; None if not available.
        way: one of ``ALONE``, ``EACH``, ``SUM``, ``POOLED`` in a sweep that compares them; else "".
        n, positives: patients in the score, and number of them positive in an image; positives None for segmentation.
    """

    epsilon: float
    seed: int
    site: str
    name: str
    value: float | None
    low: float | None
    high: float | None
    n: int
    positives: int | None
    way: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """Results of a sweep.

    Attributes:
        job, hash: name and hash of the job as given.
        measure: "auc" or "dice".
        epsilons, seeds: requested values; inf means a run without differential privacy.
        patients: site -> training patients.
        aside: site -> reason why it takes no part, at any ε.
        points: points of every finished run.
    """

    job: str
    hash: str
    measure: str
    epsilons: tuple[float, ...]
    seeds: tuple[int, ...]
    patients: Mapping[str, int]
    aside: Mapping[str, str]
    points: tuple[Point, ...]
    ways: tuple[str, ...] = ("",)

    @property
    def complete(self) -> bool:
        """True if every requested run is in it."""
        done = {(point.epsilon, point.seed, point.way) for point in self.points}
        return len(done) == len(self.epsilons) * len(self.seeds) * len(self.ways)


def points_of(job: JobSpec, scores: Scores, *, epsilon: float, site: str, way: str = "") -> list[Point]:
    """Return one site's scores after one run: the mean over labels, classes or structures, and each of them."""
    measure = job.measure
    content = scores.plain()
    each = {"": content, **content.get("structures" if measure == "dice" else "labels", {})}
    return [
        Point(
            epsilon=epsilon,
            seed=job.job.seed,
            site=site,
            name=name,
            value=found[measure],
            low=found[f"{measure}_low"],
            high=found[f"{measure}_high"],
            n=found.get("dice_patients", found["patients"]),
            positives=found.get("positives"),
            way=way,
        )
        for name, found in each.items()
    ]


def lines_of(sweep: Sweep) -> tuple[Line, ...]:
    """Return a line for each site and class: mean and range over seeds, or with one seed the 95 % patient interval.

    Where ways are compared, a panel is a site and class, and its lines are the ways.
    """
    series: dict[tuple[str, str, str], list[Point]] = {}
    for point in sweep.points:
        series.setdefault((point.name, point.site, point.way), []).append(point)
    names = list(dict.fromkeys(point.name for point in sweep.points))
    ordered = sorted(series, key=lambda key: names.index(key[0]))
    return tuple(
        Line(
            site=way or site,
            name=(f"{site}, {name}" if name else site) if way else name,
            note=_note(sweep.patients[site], points[0], name=name),
            few=_few(sweep.patients[site], points[0]),
            marks=tuple(_mark(epsilon, points) for epsilon in sweep.epsilons if _known(epsilon, points)),
        )
        for name, site, way in ordered
        for points in (series[name, site, way],)
    )


def plain_sweep(sweep: Sweep) -> dict[str, Any]:
    """Return the sweep as JSON-ready data; ε without differential privacy is the text "inf"."""

    def written(epsilon: float) -> float | str:
        return "inf" if math.isinf(epsilon) else epsilon

    content = {"schema": SCHEMA, "complete": sweep.complete, "note": NOTE, **asdict(sweep)}
    content["epsilons"] = [written(epsilon) for epsilon in sweep.epsilons]
    content["points"] = [{**asdict(point), "epsilon": written(point.epsilon)} for point in sweep.points]
    return content


def _few(patients: int, point: Point) -> str:
    found = [f"{patients} patients"] if patients < FEW_PATIENTS else []
    if point.positives is None:
        found += [f"{point.n} with it"] if point.n < FEW_POSITIVES else []
    elif point.positives < FEW_POSITIVES:
        found.append(f"{point.positives} positive")
    elif point.n - point.positives < FEW_POSITIVES:
        found.append(f"{point.n - point.positives} negative")
    return ", ".join(found)


def _note(patients: int, point: Point, *, name: str) -> str:
    people = f"{patients} patients"
    if point.positives is None:
        return f"{people}, {point.n} validation patients" + (" with it" if name else "")
    return f"{people}, {point.positives} of {point.n} validation patients positive"


def _known(epsilon: float, points: Sequence[Point]) -> bool:
    return any(point.epsilon == epsilon and point.value is not None for point in points)


def _mark(epsilon: float, points: Sequence[Point]) -> Mark:
    here = [point for point in points if point.epsilon == epsilon and point.value is not None]
    values = [point.value for point in here if point.value is not None]
    mean = sum(values) / len(values)
    if len({point.seed for point in points}) > 1:
        return Mark(epsilon=epsilon, value=mean, low=min(values), high=max(values))
    return Mark(epsilon=epsilon, value=mean, low=here[0].low, high=here[0].high)
