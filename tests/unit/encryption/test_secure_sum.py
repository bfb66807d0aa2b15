"""Hospitals open exact sums, and whatever a server may do to one is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fedward.encryption.keys.key import FederationKey, create_key
from fedward.encryption.message import Message, pack, unpack
from fedward.encryption.schemes import accumulator, bits_of
from fedward.encryption.secure_sum import Aggregator, SecureSum
from fedward.encryption.sum_context import SumContext
from fedward.encryption.tag import add_tags
from fedward.errors import EncryptionError
from fedward.settings import MIN_CONTRIBUTORS

KEY = FederationKey(scheme="aes-ctr", generation=1, secret=bytes(range(32)))
SITES = ("east", "north", "south", "west")
TOPIC = SumContext(
    job_id="job-1", purpose="model", round_number=1, layout="a" * 64, context="c" * 64, length=5, bits=32
)
CODES = {site: np.arange(5) * 10**number - 7 for number, site in enumerate(SITES)}
NOT_THE_SUM = "does not verify: it is not the sum of the sites it names"
OTHER_TOPICS = [
    ("job id", {"job_id": "job-2"}),
    ("purpose", {"purpose": "scores"}),
    ("round number", {"round_number": 0}),
    ("layout", {"layout": "b" * 64}),
    ("context", {"context": "d" * 64}),
    ("length", {"length": 6}),
    ("bits", {"bits": 48}),
]


def sealed_by(site: str, topic: SumContext = TOPIC, key: FederationKey = KEY) -> bytes:
    return SecureSum(key, site=site).seal(np.resize(CODES[site], topic.length), topic)


def adder(topic: SumContext = TOPIC, key: FederationKey = KEY) -> Aggregator:
    return Aggregator(topic, scheme=key.scheme, key_id=key.key_id)


def summed(*sealed: bytes, topic: SumContext = TOPIC) -> bytes:
    server = adder(topic)
    for each in sealed:
        server.add(each, site=unpack(each).sites[0])
    return server.sum()


def forged(messages: list[bytes], **changes: Any) -> bytes:
    """A true sum of ``messages`` with some of its fields replaced."""
    return pack(replace(unpack(summed(*messages)), **changes))


def refused(sealed: bytes, match: str = NOT_THE_SUM, topic: SumContext = TOPIC) -> None:
    with pytest.raises(EncryptionError, match=match):
        SecureSum(KEY, site="east").open(sealed, topic)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), bits=st.sampled_from([32, 48]), count=st.integers(3, 7), length=st.integers(1, 20))
def test_a_sum_is_exact_whatever_the_numbers_and_the_order(
    data: st.DataObject, bits: int, count: int, length: int
) -> None:
    topic = replace(TOPIC, bits=bits, length=length)
    most = (2 ** (bits - 1) - 1) // count
    codes = {
        f"site-{number}": data.draw(hnp.arrays(np.int64, length, elements=st.integers(-most, most)))
        for number in range(count)
    }
    sealed = {site: SecureSum(KEY, site=site).seal(values, topic) for site, values in codes.items()}
    sums = set()
    for _ in range(2):
        server = adder(topic)
        for site in data.draw(st.permutations(sorted(sealed))):
            server.add(sealed[site], site=site)
        sums.add(server.sum(fewest=count))
    assert len(sums) == 1
    opened = SecureSum(KEY, site="site-0").open(sums.pop(), topic, fewest=count)
    assert np.array_equal(opened.codes, sum(codes.values(), np.zeros(length, np.int64)))
    assert opened.sites == server.sites == tuple(sorted(codes))


def test_a_sum_may_be_taken_while_more_arrive() -> None:
    server = adder()
    for site in SITES[:3]:
        server.add(sealed_by(site), site=site)
    early = server.sum()
    server.add(sealed_by("west"), site="west")
    hospital = SecureSum(KEY, site="east")
    assert hospital.open(early, TOPIC).sites == SITES[:3]
    assert np.array_equal(hospital.open(server.sum(), TOPIC).codes, sum(CODES.values()))


def test_numbers_of_many_blocks_and_strides_are_exact() -> None:
    topic = replace(TOPIC, length=150_001)
    table = np.random.default_rng(0).integers(-(2**29), 2**29, (topic.length, 3))
    sealed = [SecureSum(KEY, site=site).seal(table[:, n], topic) for n, site in enumerate(SITES[:3])]
    opened = SecureSum(KEY, site="north").open(summed(*sealed, topic=topic), topic)
    assert np.array_equal(opened.codes, table.sum(axis=1))


def test_equal_numbers_are_sealed_differently_each_time() -> None:
    one, other = (unpack(sealed_by("north")) for _ in range(2))
    assert one.parts != other.parts
    assert one.tag != other.tag
    assert one.payload != other.payload
    assert one.topic == other.topic


def test_no_key_stream_comes_twice() -> None:
    topics = [replace(TOPIC, **changes) for _, changes in OTHER_TOPICS[:4]]
    hospitals = [SecureSum(key, site=site) for site in SITES for key in (KEY, create_key())]
    payloads = [unpack(each.seal(np.zeros(5, np.int64), topic)).payload for each in hospitals for topic in topics * 8]
    words = [payload[start : start + 16] for payload in payloads for start in (0, 4)]
    assert len(set(words)) == len(words)


def test_the_representation_of_a_message_holds_no_numbers() -> None:
    assert "payload" not in repr(unpack(sealed_by("north")))


@pytest.mark.parametrize(("name", "changes"), OTHER_TOPICS)
def test_another_topic_is_named_and_refused(name: str, changes: dict[str, Any]) -> None:
    other = replace(TOPIC, **changes)
    with pytest.raises(EncryptionError, match=f"another {name} than this sum's"):
        adder().add(sealed_by("north", other), site="north")
    refused(summed(*(sealed_by(site, other) for site in SITES), topic=other), f"another {name} than this sum's")


@pytest.mark.parametrize(("name", "changes"), [each for each in OTHER_TOPICS if each[0] not in ("length", "bits")])
def test_another_topic_under_this_ones_name_is_not_opened(name: str, changes: dict[str, Any]) -> None:
    other = replace(TOPIC, **changes)
    sealed = [sealed_by(site, other) for site in SITES]
    refused(pack(replace(unpack(summed(*sealed, topic=other)), topic=TOPIC)))
    mixed = [sealed_by("east"), sealed_by("north"), pack(replace(unpack(sealed[2]), topic=TOPIC))]
    refused(summed(*mixed))


def test_another_key_or_scheme_is_refused() -> None:
    other = create_key()
    with pytest.raises(EncryptionError, match="another key than the others'"):
        adder().add(sealed_by("north", key=other), site="north")
    server = adder(key=other)
    for site in SITES:
        server.add(sealed_by(site, key=other), site=site)
    refused(server.sum(), "another key than this hospital's")
    refused(pack(replace(unpack(server.sum()), key_id=KEY.key_id)))
    bad = pack(replace(unpack(sealed_by("north")), scheme="bfv"))
    with pytest.raises(EncryptionError, match="another scheme than the others'"):
        adder().add(bad, site="north")


def test_what_is_cut_short_at_any_byte_is_refused() -> None:
    one, total = sealed_by("north"), summed(*map(sealed_by, SITES))
    hospital = SecureSum(KEY, site="east")
    for stop in range(len(one)):
        with pytest.raises(EncryptionError):
            adder().add(one[:stop], site="north")
    for stop in range(len(total)):
        with pytest.raises(EncryptionError):
            hospital.open(total[:stop], TOPIC)
    for longer in (one + b"\0", one + bytes(4)):
        with pytest.raises(EncryptionError):
            adder().add(longer, site="north")


def test_any_bit_flipped_anywhere_in_a_sum_is_refused() -> None:
    total = summed(*map(sealed_by, SITES[:3]))
    hospital = SecureSum(KEY, site="east")
    for at in range(len(total)):
        for bit in range(8):
            flipped = total[:at] + bytes([total[at] ^ (1 << bit)]) + total[at + 1 :]
            with pytest.raises(EncryptionError):
                hospital.open(flipped, TOPIC)


def test_a_site_counts_once_and_under_its_own_name() -> None:
    server, north = adder(), sealed_by("north")
    server.add(north, site="north")
    before = server.sites
    with pytest.raises(EncryptionError, match="already given"):
        server.add(north, site="north")
    with pytest.raises(EncryptionError, match="already given"):
        server.add(sealed_by("north"), site="north")
    with pytest.raises(EncryptionError, match="another site than the one that sent it"):
        server.add(north, site="south")
    message = unpack(north)
    copied = pack(replace(message, parts=(replace(message.parts[0], site="south"),)))
    with pytest.raises(EncryptionError, match="nonce of another"):
        server.add(copied, site="south")
    assert server.sites == before


def test_a_sum_and_a_payload_of_another_length_are_not_added() -> None:
    server = adder()
    with pytest.raises(EncryptionError, match="a sum already"):
        server.add(summed(*map(sealed_by, SITES)), site="east")
    message = unpack(sealed_by("north"))
    with pytest.raises(EncryptionError, match="payload is not 5 numbers"):
        server.add(pack(replace(message, payload=message.payload[4:])), site="north")
    assert server.sites == ()
    server.add(pack(message), site="north")


def test_fewer_than_three_sites_are_neither_summed_nor_opened() -> None:
    server, hospital = adder(), SecureSum(KEY, site="east")
    messages = [unpack(sealed_by(site)) for site in SITES]
    for count in range(MIN_CONTRIBUTORS):
        with pytest.raises(EncryptionError, match="fewer than 3 sites have given"):
            server.sum()
        if count:
            refused(added(messages[:count]), "sum is of fewer than 3 sites")
        server.add(pack(messages[count]), site=SITES[count])
    hospital.open(server.sum(), TOPIC)
    with pytest.raises(EncryptionError, match="fewer than 4 sites have given"):
        server.sum(fewest=4)
    with pytest.raises(EncryptionError, match="sum is of fewer than 4 sites"):
        hospital.open(server.sum(), TOPIC, fewest=4)
    for lowered in (2, 1, 0, -1):
        with pytest.raises(EncryptionError, match="never made or opened"):
            server.sum(fewest=lowered)
        with pytest.raises(EncryptionError, match="never made or opened"):
            hospital.open(server.sum(), TOPIC, fewest=lowered)


def added(messages: list[Message], *, times: int = 1) -> bytes:
    """Return a dishonest server's sum: all payloads and tags added ``times`` times, under all parts once."""
    server = accumulator("aes-ctr", length=TOPIC.length, bits=TOPIC.bits)
    tag = (0,) * len(messages[0].tag)
    for message in messages * times:
        server.add(message.payload)
        tag = add_tags(tag, message.tag)
    parts = tuple(part for message in messages for part in message.parts)
    return pack(replace(messages[0], parts=parts, tag=tag, payload=server.payload()))


