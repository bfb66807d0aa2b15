"""Escape text before a screen or a list shows it, whoever wrote it."""

from __future__ import annotations

import re
from collections.abc import Sequence

_DIVIDES = re.compile(r"[;,()\"]")
_BYTES = re.compile("[\udc80-\udcff]+")
"""Bytes of a file name that the locale cannot decode, as Python keeps them (PEP 383)."""

MOST_NAMED = 3
"""Entries of a list that a sentence names."""


def visible(text: str) -> str:
    """Return the text with every unprintable character, such as a terminal control code, as its escape.

    Anyone may have written a job's labels and a site's reasons; a person approves what the screen shows.
    """
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in readable(text))


def readable(text: str) -> str:
    """Return the text in characters that UTF-8 has: bytes of a file name as UTF-8, and what is none as ``\\xff``.

    Two file names stay two. A text that UTF-8 can write is returned unchanged.
    """
    decoded = _BYTES.sub(
        lambda run: run.group().encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"), text
    )
    return decoded.encode("utf-8", "backslashreplace").decode("utf-8")


def quoted(text: str) -> str:
    """Return a reason as part of a list of reasons: in quotation marks, if it holds a sign that could divide the list.

    A site words its own reason; without the marks it could add an entry that accuses another.
    """
    return text if _DIVIDES.search(text) is None else '"' + text.replace('"', "'") + '"'


def first_of(entries: Sequence[str]) -> list[str]:
    """Return the first ``MOST_NAMED`` entries, and the number of the rest as one more: a sentence stays short."""
    more = len(entries) - MOST_NAMED
    return [*entries[:MOST_NAMED], *([f"{more} more"] if more > 0 else [])]
