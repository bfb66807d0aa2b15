"""Every message of every sender against the list: what is on it passes, and nothing else, however it is written."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedward.flare.messages.allowed import REQUESTS, STREAMS, Party, serves
from fedward.flare.messages.header_forms import LONGEST_TEXT, printable
from fedward.flare.messages.rules import (
    Arrival,
    Cell,
    Link,
    plain_headers,
    read_name,
    refuse_message,
    refuse_peer,
)

ONE, OTHER = "0b7a1c1e-5b0e-4c7a-9f00-000000000001", "0b7a1c1e-5b0e-4c7a-9f00-000000000002"
NORTH, SOUTH, CONSOLE, THIRD = "north-clinic", "south-clinic", f"_admin_{ONE}", f"_admin_{OTHER}"
NAMES = {
    Party.SERVER: ("server",),
    Party.SERVER_JOB: (f"server.{ONE}", f"server.{OTHER}"),
    Party.SITE: (NORTH, SOUTH),
    Party.SITE_JOB: (f"{NORTH}.{ONE}", f"{NORTH}.{OTHER}", f"{SOUTH}.{ONE}"),
    Party.CONSOLE: (CONSOLE, THIRD),
    Party.TRANSFER: (f"{NORTH}.ws_transfer_{ONE}",),
}
EVERYBODY = tuple(name for names in NAMES.values() for name in names)
SAID = sorted({said for table in (REQUESTS, STREAMS) for topics in table.values() for said in topics})
FRAME = {"stream_id": 17, "stream_place": 0, "stream_size": 100}
ODD = [
    ("admin", "sys.shell"),
    ("_net_manager", "stop"),
    ("cellnet.channel", "bulk"),
    ("credential_manager", "key_exchange"),
    ("aux_communication", "fed.event"),
    ("aux_communication", "__do_task__"),
    ("client_command", "show_errors"),
]


def headers(kind: str, channel: str, topic: str, origin: str, destination: str, **more: Any) -> dict[str, Any]:
    subject: dict[str, Any] = {"msg_type": kind, "channel": channel, "topic": topic}
    return subject | {"origin": origin, "destination": destination} | more


def arrival_of(me: str, peer: str) -> Arrival:
    """The connection that there really is between two cells."""
    mine, its = read_name(me), read_name(peer)
    assert mine is not None and its is not None
    on_one_machine = mine.site == its.site and Party.CONSOLE not in (mine.party, its.party)
    certificate = "lead@example.org" if its.party is Party.CONSOLE else its.site or None
    known = mine.party is Party.SERVER and not on_one_machine
    return Arrival(
        Link.MACHINE if on_one_machine else Link.FEDERATION,
        peer,
        certificate if known else None,
        known and its.party is Party.CONSOLE,
    )


@pytest.mark.parametrize(
    ("name", "cell"),
    [
        ("server", Cell(Party.SERVER)),
        (f"server.{ONE}", Cell(Party.SERVER_JOB, "", ONE)),
        (NORTH, Cell(Party.SITE, NORTH)),
        (f"{NORTH}.{ONE}", Cell(Party.SITE_JOB, NORTH, ONE)),
        (CONSOLE, Cell(Party.CONSOLE)),
        (f"{NORTH}.ws_transfer_{ONE}", Cell(Party.TRANSFER, NORTH, ONE)),
    ],
)
def test_a_cells_name_is_read(name: str, cell: Cell) -> None:
    assert read_name(name) == cell


@pytest.mark.parametrize(
    "name",
    [
        *(
            "",
            ".",
            "server.",
            f".{ONE}",
            "Server",
            "north_clinic",
            f"{NORTH}.job",
            f"{NORTH}.{ONE}.0",
            f"{NORTH}..{ONE}",
        ),
        *(f"server.ws_transfer_{ONE}", "_admin_1", f"{CONSOLE}.{ONE}", f"{NORTH}.{ONE.upper()}", f"{NORTH}\n", "é"),
        *(None, 7, b"server", ["server"], "a" * 300),
    ],
)
def test_no_other_name_is_a_cells(name: object) -> None:
    assert read_name(name) is None


def expected(kind: str, said: tuple[str, str], origin: str, destination: str) -> bool:
    """The same from the tables alone, where origin and destination are neighbours."""
    sender, receiver = read_name(origin), read_name(destination)
    assert sender is not None and receiver is not None
    if sender.site and receiver.site and sender.site != receiver.site:
        return False
    if sender.job and receiver.job and sender.job != receiver.job:
        return False
    pair = (sender.party, receiver.party) if kind == "req" else (receiver.party, sender.party)
    return said in REQUESTS.get(pair, ())


@pytest.mark.parametrize("kind", ["req", "reply"])
def test_between_neighbours_only_what_is_on_the_list_passes(kind: str) -> None:
    passed = 0
    for me, peer, said in product(EVERYBODY, EVERYBODY, [*SAID, *ODD]):
        if me == peer or refuse_peer(me, arrival_of(me, peer)) is not None:
            continue
        found = refuse_message(me, headers(kind, *said, peer, me), arrival_of(me, peer), empty=False)
        assert (found is None) is expected(kind, said, peer, me), (kind, said, peer, me, found)
        passed += found is None
    assert passed > 20


@pytest.mark.parametrize("me", ["server", NORTH])
def test_nothing_passes_between_two_participants(me: str) -> None:
    """Whoever brings it, with whatever names on it: no message of a participant goes to another one."""
    outside = (Party.SITE, Party.SITE_JOB, Party.CONSOLE)
    for peer, origin, destination, said in product(EVERYBODY, EVERYBODY, EVERYBODY, [*SAID, *ODD]):
        sender, receiver = read_name(origin), read_name(destination)
        assert sender is not None and receiver is not None
        if sender.party not in outside or receiver.party not in outside or sender.site == receiver.site != "":
            continue
        for kind, stream in (("req", None), ("reply", None), ("return", None), ("req", said)):
            written = headers(kind, *(said if stream is None else ("sm__STREAM", "sm__DATA")), origin, destination)
            if stream is not None:
                written |= {"stream_channel": stream[0], "stream_topic": stream[1], **FRAME}
            for link in (Link.FEDERATION, Link.MACHINE):
                arrival = Arrival(link, peer, read_name(peer).site or "lead@example.org", peer in NAMES[Party.CONSOLE])  # type: ignore[union-attr]
                assert refuse_message(me, written, arrival, empty=True) is not None, (peer, origin, destination, said)


def test_the_way_of_a_jobs_stream_through_both_parents() -> None:
    """A task's request from a job's process, handed over by site and server, and its answer back."""
    asked = {"stream_channel": "server_command", "stream_topic": "get_task", **FRAME}
    answer = {"stream_channel": "return_only", "stream_topic": "server_command:get_task", **FRAME}
    up = headers("req", "sm__STREAM", "sm__DATA", f"{NORTH}.{ONE}", f"server.{ONE}", **asked)
    down = headers("req", "sm__STREAM", "sm__DATA", f"server.{ONE}", f"{NORTH}.{ONE}", **answer)
    for me, peer, stream in (
        (NORTH, f"{NORTH}.{ONE}", up),
        ("server", NORTH, up),
        ("server", f"{NORTH}.{ONE}", up),
        (f"server.{ONE}", "server", up),
        ("server", f"server.{ONE}", down),
        (NORTH, "server", down),
        (f"{NORTH}.{ONE}", "server", down),
        (f"{NORTH}.{ONE}", NORTH, down),
    ):
        assert refuse_message(me, stream, arrival_of(me, peer), empty=False) is None, (me, peer)
    other = down | {"origin": f"server.{OTHER}"}
    assert refuse_message(f"{NORTH}.{ONE}", other, arrival_of(f"{NORTH}.{ONE}", "server"), empty=False) is not None
    asks_back = down | {"stream_topic": "aux_communication:__end_run__"}
    assert refuse_message(f"{NORTH}.{ONE}", asks_back, arrival_of(NORTH, "server"), empty=False) is not None


@pytest.mark.parametrize(
    ("me", "arrival"),
    [
        ("server", Arrival(Link.FEDERATION, NORTH, SOUTH)),
        ("server", Arrival(Link.FEDERATION, NORTH, None)),
        ("server", Arrival(Link.FEDERATION, f"{NORTH}.{ONE}", SOUTH)),
        ("server", Arrival(Link.FEDERATION, NORTH, NORTH, person=True)),
        ("server", Arrival(Link.FEDERATION, CONSOLE, NORTH)),
        ("server", Arrival(Link.FEDERATION, f"server.{ONE}", NORTH)),
        ("server", Arrival(Link.FEDERATION, "server", NORTH)),
        ("server", Arrival(Link.MACHINE, NORTH)),
        (NORTH, Arrival(Link.FEDERATION, SOUTH)),
        (NORTH, Arrival(Link.FEDERATION, f"{NORTH}.{ONE}")),
        (NORTH, Arrival(Link.FEDERATION, CONSOLE)),
        (NORTH, Arrival(Link.MACHINE, "server")),
        (NORTH, Arrival(Link.MACHINE, f"{SOUTH}.{ONE}")),
        (f"{NORTH}.{ONE}", Arrival(Link.FEDERATION, NORTH)),
        (f"{NORTH}.{ONE}", Arrival(Link.MACHINE, SOUTH)),
        (f"{NORTH}.{ONE}", Arrival(Link.MACHINE, f"{NORTH}.{OTHER}")),
    ],
)
def test_a_peer_is_who_its_connection_and_certificate_say(me: str, arrival: Arrival) -> None:
    assert refuse_peer(me, arrival) is not None


GOOD = headers("req", "admin", "admin", "server", NORTH)
FROM_SERVER = Arrival(Link.FEDERATION, "server")


def test_an_ordinary_request_passes() -> None:
    assert refuse_message(NORTH, GOOD, FROM_SERVER, empty=False) is None


@pytest.mark.parametrize("name", ["msg_type", "channel", "topic", "origin", "destination"])
@pytest.mark.parametrize("value", [None, "", 7, b"admin", ["admin"], {"a": 1}, True])
def test_a_header_that_is_no_word_is_refused(name: str, value: object) -> None:
    assert refuse_message(NORTH, GOOD | {name: value}, FROM_SERVER, empty=False) is not None
    assert refuse_message(NORTH, {k: v for k, v in GOOD.items() if k != name}, FROM_SERVER, empty=False) is not None


@pytest.mark.parametrize(
    "more",
    [
        {"conn_url": "grpc://10.0.0.1:80"},
        {"encrypted": True},
        {"secure": True},
        {"server_transit_required": True},
        {"pass_through": True},
        {"payload_encoding": "pickle"},
    ],
)
def test_a_header_that_asks_for_more_is_refused(more: dict[str, Any]) -> None:
    assert refuse_message(NORTH, GOOD | more, FROM_SERVER, empty=False) is not None


def test_what_comes_back_undelivered_has_no_payload() -> None:
    assert refuse_message(NORTH, BACK, FROM_SERVER, empty=True) is None
    assert refuse_message(NORTH, BACK, FROM_SERVER, empty=False) is not None


SENT = {"cn__msg_type": "req", "cn__channel": "task", "cn__topic": "heart_beat"} | {
    "cn__origin": NORTH,
    "cn__destination": "server",
}
BACK = {"msg_type": "return", "origin": "server", "destination": NORTH, "original_headers": SENT}


@pytest.mark.parametrize(
    "sent",
    [
        None,
        {},
        "req",
        SENT | {"cn__msg_type": "reply"},
        SENT | {"cn__origin": SOUTH},
        SENT | {"cn__destination": SOUTH},
        SENT | {"cn__destination": ["server"]},
        SENT | {"cn__channel": "drawn", "cn__topic": "anew"},
        SENT | {"cn__channel": 7},
        SENT | {"cn__route": [["x" * 200, 0.0]]},
    ],
)
def test_what_comes_back_was_sent_by_its_receiver(sent: object) -> None:
    """FLARE takes whom an answer is from, and what its figures are kept under, from what a sender says it sent."""
    assert refuse_message(NORTH, BACK | {"original_headers": sent}, FROM_SERVER, empty=True) is not None


@given(st.sampled_from(EVERYBODY), st.sampled_from(EVERYBODY), st.sampled_from(EVERYBODY), st.sampled_from(SAID))
def test_a_participant_returns_what_was_sent_to_itself(
    returner: str, receiver: str, sent_to: str, said: tuple[str, str]
) -> None:
    """The server asks all hospitals under one number: one that returned another's request would answer for it."""
    sent = {"msg_type": "req", "channel": said[0], "topic": said[1], "origin": receiver, "destination": sent_to}
    back = {"msg_type": "return", "origin": returner, "destination": receiver}
    back |= {"original_headers": {f"cn__{name}": value for name, value in sent.items()}}
    if refuse_message(receiver, back, arrival_of(receiver, returner), empty=True) is None:
        own, mine, its = read_name(returner), read_name(receiver), read_name(sent_to)
        assert own is not None and mine is not None and its is not None
        outside = own.party is Party.CONSOLE or (own.site and own.site != mine.site)
        assert not outside or (sent_to == returner if own.party is Party.CONSOLE else its.site == own.site)