def test_a_server_that_adds_otherwise_than_it_says_is_refused() -> None:
    sealed = [sealed_by(site) for site in SITES]
    messages = [unpack(each) for each in sealed]
    parts = tuple(part for message in messages[:3] for part in message.parts)
    assert np.array_equal(SecureSum(KEY, site="east").open(added(messages), TOPIC).codes, sum(CODES.values()))
    refused(added(messages, times=3))
    refused(pack(replace(unpack(added(messages)), parts=parts)))
    refused(pack(replace(unpack(added(messages[:3])), parts=tuple(part for m in messages for part in m.parts))))
    for message in messages[:3]:
        refused(pack(replace(message, parts=parts)))
    thrice = unpack(added(messages[:1], times=3))
    refused(pack(replace(thrice, parts=parts)))
    invented = tuple(replace(part, nonce=bytes([number] * 16)) for number, part in enumerate(parts))
    refused(pack(replace(messages[0], parts=(messages[0].parts[0], *invented[1:]))))


def test_a_site_under_anothers_name_is_refused() -> None:
    east, north, south, west = (unpack(sealed_by(site)) for site in SITES)
    posing = replace(west, parts=(replace(west.parts[0], site="south"),))
    refused(added([east, north, posing]))
    swapped = (replace(north.parts[0], site="east"), replace(east.parts[0], site="north"), south.parts[0])
    refused(pack(replace(unpack(added([east, north, south])), parts=swapped)))


