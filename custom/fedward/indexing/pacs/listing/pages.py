"""Read a list by pages to its end, whatever the archive makes of ``limit`` and ``offset`` (PS3.18 8.3.4.4).

| archive | read as |
|---|---|
| sends pages shorter than the limit | whole, once a page is empty |
| ignores ``offset`` and sends all, without a warning | whole |
| ignores ``offset``, and warns of more, or sends exactly as many as the limit | cut short |
| pages, and its last, empty page warns of more | cut short, unless the caller knows that each answer warns |
| pages, and warns of more on each page but the empty one at the end | whole: the last word counts |
| changes the order between pages | read again until all places gave different answers; else cut short |
| lists an answer twice, in the same places whatever the page | whole |
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

Answer = TypeVar("Answer")

PASSES = 5
"""Readings of a list in which an answer comes twice: the same each time, or its order changes and it is cut short."""
FAR = 1_000_000
"""Past the end of any list: an archive that answers there ignores ``offset``."""
_WARNING = re.compile(r"(?:^|,)\s*(\d{3})\s+([^,]*(?:,(?!\s*\d{3}\s)[^,]*)*)")
_REMAINING = re.compile(r"\b(\d{1,9}) (?:additional|more|remaining)\b", re.IGNORECASE)
_OF_RESULTS = re.compile("additional|remaining|exceed", re.IGNORECASE)
_OF_OTHER_THINGS = re.compile("fuzzy|literal|deprecat|sunset", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Page(Generic[Answer]):
    """Page of a list.

    Attributes:
        answers: each with its UID, or "".
        remaining: number of further answers that the archive announces; 0 for none, None for an unknown number.
    """

    answers: Sequence[tuple[str, Answer]]
    remaining: int | None = 0


@dataclass(frozen=True, slots=True)
class Reading(Generic[Answer]):
    """Answers of a list.

    Attributes:
        answers: each once.
        lacking: number that the list lacks: 0 if it is whole, None if the number is unknown.
        ended: True if an empty page ended it, and all places gave different answers: only a warning speaks against it.
    """

    answers: list[Answer]
    lacking: int | None
    ended: bool = False


def announced(status: int, warning: str) -> int | None:
    """Return the number of further answers that a response announces; 0 for none, None for an unknown number.

    A Warning of code 299 announces more, unless its text is about fuzzy matching, which is never requested, or about
    an interface that will be withdrawn. Other codes (RFC 7234 5.5) concern caches and transformations. Status 206 was
    QIDO-RS's sign of a list cut short before that.

    Args:
        status: HTTP status.
        warning: values of the Warning header, or "".
    """
    found: int | None = None if status == 206 else 0
    for code, text in _WARNING.findall(warning):
        if code != "299" or (_OF_OTHER_THINGS.search(text) and not _OF_RESULTS.search(text)):
            continue
        number = _REMAINING.search(text)
        if number is None:
            return None
        found = max(found or 0, int(number[1]))
    return found


def read(ask: Callable[[int], Page[Answer]], *, limit: int) -> Reading[Answer]:
    """Read a list to its end; answers of one UID are returned once.

    Args:
        ask: returns the page that begins after this number of answers.
        limit: number of answers that a page is asked for.
    """
    found: dict[str, Answer] = {}
    readings: list[_Places] = []
    remaining: int | None = 0
    for _ in range(PASSES):
        read_once, remaining = _read_once(ask, found, limit)
        if len(read_once.names) == len(found):
            return Reading(list(found.values()), remaining, read_once.ended)
        readings.append(read_once)
    steady = all(one == readings[0] for one in readings) and _in_place(ask, readings[0])
    return Reading(list(found.values()), remaining if steady else None)


@dataclass(frozen=True, slots=True)
class _Places:
    """Names of the answers, place by place; the places at which a page began; True if an empty page ended the list."""

    names: list[str] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    ended: bool = False


def _read_once(ask: Callable[[int], Page[Answer]], found: dict[str, Answer], limit: int) -> tuple[_Places, int | None]:
    """Add one reading to ``found``; return its places, and the number announced at its end."""
    places = _Places()
    remaining: int | None = 0
    pages_on = heeds_offset = False
    while True:
        page = ask(len(places.names))
        if page.remaining != 0 or pages_on:
            remaining = page.remaining
        own = list(_named(page.answers))
        if not own:
            return replace(places, ended=True), remaining
        fresh = dict(own).keys() - set(places.names)
        if not fresh and not heeds_offset:
            if ask(len(places.names) + FAR).answers:
                return places, None if len(own) == limit else remaining
            heeds_offset = True
        pages_on = pages_on or bool(places.names and fresh)
        found |= dict(own)
        places.starts.append(len(places.names))
        places.names.extend(name for name, _ in own)


def _in_place(ask: Callable[[int], Page[Answer]], read_once: _Places) -> bool:
    """True if pages that begin one place earlier hold the same answers: the list repeats one, and does not move."""
    for start in read_once.starts[1:]:
        names = [name for name, _ in _named(ask(start - 1).answers)]
        if len(names) < 2 or names != read_once.names[start - 1 :][: len(names)]:
            return False
    return True


def _named(answers: Sequence[tuple[str, Answer]]) -> Iterator[tuple[str, Answer]]:
    """Yield each answer under a name: its UID, or, for want of one, its content and a number."""
    seen: Counter[str] = Counter()
    for uid, answer in answers:
        content = "" if uid else f"?{answer!r}"
        yield uid or f"{content}#{seen[content]}", answer
        seen[content] += 1