ASKED = {"cn__msg_type": "req", "cn__channel": "admin", "cn__topic": "admin", "cn__origin": "server"}


@pytest.mark.parametrize(("sent_to", "passes"), [(SOUTH, True), (NORTH, False), (CONSOLE, False)])
def test_a_hospital_returns_no_request_that_another_was_asked(sent_to: str, passes: bool) -> None:
    back = {"msg_type": "return", "origin": SOUTH, "destination": "server"}
    back |= {"original_headers": ASKED | {"cn__destination": sent_to}}
    assert (refuse_message("server", back, arrival_of("server", SOUTH), empty=True) is None) is passes


@pytest.mark.parametrize(
    ("route", "passes"),
    [
        (None, True),
        ([["server", 1.5]], True),
        ([("server", 1), [NORTH, 2.0]], True),
        ([], True),
        ([(NORTH, 1)], False),
        ([["drawn anew", 1.5]], False),
        ([["server"]], False),
        ([["server", "1"]], False),
        (["server"], False),
        ("server", False),
        ({"server": 1}, False),
        ([["server", 1.5]] * 9, False),
    ],
)
def test_a_route_is_a_few_cells_with_times(route: object, passes: bool) -> None:
    assert (refuse_message(NORTH, GOOD | {"route": route}, FROM_SERVER, empty=False) is None) is passes


