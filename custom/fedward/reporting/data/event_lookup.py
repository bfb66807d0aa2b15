"""Find events of a job by kind and by fields."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

Event = Mapping[str, Any]


def of_kind(events: Iterable[Event], kind: str, **fields: Any) -> Iterator[Event]:
    """Yield the events of a kind whose fields have these values, in their order."""
    return (
        event
        for event in events
        if event["event"] == kind and all(event.get(name) == value for name, value in fields.items())
    )


def last_of(events: Sequence[Event], kind: str, **fields: Any) -> Event | None:
    """Return the last such event, or None."""
    return next(of_kind(reversed(events), kind, **fields), None)


def final_answers(events: Sequence[Event]) -> dict[str, Event]:
    """Return site -> its answer to the final validation; the last one if there are several."""
    return {event["site"]: event for event in of_kind(events, "answered", task="final")}
