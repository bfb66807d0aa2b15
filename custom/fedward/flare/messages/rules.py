"""Decide which messages a cell accepts: by sender, connection, receiver, channel and topic.

FLARE routes a message by the names in its headers, which the sender writes. So any certificate of the federation is
enough to reach every cell. Here each message is checked against one table before FLARE reads it:

1. its headers have the types that FLARE writes, are short and printable where FLARE logs them, and request nothing that
   an ordinary job does not use;
2. the connection that it came over leads to the participant that it names as its origin (``Arrival``);
3. it is for this cell, or this cell may pass it on: never between two participants;
4. its channel and topic are on the list for its origin and its destination (``allowed``);
5. a frame of a stream has a number, a place and a size, and reports no failure but its own side's; a message that is
   returned undelivered is a request that its receiver may have sent to the participant that returns it.

A message that is on no list is refused. Pure: no nvflare, no state.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeGuard

from fedward.flare.messages.allowed import REQUESTS, RETURN_ONLY, STREAM, STREAMS, Pair, Party
from fedward.flare.messages.cells import Arrival, Cell, Link, read_name
from fedward.flare.messages.header_forms import is_frame, is_loggable, plain_headers, tells_of_its_own, travelled

__all__ = ["Arrival", "Cell", "Link", "plain_headers", "read_name", "refuse_message", "refuse_peer"]


_DATA, _CONTROL = "sm__DATA", frozenset({"sm__ACK", "sm__ERROR"})
_UNREACHABLE = ((Party.SITE, Party.SERVER_JOB), (Party.SERVER, Party.SITE_JOB), (Party.SERVER, Party.SERVER_JOB))
"""(origin, destination) of reports to a stream's sender, the destination, that the receiving job is gone."""

_WORDS, _SUBJECT = ("msg_type", "origin", "destination"), ("channel", "topic")
_REFUSED = ("conn_url", "encrypted", "secure", "server_transit_required", "pass_through")
"""Headers that request a connection to an address of the sender's choice, an exchange of certificates, delivery to
another participant, or a payload that is fetched later. No ordinary message has them."""
_ENCODINGS = (None, "fobs", "bytes", "none")


def refuse_peer(me: str, arrival: Arrival) -> str | None:
    """Return why the cell at the other end of a connection may not have its name; None if it may.

    Args:
        me: name of the cell that checks.
        arrival: the connection.
    """
    cell, peer = read_name(me), read_name(arrival.peer)
    if arrival.link is Link.SELF:
        return None
    if cell is None or peer is None:
        return "peer has no name of a federation"
    expected = _PEERS.get((cell.party, arrival.link), frozenset())
    if peer.party not in expected:
        return f"a {cell.party} has no {peer.party} at the other end of a {arrival.link} connection"
    if arrival.link is Link.MACHINE and peer.site != cell.site:
        return "process is of another participant"
    if cell.party is not Party.SERVER or arrival.link is not Link.FEDERATION:
        return None
    if peer.party is Party.CONSOLE:
        return None if arrival.person else "console has no certificate of a person"
    return None if arrival.certificate == peer.site and not arrival.person else "certificate is of another participant"


_PEERS: Mapping[tuple[Party, Link], frozenset[Party]] = {
    (Party.SERVER, Link.FEDERATION): frozenset({Party.SITE, Party.SITE_JOB, Party.CONSOLE}),
    (Party.SERVER, Link.MACHINE): frozenset({Party.SERVER_JOB}),
    (Party.SERVER_JOB, Link.MACHINE): frozenset({Party.SERVER}),
    (Party.SITE, Link.FEDERATION): frozenset({Party.SERVER}),
    (Party.SITE, Link.MACHINE): frozenset({Party.SITE_JOB, Party.TRANSFER}),
    (Party.SITE_JOB, Link.FEDERATION): frozenset({Party.SERVER}),
    (Party.SITE_JOB, Link.MACHINE): frozenset({Party.SITE}),
    (Party.TRANSFER, Link.FEDERATION): frozenset({Party.SERVER}),
    (Party.TRANSFER, Link.MACHINE): frozenset({Party.SITE}),
}
"""Kinds of cells that are allowed at the other end, by (cell, connection)."""


def refuse_message(me: str, headers: object, arrival: Arrival, *, empty: bool) -> str | None:
    """Return why a cell refuses a message, before any of its payload is decoded; None if it is on the list.

    Args:
        me: the cell's name.
        headers: as received, under FLARE's names without their prefix: see ``plain_headers``.
        arrival: the connection that it came over.
        empty: true if it has no payload.
    """
    if arrival.link is Link.SELF:
        return None
    if not _readable(headers):
        return "headers are not those of a message"
    if any(headers.get(name) for name in _REFUSED) or headers.get("payload_encoding") not in _ENCODINGS:
        return "headers ask for what no message of a job asks for"
    if not is_loggable(headers):
        return "headers are not short and printable"
    refused = refuse_peer(me, arrival)
    if refused is not None:
        return refused
    cell, origin, destination = read_name(me), read_name(headers["origin"]), read_name(headers["destination"])
    if cell is None or origin is None or destination is None:
        return "origin or destination has no name of a federation"
    peer = read_name(arrival.peer)
    if peer is None or not _hands_over(peer, headers["origin"], origin, arrival):
        return "origin is not who the connection leads to"
    if headers["destination"] != me and not _passes_on(cell, origin, destination):
        return "message is between two others"
    if not _related(origin, destination):
        return "message is for another job or another site"
    return _off_list(headers, origin, destination, empty=empty)