UNTIDY = [
    "x\nfedward - WARNING - forged",
    "x\r",
    "\x1b[2Jx",
    "x\u2028y",
    "\x00",
    "é",
    "x" * 300,
    7,
    b"x",
    ["x"],
    {"x": 1},
]


@pytest.mark.parametrize("value", UNTIDY)
@pytest.mark.parametrize(
    "name", ["from", "to", "req_id", "return_code", "return_reason", "stream_request", "stream_error_type", "topic"]
)
def test_what_goes_to_the_log_is_short_and_printable(name: str, value: Any) -> None:
    """Of each message that is on the list: FLARE writes these of it to the log, and a line break begins a new line."""
    told = headers("req", "sm__STREAM", "sm__ERROR", f"{NORTH}.{ONE}", f"server.{ONE}") | {"stream_id": 17}
    late = headers("return", "", "", "server", NORTH) | {"original_headers": SENT}
    fits = name == "req_id" and value == ["x"]
    for me, written, arrival in ((NORTH, GOOD, FROM_SERVER), ("server", told, UP), (NORTH, late, FROM_SERVER)):
        assert refuse_message(me, written, arrival, empty=True) is None
        found = refuse_message(me, written | {name: value}, arrival, empty=True)
        assert fits or found is not None, (written, name)


