"""Check CKKS: sums of whole numbers decrypt to whole numbers; parameters for which they do not are refused."""

from __future__ import annotations

import numpy as np
import pytest
import tenseal as ts
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedward.encryption.bfv import BfvCipher
from fedward.encryption.ciphertexts import frame, unframe
from fedward.encryption.ckks import FORM, CkksAccumulator, CkksCipher, whole
from fedward.encryption.tenseal_context import SCALE, new_context, public_context, secret_context
from fedward.errors import EncryptionError

CONTEXT = new_context("ckks")
CIPHER = CkksCipher(CONTEXT)
LIMIT = 2**23 - 1


def message(codes: NDArray[np.int64]) -> bytes:
    return CIPHER.encrypt(codes, bits=24, part=b"")


def opened(payload: bytes, length: int) -> NDArray[np.int64]:
    return CIPHER.decrypt(payload, length=length, bits=24, parts=[])


@settings(max_examples=15, deadline=None)
@given(data=st.data(), sites=st.integers(1, 16), length=st.integers(1, 9))
def test_sums_are_those_of_plain_integers(data: st.DataObject, sites: int, length: int) -> None:
    limit = LIMIT // sites
    code = st.one_of(st.sampled_from([-limit, -1, 0, 1, limit]), st.integers(-limit, limit))
    rows = data.draw(st.lists(st.lists(code, min_size=length, max_size=length), min_size=sites, max_size=sites))
    codes = np.array(rows, np.int64)
    server = CkksAccumulator(length=length, bits=24)
    for row in codes:
        server.add(message(row))
    assert np.array_equal(opened(server.payload(), length), codes.sum(0))


@pytest.mark.parametrize("length", [FORM.slots - 1, FORM.slots, FORM.slots + 1, 2 * FORM.slots + 1])
def test_sums_over_the_edge_of_a_ciphertext(length: int) -> None:
    codes = np.random.default_rng(length).integers(-LIMIT // 3, LIMIT // 3, (3, length))
    server = CkksAccumulator(length=length, bits=24)
    for row in codes:
        server.add(message(row))
    assert np.array_equal(opened(server.payload(), length), codes.sum(0))


@pytest.mark.parametrize("code", [LIMIT, -LIMIT - 1])
def test_a_ciphertext_full_of_the_largest_number_has_room(code: int) -> None:
    codes = np.full(FORM.slots, code, np.int64)
    assert np.array_equal(opened(message(codes), len(codes)), codes)


def test_the_error_is_far_below_what_rounding_bears() -> None:
    codes = np.random.default_rng(0).integers(-LIMIT // 16, LIMIT // 16, FORM.slots)
    server = CkksAccumulator(length=len(codes), bits=24)
    for _ in range(16):
        server.add(message(codes))
    vector = FORM.read(secret_context("ckks", CONTEXT), *unframe(server.payload(), count=1))
    assert 0 < np.abs(np.array(vector.decrypt()) - 16 * codes).max() < 1e-4


@pytest.mark.parametrize("value", [0.26, -0.5, 7.7])
def test_what_is_no_whole_number_is_refused(value: float) -> None:
    with pytest.raises(EncryptionError, match="whole numbers"):
        whole(np.array([1.0, value]))


@pytest.mark.parametrize("value", [np.nan, np.inf, -(2.0**52)])
def test_what_is_no_number_is_refused(value: float) -> None:
    with pytest.raises(EncryptionError, match="decrypts to no number"):
        whole(np.array([1.0, value]))


@given(st.lists(st.tuples(st.integers(-(2**40), 2**40), st.floats(-0.24, 0.24)), min_size=1))
def test_what_is_near_a_whole_number_is_that_number(pairs: list[tuple[int, float]]) -> None:
    assert whole(np.array([number + error for number, error in pairs])).tolist() == [number for number, _ in pairs]


def test_another_key_does_not_open() -> None:
    with pytest.raises(EncryptionError, match="sealed under another key"):
        CkksCipher(new_context("ckks")).decrypt(message(np.arange(100)), length=100, bits=24, parts=[])


def test_half_a_unit_more_does_not_open() -> None:
    vector = FORM.read(secret_context("ckks", CONTEXT), *unframe(message(np.arange(10)), count=1))
    with pytest.raises(EncryptionError, match="whole numbers"):
        opened(frame([(vector + [0.5] * 10).serialize()]), 10)


def test_another_scale_is_refused() -> None:
    vector = ts.ckks_vector(secret_context("ckks", CONTEXT), [1.0, 2.0], scale=SCALE / 2)
    with pytest.raises(EncryptionError, match="another scale"):
        CkksAccumulator(length=2, bits=24).add(frame([vector.serialize()]))


def test_nothing_of_the_context_or_the_key_is_in_a_message() -> None:
    secret, sent = CONTEXT[-4096:], message(np.arange(100))
    assert all(secret[start : start + 16] not in sent for start in range(0, len(secret) - 16, 16))
    assert not public_context("ckks").has_secret_key()


@pytest.mark.parametrize("payload", [b"", frame([b"junk"]), message(np.arange(4)), message(np.arange(3)) + b"x"])
def test_what_is_no_message_is_refused_and_leaves_the_sum_as_it_was(payload: bytes) -> None:
    server = CkksAccumulator(length=3, bits=24)
    server.add(message(np.array([1, 2, 3])))
    with pytest.raises(EncryptionError):
        server.add(payload)
    server.add(message(np.array([4, 5, -6])))
    assert opened(server.payload(), 3).tolist() == [5, 7, -3]


def test_a_message_that_fails_half_way_is_taken_back() -> None:
    codes = np.arange(2 * FORM.slots)
    good = message(codes)
    first = next(unframe(good, count=2))
    server = CkksAccumulator(length=len(codes), bits=24)
    server.add(good)
    held = server.payload()
    with pytest.raises(EncryptionError, match="no ckks ciphertext"):
        server.add(frame([first, b"junk"]))
    assert server.payload() == held


def test_a_message_of_bfv_is_refused() -> None:
    other = BfvCipher(new_context("bfv")).encrypt(np.arange(6), bits=24, part=b"")
    with pytest.raises(EncryptionError, match="no ckks ciphertext of these parameters"):
        CkksAccumulator(length=3, bits=24).add(other)


@pytest.mark.parametrize("bits", [32, 48])
def test_there_is_no_precise_mode(bits: int) -> None:
    with pytest.raises(EncryptionError, match="24 bits"):
        CIPHER.encrypt(np.array([1]), bits=bits, part=b"")
    with pytest.raises(EncryptionError, match="24 bits"):
        CkksAccumulator(length=1, bits=bits)


def test_numbers_that_have_no_place_are_refused() -> None:
    with pytest.raises(EncryptionError, match="more than 24 bits"):
        message(np.array([LIMIT + 1]))


def test_a_context_of_bfv_is_refused() -> None:
    with pytest.raises(EncryptionError):
        CkksCipher(new_context("bfv"))
