"""Check the form of a message's headers: as FLARE writes it, and as FLARE expects it, unchecked, when it reads it.

Pure: no nvflare, no state.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fedward.flare.messages.allowed import Party
from fedward.flare.messages.cells import Cell, read_name

FREE_TEXTS = ("cn__error", "sm__em")
"""Headers with a free text, the reason of a failure. FLARE writes it to its log: see ``printable``."""
LONGEST_TEXT = 300
_LONGEST_WORD = 128
_MOST_IDS = 64
_MOST_HOPS = 8
_MOST = 2**63


def plain_headers(headers: object) -> object:
    """Return FLARE's headers under the names of this module: without ``cn__``, a stream's headers spelt out.

    Return None, which is refused, for anything but a table with strings as keys.
    """
    if type(headers) is not dict or not all(type(key) is str for key in headers):
        return None
    found = {key.removeprefix("cn__"): value for key, value in headers.items() if key.startswith("cn__")}
    return found | {name: headers.get(short) for name, short in _STREAM_HEADERS.items()}


_STREAM_HEADERS = {
    "stream_channel": "sm__ch",
    "stream_topic": "sm__tp",
    "stream_id": "sm__id",
    "stream_place": "sm__sq",
    "stream_size": "sm__sz",
    "stream_error": "sm__em",
    "stream_error_type": "sm__et",
    "stream_failed": "sm__fd",
    "stream_request": "sm__ri",
    "stream_encoding": "sm__pe",
}
_LOGGED_CELLS = ("from", "to")
_LOGGED_TEXTS = ("error", "stream_error")
_LOGGED_WORDS = (
    *("msg_type", "channel", "topic", "return_code", "return_reason"),
    *("stream_channel", "stream_topic", "stream_error_type", "stream_request", "stream_encoding"),
)


def is_loggable(headers: Mapping[str, Any]) -> bool:
    """True if all that FLARE logs of a message is short and on one line; ``FREE_TEXTS`` are shortened later.

    FLARE logs names of cells, short strings, ids of requests, a place in a stream and texts; each may be absent.
    """
    present = {name: value for name, value in headers.items() if value is not None}
    ids = present.get("req_id", "")
    ids = ids if type(ids) is list and len(ids) <= _MOST_IDS else [ids]
    return (
        all(read_name(present[name]) is not None for name in _LOGGED_CELLS if name in present)
        and all(_is_word(word) for word in [*ids, *(present[name] for name in _LOGGED_WORDS if name in present)])
        and all(type(present[name]) is str for name in _LOGGED_TEXTS if name in present)
        and _number(present.get("stream_place", 0))
    )


def printable(text: str, *, longest: int = LONGEST_TEXT) -> str:
    """Return a sender's text in a form that is safe to log: its beginning, in printable ASCII."""
    return "".join(letter if letter.isascii() and letter.isprintable() else "?" for letter in text[:longest])


def _is_word(value: object) -> bool:
    return type(value) is str and len(value) <= _LONGEST_WORD and value.isascii() and value.isprintable()


def travelled(route: object, origin: str) -> bool:
    """True if a route is empty, or a list of few cells, each with a time, that starts at the message's origin."""
    if not route:
        return route is None or route == []
    return (
        type(route) is list
        and len(route) <= _MOST_HOPS
        and all(type(hop) in (list, tuple) and len(hop) == 2 and _is_hop(*hop) for hop in route)
        and route[0][0] == origin
    )


def _is_hop(name: object, at: object) -> bool:
    return read_name(name) is not None and type(at) in (int, float)


def is_frame(headers: Mapping[str, Any]) -> bool:
    """True if a frame of a stream has a number, and either a place and a size, or an error."""
    if not _number(headers.get("stream_id")):
        return False
    ended = type(headers.get("stream_error")) is str
    return ended or (_number(headers.get("stream_place")) and _number(headers.get("stream_size")))


def tells_of_its_own(headers: Mapping[str, Any], origin: Cell) -> bool:
    """True if a control frame is about a stream to its own sender; a parent may also report on streams to its jobs, the
    server on any stream that it could not deliver."""
    failed = headers.get("stream_failed")
    if not _number(headers.get("stream_id")):
        return False
    if failed is None or failed == headers["origin"]:
        return True
    cell = read_name(failed)
    if cell is None or origin.party not in (Party.SERVER, Party.SITE):
        return False
    return origin.party is Party.SERVER or cell.site == origin.site


def _number(value: object) -> bool:
    return type(value) is int and 0 <= value < _MOST
