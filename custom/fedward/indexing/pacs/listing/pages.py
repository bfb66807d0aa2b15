"""Read a list by pages to its end, whatever the archive makes of ``limit`` and ``offset`` (PS3.18 8.3.4.4).

| archive | read as |
|---|---|
| sends pages shorter than the limit | whole, once a page is empty |
| ignores ``offset`` and sends all, without a warning | whole |
| ignores ``offset``, and warns of more, or sends exactly as many as the limit | cut short |
| pages, and its last, empty page warns of more | cut short, unless the caller knows that each answer warns |
| pages, and warns of more on each page but the empty one at the end | whole: the last word counts |
| changes the order between pages | read again until all places gave different answers; else cut short |
| remarks the same with every answer, far past the end too, and not of results | whole |
| never ends | cut short |
| lists an answer twice, in the same places whatever the page | whole |
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

Answer = TypeVar("Answer")

PASSES = 5
"""Readings of a list in which an answer comes twice: the same each time, or its order changes and it is cut short."""
FAR = 1_000_000
"""Past the end of any list: an archive that answers there ignores ``offset``."""
MOST_PAGES = 2_000
"""Pages after which a list is cut short: an archive that still answers may give its answers new names each time."""


@dataclass(frozen=True, slots=True)
class Page(Generic[Answer]):
    """Page of a list.

    Attributes:
        answers: each with its UID, or "".
        remaining: number of further answers that the archive announces; 0 for none, None for an unknown number.
        remark: text of a warning that does not speak of results, if ``remaining`` comes from it; else "".
    """

    answers: Sequence[tuple[str, Answer]]
    remaining: int | None = 0
    remark: str = ""


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
        if len(read_once.names) == len(found) or len(read_once.starts) == MOST_PAGES:
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
    said: list[tuple[Page[Answer], bool]] = []
    names: set[str] = set()
    pages_on = heeds_offset = False
    for _ in range(MOST_PAGES):
        page = ask(len(places.names))
        said.append((page, pages_on))
        own = list(_named(page.answers))
        if not own:
            return replace(places, ended=True), _last_word(said, _standing(ask, page, len(places.names)))
        fresh = dict(own).keys() - names
        if not fresh and not heeds_offset:
            if ask(len(places.names) + FAR).answers:
                return places, None if len(own) >= limit else _last_word(said, "")
            heeds_offset = True
        pages_on = pages_on or bool(places.names and fresh)
        found |= dict(own)
        names |= fresh
        places.starts.append(len(places.names))
        places.names.extend(name for name, _ in own)
    return places, None


def _standing(ask: Callable[[int], Page[Answer]], empty: Page[Answer], end: int) -> str:
    """Return an empty page's remark if the archive repeats it far past the end, where no list goes on; else ""."""
    if not empty.remark:
        return ""
    far = ask(end + FAR)
    return empty.remark if not far.answers and far.remark == empty.remark else ""


def _last_word(said: Sequence[tuple[Page[Answer], bool]], standing: str) -> int | None:
    """Return the number announced at the end; a remark that comes with every answer announces nothing.

    Args:
        said: pages, and whether pages before them went on.
        standing: the remark that comes with every answer, or "".
    """
    remaining: int | None = 0
    for page, pages_on in said:
        number = 0 if standing and page.remark == standing else page.remaining
        if number != 0 or pages_on:
            remaining = number
    return remaining


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
