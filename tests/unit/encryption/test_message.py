"""A message has one form as bytes; every other is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedward.encryption.message import LARGEST_HEADER, MAGIC, Message, MessagePart, pack, unpack
from fedward.encryption.sum_context import SumContext
from fedward.encryption.tag import lanes
from fedward.errors import EncryptionError

TOPIC = SumContext(
    job_id="job-1", purpose="model", round_number=0, layout="a" * 64, context="c" * 64, length=2, bits=32
)
PARTS = tuple(
    MessagePart(site=site, nonce=bytes([number] * 16)) for number, site in enumerate(("east", "north", "west"))
)
GOOD = Message(key_id="b" * 32, scheme="aes-ctr", topic=TOPIC, parts=PARTS, tag=(1, 2**64 - 1), payload=b"12345678")

sites = st.from_regex(r"\A[a-z][a-z0-9]{0,8}(-[a-z0-9]{1,8}){0,2}\Z")
topics = st.builds(
    SumContext,
    job_id=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40),
    purpose=st.sampled_from(["model", "scores", "cohort"]),
    round_number=st.integers(0, 2**31 - 1),
    layout=st.text("0123456789abcdef", min_size=64, max_size=64),
    context=st.text("0123456789abcdef", min_size=64, max_size=64),
    length=st.integers(1, 2**31 - 1),
    bits=st.sampled_from([24, 32, 48]),
)


def with_header(change: Any) -> bytes:
    content = json.loads(pack(GOOD)[11:-8])
    change(content)
    header = json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
    return MAGIC + len(header).to_bytes(4, "big") + header + GOOD.payload


@given(st.data())
def test_there_and_back(data: st.DataObject) -> None:
    topic = data.draw(topics)
    names = sorted(data.draw(st.sets(sites, min_size=1, max_size=5)))
    nonces = data.draw(st.lists(st.binary(min_size=16, max_size=16), unique=True, min_size=5, max_size=5))
    message = replace(
        GOOD,
        topic=topic,
        scheme=data.draw(st.sampled_from(["aes-ctr", "bfv", "ckks"])),
        parts=tuple(MessagePart(site=name, nonce=nonce) for name, nonce in zip(names, nonces, strict=False)),
        tag=tuple(data.draw(st.integers(0, 2**64 - 1)) for _ in range(lanes(topic.bits))),
        payload=data.draw(st.binary(max_size=40)),
    )
    assert unpack(pack(message)) == message


def test_the_bytes_are_as_documented() -> None:
    sealed = pack(GOOD)
    size = int.from_bytes(sealed[7:11], "big")
    header = json.loads(sealed[11 : 11 + size])
    assert sealed[:7] == b"FWSUM4\n"
    assert sealed[11 + size :] == GOOD.payload
    assert set(header) == {"key", "scheme", "topic", "parts", "tag"}
    assert header["parts"][1] == {"site": "north", "nonce": "01" * 16}
    assert header["tag"] == ["0000000000000001", "f" * 16]


@given(st.binary(max_size=60))
def test_other_bytes_are_refused(data: bytes) -> None:
    for sealed in (data, MAGIC + data, MAGIC + len(data).to_bytes(4, "big") + data):
        with pytest.raises(EncryptionError):
            unpack(sealed)


@pytest.mark.parametrize("sealed", [None, "FWSUM4\n", bytearray(pack(GOOD)), 3])
def test_what_is_no_bytes_is_refused(sealed: Any) -> None:
    with pytest.raises(EncryptionError, match="not a sealed message"):
        unpack(sealed)


def test_a_header_cut_at_any_byte_is_refused() -> None:
    sealed = pack(GOOD)
    for stop in range(len(sealed) - len(GOOD.payload)):
        with pytest.raises(EncryptionError):
            unpack(sealed[:stop])


@pytest.mark.parametrize(
    "header", [b"[" * 100_000, b"1" * 5000, b"{}", b"null", b'{"key":NaN}', "{é}".encode(), b'{"a":1,"a":1}']
)
def test_hostile_json_is_refused(header: bytes) -> None:
    with pytest.raises(EncryptionError):
        unpack(MAGIC + len(header).to_bytes(4, "big") + header)


def test_too_long_a_header_is_refused_before_it_is_read() -> None:
    with pytest.raises(EncryptionError, match="too long a header"):
        unpack(MAGIC + (LARGEST_HEADER + 1).to_bytes(4, "big") + bytes(LARGEST_HEADER + 1))


@pytest.mark.parametrize("turn", [lambda text: text + b" ", lambda text: text.replace(b",", b", ", 1)])
def test_the_same_content_in_another_form_is_refused(turn: Any) -> None:
    sealed = pack(GOOD)
    header = turn(sealed[11 : 11 + int.from_bytes(sealed[7:11], "big")])
    with pytest.raises(EncryptionError, match="another form"):
        unpack(MAGIC + len(header).to_bytes(4, "big") + header + GOOD.payload)


@pytest.mark.parametrize("field", ["key", "scheme", "topic", "parts", "tag", "more"])
def test_a_field_more_or_less_is_refused(field: str) -> None:
    with pytest.raises(EncryptionError, match="other fields"):
        unpack(with_header(lambda header: header.pop(field, None) or header.update(more=1)))


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("key", [None, "B" * 32, "b" * 31, 3]),
        ("scheme", ["rot13", None, []]),
        ("topic", [None, []]),
        ("parts", [[], {}, None]),
        ("tag", [None, ["1"], ["F" * 16, "0" * 16], [1, 2]]),
    ],
)
def test_a_field_out_of_its_range_is_refused(field: str, values: list[Any]) -> None:
    for value in values:
        with pytest.raises(EncryptionError, match=f"no usable {field}"):
            unpack(with_header(lambda header, value=value: header.update({field: value})))


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("job_id", ["", "a b", "a\nb", "é", "a" * 129, 3]),
        ("purpose", ["other", None]),
        ("round_number", [-1, True, 1.0, 2**31, "0"]),
        ("layout", ["A" * 64, "a" * 63, None]),
        ("context", ["A" * 64, "a" * 63, None]),
        ("length", [0, -1, True, 2**31, 2.0]),
        ("bits", [31, 64, True, "32"]),
    ],
)
def test_a_topic_out_of_its_range_is_refused(field: str, values: list[Any]) -> None:
    for value in values:
        with pytest.raises(EncryptionError, match=f"no usable {field}"):
            unpack(with_header(lambda header, value=value: header["topic"].update({field: value})))


@pytest.mark.parametrize(
    ("field", "values"),
    [("site", ["North", "", "a\n", "a" * 49, "-a", None, 3]), ("nonce", ["00", "0" * 33, "A" * 32, None])],
)
def test_a_part_out_of_its_range_is_refused(field: str, values: list[Any]) -> None:
    for value in values:
        with pytest.raises(EncryptionError, match=f"no usable {field}"):
            unpack(with_header(lambda header, value=value: header["parts"][0].update({field: value})))


def test_a_message_that_could_not_be_read_is_not_written() -> None:
    for bad, match in (
        (replace(GOOD, parts=(PARTS[0], replace(PARTS[0], nonce=bytes(16)))), "site twice"),
        (replace(GOOD, parts=(PARTS[0], replace(PARTS[1], nonce=PARTS[0].nonce))), "nonce twice"),
        (replace(GOOD, parts=PARTS[::-1]), "out of order"),
        (replace(GOOD, tag=(1,)), "tag of another length"),
        (replace(GOOD, topic=replace(TOPIC, length=0)), "no usable length"),
    ):
        with pytest.raises(EncryptionError, match=match):
            pack(bad)


@given(
    one=topics,
    other=topics,
    names=st.tuples(sites, sites),
    nonces=st.tuples(*[st.binary(min_size=16, max_size=16)] * 2),
)
def test_two_parts_have_one_name_only_when_they_are_the_same(
    one: SumContext, other: SumContext, names: tuple[str, str], nonces: tuple[bytes, bytes]
) -> None:
    first, second = MessagePart(site=names[0], nonce=nonces[0]), MessagePart(site=names[1], nonce=nonces[1])
    same = (one, first) == (other, second)
    assert (first.canonical(one) == second.canonical(other)) is same
    assert first.canonical(one) == replace(first).canonical(replace(one))
