"""Prepare a job's lines and rounds for the page, thinned if there are more than it can show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from math import ceil
from typing import Any

from fedward.metrics.queries import Job, Point, Round, SiteRound

MOST_POINTS = 10_000
"""Largest number of sites times rounds sent to a page; above, only every second or third round, and the last one."""
_PART = SiteRound._fields[2:]
_POINT = ("value", "low", "high", "training_loss", "validation_loss")


def every_nth(sites: int, rounds: int) -> int:
    """Return the step between kept rounds: 1 keeps all, 2 keeps every second."""
    return max(1, ceil(sites * rounds / MOST_POINTS))


def last_round(job: Job) -> int:
    """Return the number of the last round that counted, from 0."""
    return max(job.rounds_done - 1, 0)


def series_of(points: Sequence[Point]) -> dict[str, dict[str, list[Any]]]:
    """Return each site's line as columns of one length; ``round`` counts the rounds that the model has been through."""
    series = {}
    for site, some in groupby(points, key=lambda point: point.site):
        _, *columns = zip(*some, strict=True)
        series[site] = {name: list(column) for name, column in zip(("round", *_POINT), columns, strict=True)}
    return series


def rounds_of(rounds: Sequence[Round], parts: Mapping[int, Sequence[SiteRound]]) -> list[dict[str, Any]]:
    """Return each round that counted: the server's seconds, and the outcome of each site."""
    return [
        {
            "round": one.round,
            "wall_s": one.wall_s,
            "stages": {"wait_s": one.wait_s, "add_s": one.add_s},
            "sites": {part.site: _part(part) for part in parts.get(one.round, ()) if part.outcome is not None},
        }
        for one in rounds
    ]


def _part(part: SiteRound) -> dict[str, Any]:
    _, _, *facts = part
    return dict(zip(_PART, facts, strict=True))
