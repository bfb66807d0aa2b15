"""Which message a cell takes: from whom, over which connection, for whom, and on which channel and topic.

FLARE routes a message by the names in its headers, which the sender writes. A certificate of the federation is thus
enough to reach every cell. Here each message is held against one table before FLARE reads it:

1. its headers are of the types that FLARE writes, and ask for nothing that an ordinary job does not use;
2. the connection that it came over leads to the participant that it names as its origin (``Arrival``);
3. it is for this cell, or it is one that this cell may pass on: never between two participants;
4. its channel and topic are on the list for its origin and its destination (``message_lists``).

A message that is on no list is refused. Pure: no nvflare, no state.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeGuard

from fedward.flare.message_lists import REQUESTS, RETURN_ONLY, STREAM, STREAMS, Pair, Party


class Link(StrEnum):
    """How two cells are connected."""

    FEDERATION = "federation"
    """Mutual TLS between a site or a console and the server."""
    MACHINE = "machine"
    """Between a parent process and the processes of its jobs."""
    SELF = "self"
    """A process with itself."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell's name, read.

    Attributes:
        party: its kind.
        site: the site's id; "" for the server and a console.
        job: FLARE's id of the job; "" for a parent and a console.
    """

    party: Party
    site: str = ""
    job: str = ""


@dataclass(frozen=True, slots=True)
class Arrival:
    """The connection that a message came over.

    Attributes:
        link: its kind.
        peer: the name that the cell at its other end gave at the handshake.
        certificate: common name in the peer's certificate; None where there is none, or where FLARE does not know it
            (gRPC tells a client nothing of the server's certificate, which TLS has held against the server's name).
        person: the certificate is a person's.
    """

    link: Link
    peer: str
    certificate: str | None = None
    person: bool = False


_DATA, _CONTROL = "sm__DATA", frozenset({"sm__ACK", "sm__ERROR"})
_UNREACHABLE = ((Party.SITE, Party.SERVER_JOB), (Party.SERVER, Party.SITE_JOB), (Party.SERVER, Party.SERVER_JOB))
"""Who tells the sender of a stream that its receiver, a job of theirs, is gone."""

_WORDS, _SUBJECT = ("msg_type", "origin", "destination"), ("channel", "topic")
_REFUSED = ("conn_url", "encrypted", "secure", "server_transit_required", "pass_through")
"""Headers with which a sender asks for a connection to an address of its choice, for an exchange of certificates, for
delivery to another participant, or for a payload that is fetched later. No ordinary message has them."""
_ENCODINGS = (None, "fobs", "bytes", "none")
_LONGEST = 256
_JOB = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SITE = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_CONSOLE = re.compile(rf"_admin_{_JOB.pattern}")
_TRANSFER_PREFIX = "ws_transfer_"


def read_name(name: object) -> Cell | None:
    """The cell of that name; None for a name that no cell of a federation has."""
    if type(name) is not str or len(name) > _LONGEST:
        return None
    if _CONSOLE.fullmatch(name):
        return Cell(Party.CONSOLE)
    root, _, rest = name.partition(".")
    if root != "server" and not _SITE.fullmatch(root):
        return None
    site = "" if root == "server" else root
    if "." not in name:
        return Cell(Party.SITE, site) if site else Cell(Party.SERVER)
    if site and rest.startswith(_TRANSFER_PREFIX) and _JOB.fullmatch(rest.removeprefix(_TRANSFER_PREFIX)):
        return Cell(Party.TRANSFER, site, rest.removeprefix(_TRANSFER_PREFIX))
    if not _JOB.fullmatch(rest):
        return None
    return Cell(Party.SITE_JOB if site else Party.SERVER_JOB, site, rest)


def refuse_peer(me: str, arrival: Arrival) -> str | None:
    """Why the cell at the other end of a connection may not be who it says it is; None where it may.

    Args:
        me: the name of the cell that asks.
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
"""(cell, connection) -> who may be at its other end."""


def refuse_message(me: str, headers: object, arrival: Arrival, *, empty: bool) -> str | None:
    """Why a message is refused at a cell, before anything of its payload is decoded; None where it is on the list.

    Args:
        me: the cell's name.
        headers: as they came, in FLARE's terms without their prefix: see ``plain_headers``.
        arrival: the connection that it came over.
        empty: it has no payload.
    """
    if arrival.link is Link.SELF:
        return None
    if not _readable(headers):
        return "headers are not those of a message"
    if any(headers.get(name) for name in _REFUSED) or headers.get("payload_encoding") not in _ENCODINGS:
        return "headers ask for what no message of a job asks for"
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
    """Whether the headers are words; a message that comes back undelivered has no channel and no topic."""
    if type(headers) is not dict or not all(type(headers.get(word)) is str for word in _WORDS):
        return False
    subject = [headers.get(word) for word in _SUBJECT]
    return all(type(word) is str for word in subject) or (headers["msg_type"] == "return" and subject == [None, None])


def _hands_over(peer: Cell, name: str, origin: Cell, arrival: Arrival) -> bool:
    """Whether the peer may bring a message of that origin: its own, its jobs', and from a parent the other side's."""
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
    """Whether a cell may pass a message on: between the server and its jobs on one side and one site on the other."""
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
    """Whether the two belong together: of one site or of the server and a site, and not of two jobs."""
    one_site = not origin.site or not destination.site or origin.site == destination.site
    one_job = not origin.job or not destination.job or origin.job == destination.job
    return one_site and one_job


def _off_list(headers: Mapping[str, Any], origin: Cell, destination: Cell, *, empty: bool) -> str | None:
    asked, back = (origin.party, destination.party), (destination.party, origin.party)
    kind, said = headers["msg_type"], (headers.get("channel", ""), headers.get("topic", ""))
    if kind == "req" and said[0] == STREAM:
        return _off_streams(headers, said[1], asked, back)
    if kind == "req" and said in REQUESTS.get(asked, ()):
        return None
    if kind == "reply" and said in REQUESTS.get(back, ()):
        return None
    if kind == "return" and empty and any(pair in table for pair in (asked, back) for table in (REQUESTS, STREAMS)):
        return None
    return "message is on no list"


def _off_streams(headers: Mapping[str, Any], topic: str, asked: Pair, back: Pair) -> str | None:
    if topic in _CONTROL:
        known = asked in STREAMS or back in STREAMS or asked in _UNREACHABLE
        return None if known else "message is on no list"
    inner, inner_topic = headers.get("stream_channel"), headers.get("stream_topic")
    if topic != _DATA or type(inner) is not str or type(inner_topic) is not str:
        return "message is on no list"
    if inner == RETURN_ONLY:
        channel, _, answered = inner_topic.partition(":")
        listed = (channel, answered) in STREAMS.get(back, ())
    else:
        listed = (inner, inner_topic) in STREAMS.get(asked, ())
    return None if listed else "message is on no list"


def plain_headers(headers: object) -> object:
    """FLARE's headers under the names of this module: ``cn__`` taken off, ``sm__ch`` and ``sm__tp`` spelt out.

    Anything that is not a table with words as keys comes back as None, and is refused.
    """
    if type(headers) is not dict or not all(type(key) is str for key in headers):
        return None
    found = {key.removeprefix("cn__"): value for key, value in headers.items() if key.startswith("cn__")}
    return found | {"stream_channel": headers.get("sm__ch"), "stream_topic": headers.get("sm__tp")}