def _readable(headers: object) -> TypeGuard[dict[str, Any]]:
    """True if the headers are strings; a message that is returned undelivered has no channel and no topic."""
    if type(headers) is not dict or not all(type(headers.get(word)) is str for word in _WORDS):
        return False
    subject = [headers.get(word) for word in _SUBJECT]
    are_texts = all(type(word) is str for word in subject)
    return travelled(headers.get("route"), headers["origin"]) and (
        are_texts or (headers["msg_type"] == "return" and subject == [None, None])
    )


def _hands_over(peer: Cell, name: str, origin: Cell, arrival: Arrival) -> bool:
    """True if the peer may deliver a message of that origin: its own, its jobs', and from a parent the other side's."""
    if name == arrival.peer:
        return True
    if peer.party is Party.SITE:
        own = origin.party is Party.SITE_JOB and origin.site == peer.site
        return own or (arrival.link is Link.MACHINE and origin.party in (Party.SERVER, Party.SERVER_JOB))
    if peer.party is Party.SERVER:
        if arrival.link is Link.FEDERATION:
            return origin.party is Party.SERVER_JOB
        return origin.party in (Party.SITE, Party.SITE_JOB)
    return False


def _passes_on(cell: Cell, origin: Cell, destination: Cell) -> bool:
    """True if a cell may pass a message on: between the server and its jobs on one side and one site on the other."""
    ours, theirs = (Party.SERVER, Party.SERVER_JOB), (Party.SITE, Party.SITE_JOB)
    if cell.party is Party.SERVER:
        return (origin.party is Party.SERVER_JOB and destination.party in theirs) or (
            origin.party in theirs and destination.party is Party.SERVER_JOB
        )
    if cell.party is Party.SITE:
        down = origin.party in ours and destination.party is Party.SITE_JOB and destination.site == cell.site
        up = origin.party is Party.SITE_JOB and origin.site == cell.site and destination.party in ours
        return down or up
    return False


def _related(origin: Cell, destination: Cell) -> bool:
    """True if two cells belong together: of one site, or of the server and a site; and not of two jobs."""
    one_site = not origin.site or not destination.site or origin.site == destination.site
    one_job = not origin.job or not destination.job or origin.job == destination.job
    return one_site and one_job


def _off_list(headers: Mapping[str, Any], origin: Cell, destination: Cell, *, empty: bool) -> str | None:
    asked, back = (origin.party, destination.party), (destination.party, origin.party)
    kind, subject = headers["msg_type"], (headers.get("channel", ""), headers.get("topic", ""))
    if kind == "req" and subject[0] == STREAM:
        if subject[1] in _CONTROL and not tells_of_its_own(headers, origin):
            return "stream's failure is another's to tell"
        return _off_streams(headers, subject[1], asked, back)
    if kind == "req" and subject in REQUESTS.get(asked, ()):
        return None
    if kind == "reply" and subject in REQUESTS.get(back, ()):
        return None
    if kind == "return" and empty and _came_back(headers, origin, destination):
        return None
    return "message is on no list"


def _came_back(headers: Mapping[str, Any], returner: Cell, receiver: Cell) -> bool:
    """True if a returned message is a listed request that its receiver sent and the returner may have received."""
    sent = plain_headers(headers.get("original_headers"))
    if not _readable(sent) or sent["msg_type"] != "req" or sent["origin"] != headers["destination"]:
        return False
    origin, destination = read_name(sent["origin"]), read_name(sent["destination"])
    if origin is None or destination is None or not _related(origin, destination):
        return False
    if returner.party is Party.CONSOLE and sent["destination"] != headers["origin"]:
        return False
    if returner.site and returner.site not in (receiver.site, destination.site):
        return False
    return _off_list(sent, origin, destination, empty=False) is None


def _off_streams(headers: Mapping[str, Any], topic: str, asked: Pair, back: Pair) -> str | None:
    if topic in _CONTROL:
        known = asked in STREAMS or back in STREAMS or asked in _UNREACHABLE
        return None if known else "message is on no list"
    inner, inner_topic = headers.get("stream_channel"), headers.get("stream_topic")
    if topic != _DATA or type(inner) is not str or type(inner_topic) is not str:
        return "message is on no list"
    if not is_frame(headers):
        return "frame has no place in its stream"
    if inner == RETURN_ONLY:
        channel, _, answered = inner_topic.partition(":")
        listed = (channel, answered) in STREAMS.get(back, ())
    else:
        listed = (inner, inner_topic) in STREAMS.get(asked, ())
    return None if listed else "message is on no list"
