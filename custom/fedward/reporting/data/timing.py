"""Measure the distribution of a job's seconds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedward.reporting.data.event_lookup import Event, of_kind


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundTime:
    """Seconds of one round: all of it, and the slowest site's training and validation; None if not reported."""

    wall_s: float
    slowest_site: str | None
    train_s: float | None
    validate_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Time:
    """Distribution of a job's seconds.

    Attributes:
        wall_s: seconds from submit to finish.
        overhead_s: ``wall_s`` less the slowest site's training of each round, and less ``alone_s``.
        rounds: one entry for each round.
        alone_s: slowest site's training alone, for the comparison; None if none was requested.
    """

    wall_s: float
    overhead_s: float | None = None
    rounds: tuple[RoundTime, ...] = ()
    alone_s: float | None = None


def time_of(events: Sequence[Event], wall_s: float) -> Time:
    """Compute the distribution; overhead is all time that is not training, at each round's slowest site."""
    rounds = []
    for event in of_kind(events, "round"):
        answers = {a["site"]: a["metrics"] for a in of_kind(events, "answered", task="round", round=event["round"])}
        seconds = {site: answer["train_s"] for site, answer in answers.items() if answer.get("train_s") is not None}
        slowest = max(seconds, key=lambda site: float(seconds[site])) if seconds else None
        rounds.append(
            RoundTime(
                wall_s=event["wall_s"],
                slowest_site=slowest,
                train_s=None if slowest is None else seconds[slowest],
                validate_s=_longest(answers.values(), "validate_s"),
            )
        )
    alone_s = _longest([event["metrics"] for event in of_kind(events, "answered", task="alone")], "train_s")
    known = [one.train_s for one in rounds if one.train_s is not None]
    overhead = wall_s - sum(known) - (alone_s or 0.0) if len(known) == len(rounds) else None
    return Time(
        wall_s=round(wall_s, 3),
        overhead_s=None if overhead is None else round(overhead, 3),
        rounds=tuple(rounds),
        alone_s=alone_s,
    )


def _longest(answers: Iterable[Mapping[str, Any]], name: str) -> float | None:
    return max((float(answer[name]) for answer in answers if answer.get(name) is not None), default=None)
