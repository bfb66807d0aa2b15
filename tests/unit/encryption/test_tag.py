"""The tag of a sum is the sum of the tags; another sum has another tag, as often as the bound says."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fedward.encryption.keys.key import FederationKey
from fedward.encryption.stream import BLOCK, KeyStream
from fedward.encryption.sum_context import SumContext
from fedward.encryption.tag import add_tags, lanes, same_tag, tag_of

KEY = FederationKey(scheme="aes-ctr", generation=1, secret=bytes(range(32)))
TOPIC = SumContext(
    job_id="job-1", purpose="model", round_number=0, layout="a" * 64, context="c" * 64, length=4, bits=32
)
vectors = hnp.arrays(np.int64, 4, elements=st.integers(-(2**47), 2**47))


def test_a_forgery_passes_once_in_two_to_the_sixty_four_at_the_most() -> None:
    for bits in (24, 32, 48):
        miss = Fraction(1, 2 ** (64 - (bits - 1)))  # of one lane, for a difference of 2^(bits-1)
        assert miss ** lanes(bits) <= Fraction(1, 2**64)
        assert miss ** (lanes(bits) - 1) > Fraction(1, 2**64)
    assert [lanes(bits) for bits in (24, 32, 48)] == [2, 2, 4]


@settings(deadline=None)
@given(codes=st.lists(vectors, min_size=1, max_size=5), bits=st.sampled_from([24, 32, 48]))
def test_tags_add_up_as_their_numbers_do(codes: list[np.ndarray], bits: int) -> None:
    topic = replace(TOPIC, bits=bits)
    parts = [bytes([number]) for number in range(len(codes))]
    tags = [tag_of(code, key=KEY, topic=topic, parts=[part]) for code, part in zip(codes, parts, strict=True)]
    total = tags[0]
    for tag in tags[1:]:
        total = add_tags(total, tag)
    assert total == tag_of(sum(codes[1:], codes[0]), key=KEY, topic=topic, parts=parts)
    assert len(total) == lanes(bits)
    assert all(0 <= lane < 2**64 for lane in total)


def test_worked_by_hand_over_blocks() -> None:
    codes = np.random.default_rng(0).integers(-(2**31), 2**31, BLOCK + 3)
    material = KEY.derive(b"fedward/tag/1" + TOPIC.canonical(), length=64)
    mask = KEY.derive(b"fedward/tag-mask/1" + b"part", length=16)
    due = []
    for lane in range(2):
        stream = KeyStream(material[32 * lane : 32 * lane + 32])
        multipliers = [int(r) for count in (BLOCK, 3) for r in stream.take(count, np.dtype("<u8"))]
        inner = sum(r * int(code) for r, code in zip(multipliers, codes, strict=True))
        due.append((inner + int.from_bytes(mask[8 * lane : 8 * lane + 8], "little")) % 2**64)
    assert tag_of(codes, key=KEY, topic=TOPIC, parts=[b"part"]) == tuple(due)


@settings(deadline=None)
@given(codes=vectors, difference=vectors.filter(lambda each: bool(each.any())))
def test_other_numbers_have_another_tag(codes: np.ndarray, difference: np.ndarray) -> None:
    one, other = (tag_of(each, key=KEY, topic=TOPIC, parts=[b"p"]) for each in (codes, codes + difference))
    assert not same_tag(one, other)


def test_a_lane_misses_a_difference_as_often_as_the_bound_says() -> None:
    power, missed, tries = 61, 0, 800  # a lane misses 2^61 once in 8
    for number in range(tries):
        difference = np.array([0, 1 << power, 0, 0], np.int64)
        topic = replace(TOPIC, round_number=number)
        zero, moved = (tag_of(each, key=KEY, topic=topic, parts=[]) for each in (np.zeros(4, np.int64), difference))
        missed += zero[0] == moved[0]
    assert abs(missed - tries / 8) < 6 * (tries * 7 / 64) ** 0.5


@pytest.mark.parametrize(
    "changes",
    [
        {"job_id": "job-2"},
        {"purpose": "scores"},
        {"round_number": 1},
        {"layout": "b" * 64},
        {"length": 5},
    ],
)
def test_another_topic_has_another_tag(changes: dict[str, object]) -> None:
    codes = np.arange(1, 5)
    one, other = (tag_of(codes, key=KEY, topic=topic, parts=[b"p"]) for topic in (TOPIC, replace(TOPIC, **changes)))
    assert all(first != second for first, second in zip(one, other, strict=True))


def test_another_part_or_key_has_another_tag() -> None:
    codes = np.arange(4)
    one = tag_of(codes, key=KEY, topic=TOPIC, parts=[b"p"])
    for key, part in ((KEY, b"q"), (replace(KEY, secret=bytes(32)), b"p")):
        other = tag_of(codes, key=key, topic=TOPIC, parts=[part])
        assert all(first != second for first, second in zip(one, other, strict=True))
        assert not same_tag(one, other)
    assert same_tag(one, tag_of(codes, key=KEY, topic=TOPIC, parts=[b"p"]))