def test_pieces_of_two_sums_do_not_make_one() -> None:
    one, other = (unpack(summed(*map(sealed_by, SITES))) for _ in range(2))
    for changes in (
        {"payload": other.payload},
        {"tag": other.tag},
        {"parts": other.parts},
        {"parts": other.parts, "tag": other.tag},
        {"payload": other.payload, "tag": other.tag},
        {"payload": one.payload[:8] + other.payload[8:]},
        {"parts": (*one.parts[:2], *other.parts[2:])},
    ):
        refused(pack(replace(one, **changes)))


@settings(max_examples=60, deadline=None)
@given(difference=hnp.arrays(np.uint32, 5).filter(lambda each: bool(each.any())), tag=st.integers(0, 2**64 - 1))
def test_numbers_added_by_the_server_are_refused(difference: np.ndarray, tag: int) -> None:
    total = unpack(summed(*map(sealed_by, SITES[:3])))
    payload = (np.frombuffer(total.payload, "<u4") + difference).astype("<u4").tobytes()
    refused(pack(replace(total, payload=payload)))
    refused(pack(replace(total, payload=payload, tag=add_tags(total.tag, (tag, tag)))))


def test_a_sum_that_outgrows_its_bits_is_refused() -> None:
    most = np.full(5, 2**31 - 1)
    refused(summed(*(SecureSum(KEY, site=site).seal(most, TOPIC) for site in SITES[:3])))
    topic = replace(TOPIC, bits=48)
    wide = [SecureSum(KEY, site=site).seal(np.full(5, 2**47 - 1), topic) for site in SITES[:3]]
    refused(summed(*wide, topic=topic), topic=topic)