@pytest.mark.parametrize("name", ["stream_channel", "stream_topic", "stream_place"])
@pytest.mark.parametrize("value", [one for one in UNTIDY if one != 7])
def test_what_a_failure_is_about_is_short_and_printable(name: str, value: Any) -> None:
    told = headers("req", "sm__STREAM", "sm__ERROR", f"{NORTH}.{ONE}", f"server.{ONE}") | {"stream_id": 17}
    assert refuse_message("server", told | {name: value}, UP, empty=True) is not None


@pytest.mark.parametrize("ids", [["a"] * 65, ["a\nb"], [7], [["a"]], {"a": 1}])
def test_ids_of_requests_are_a_few_words(ids: object) -> None:
    assert refuse_message(NORTH, GOOD | {"req_id": ids}, FROM_SERVER, empty=False) is not None
    assert refuse_message(NORTH, GOOD | {"req_id": ["a"] * 64}, FROM_SERVER, empty=False) is None


@given(text=st.text(max_size=400))
def test_a_free_text_is_one_short_line_of_what_was_said(text: str) -> None:
    found = printable(text)
    assert found.isprintable() and found.isascii() and len(found.splitlines()) <= 1
    assert len(found) == min(len(text), LONGEST_TEXT)
    if text.isascii() and text.isprintable():
        assert found == text[:LONGEST_TEXT]


