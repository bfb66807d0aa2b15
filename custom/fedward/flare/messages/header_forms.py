"""The form of a message's headers: what FLARE writes there, and what it takes for granted when it reads it.

Pure: no nvflare, no state.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fedward.flare.messages.allowed import Party
from fedward.flare.messages.cells import Cell, read_name

FREE_TEXTS = ("cn__error", "sm__em")
"""Headers that hold a text, of why something failed. FLARE writes it to its log: see ``printable``."""
LONGEST_TEXT = 300
_LONGEST_WORD = 128
_MOST_IDS = 64
_MOST_HOPS = 8
_MOST = 2**63


def plain_headers(headers: object) -> object:
    """FLARE's headers under the names of this module: ``cn__`` taken off, a stream's headers spelt out.

    Anything that is not a table with words as keys comes back as None, and is refused.
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
    """Whether all that FLARE writes of a message to its log is short and in one line, once ``FREE_TEXTS`` are.

    These are names of cells, words, the ids of requests, a place in a stream and texts; each may be absent.
    """
    message = {name: value for name, value in headers.items() if value is not None}
    ids = message.get("req_id", "")
    ids = ids if type(ids) is list and len(ids) <= _MOST_IDS else [ids]
    return (
        all(read_name(message[name]) is not None for name in _LOGGED_CELLS if name in message)
        and all(_is_word(word) for word in [*ids, *(message[name] for name in _LOGGED_WORDS if name in message)])
        and all(type(message[name]) is str for name in _LOGGED_TEXTS if name in message)
        and _number(message.get("stream_place", 0))
    )


def printable(text: str, *, longest: int = LONGEST_TEXT) -> str:
    """A sender's text as it may stand in a log: its beginning, in printable ASCII."""
    return "".join(letter if letter.isascii() and letter.isprintable() else "?" for letter in text[:longest])


def _is_word(value: object) -> bool:
    return type(value) is str and value == printable(value, longest=_LONGEST_WORD)


def travelled(route: object, origin: str) -> bool:
    """Whether a route is one of a few cells, each with a time, from the message's origin on."""
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
    """Whether a frame of a stream has a number, and a place and a size or a failure to tell."""
    if not _number(headers.get("stream_id")):
        return False
    ended = type(headers.get("stream_error")) is str
    return ended or (_number(headers.get("stream_place")) and _number(headers.get("stream_size")))


def tells_of_its_own(headers: Mapping[str, Any], origin: Cell) -> bool:
    """Whether a control frame is about a stream to its own sender; a parent may say so of its jobs, the server of all
    that it could not pass on."""
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