@pytest.mark.parametrize(
    ("codes", "match"),
    [
        (np.arange(4), "not 5 of int64"),
        (np.arange(5.0), "not 5 of int64"),
        (np.zeros((5, 1), np.int64), "not 5 of int64"),
        (np.array([0, 0, 0, 0, 2**31]), "more than 32 bits"),
        (np.array([0, 0, 0, 0, -(2**31)]), "more than 32 bits"),
        (np.array([np.iinfo(np.int64).min] * 5), "more than 32 bits"),
    ],
)
def test_numbers_that_do_not_fit_are_not_sealed(codes: Any, match: str) -> None:
    with pytest.raises(EncryptionError, match=match):
        SecureSum(KEY, site="north").seal(codes, TOPIC)


def test_a_scheme_has_its_own_bits() -> None:
    known = [bits_of(*each) for each in (("aes-ctr", "compact"), ("aes-ctr", "precise"), ("bfv", "compact"))]
    assert [*known, bits_of("bfv", "precise"), bits_of("ckks", "compact")] == [32, 48, 24, 48, 24]
    with pytest.raises(EncryptionError, match="scheme ckks has no precise mode"):
        bits_of("ckks", "precise")
    narrow = replace(TOPIC, bits=24)
    with pytest.raises(EncryptionError, match="so many bits"):
        SecureSum(KEY, site="north").seal(np.zeros(5, np.int64), narrow)
    with pytest.raises(EncryptionError, match="so many bits"):
        adder(narrow)
    with pytest.raises(EncryptionError, match="unknown"):
        Aggregator(TOPIC, scheme="rot13", key_id=KEY.key_id)


def test_a_site_whose_name_is_none_does_not_seal() -> None:
    with pytest.raises(EncryptionError, match="no usable site"):
        SecureSum(KEY, site="North Hospital").seal(CODES["north"], TOPIC)