TASK = headers("req", "sm__STREAM", "sm__DATA", f"{NORTH}.{ONE}", f"server.{ONE}") | {
    "stream_channel": "server_command",
    "stream_topic": "get_task",
}
UP = Arrival(Link.FEDERATION, f"{NORTH}.{ONE}", NORTH)


@pytest.mark.parametrize(
    ("frame", "passes"),
    [
        (FRAME, True),
        ({"stream_id": 17, "stream_error": "it failed"}, True),
        ({}, False),
        *((FRAME | {name: value}, False) for name in FRAME for value in (None, -1, True, "1", [1], 1.0, 2**63)),
        (FRAME | {"stream_place": None, "stream_error": 7}, False),
    ],
)
def test_a_frame_has_its_place_in_a_stream(frame: dict[str, Any], passes: bool) -> None:
    """FLARE keeps a stream that it can never put together for as long as its process lives."""
    assert (refuse_message("server", TASK | frame, UP, empty=False) is None) is passes


@pytest.mark.parametrize("topic", ["sm__ACK", "sm__ERROR"])
@pytest.mark.parametrize(
    ("origin", "failed", "passes"),
    [
        (f"{NORTH}.{ONE}", None, True),
        (f"{NORTH}.{ONE}", f"{NORTH}.{ONE}", True),
        (f"{NORTH}.{ONE}", f"{SOUTH}.{ONE}", False),
        (NORTH, f"{NORTH}.{ONE}", True),
        (NORTH, f"{SOUTH}.{ONE}", False),
        (NORTH, f"server.{ONE}", False),
        (NORTH, 7, False),
    ],
)
def test_a_failure_is_told_by_its_own_side(topic: str, origin: str, failed: object, passes: bool) -> None:
    """A hospital cannot end a stream of the server to another hospital."""
    told = headers("req", "sm__STREAM", topic, origin, f"server.{ONE}") | {"stream_id": 17, "stream_failed": failed}
    assert (refuse_message("server", told, Arrival(Link.FEDERATION, origin, NORTH), empty=False) is None) is passes
    by_the_server = Arrival(Link.MACHINE, "server")
    told |= {"origin": "server", "stream_failed": f"{SOUTH}.{ONE}"}
    assert refuse_message(f"server.{ONE}", told, by_the_server, empty=False) is None


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=20)
    | st.binary(max_size=20)
    | st.sampled_from(EVERYBODY),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
NAMED = ["cn__msg_type", "cn__channel", "cn__topic", "cn__origin", "cn__destination", "sm__ch", "sm__tp", "cn__secure"]


@given(
    given_headers=st.dictionaries(st.sampled_from(NAMED) | st.text(max_size=5), ANYTHING) | ANYTHING,
    me=st.sampled_from(EVERYBODY),
    peer=st.sampled_from(EVERYBODY),
    link=st.sampled_from([Link.FEDERATION, Link.MACHINE]),
)
def test_whatever_comes_is_judged(given_headers: object, me: str, peer: str, link: Link) -> None:
    """No header of any kind makes the rules throw; the guard would refuse then too, with less detail."""
    found = refuse_message(me, plain_headers(given_headers), Arrival(link, peer, peer), empty=False)
    assert found is None or found.isprintable()


def test_a_handler_is_registered_only_for_what_somebody_may_ask() -> None:
    for table in (REQUESTS, STREAMS):
        for (_, receiver), topics in table.items():
            for channel, topic in topics:
                assert serves(receiver, channel, topic) and serves(receiver, channel, "*")
    for party, said in product(Party, ODD):
        if party is not Party.SITE or said[0] != "admin":
            assert not serves(party, *said)
