"""Check BFV: exact sums, packing with signs and carries, and forged messages of a server, which are refused."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
import pytest
import tenseal as ts
import tenseal.sealapi
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedward.encryption.bfv import MOST_SITES, BfvAccumulator, BfvCipher, pack, unpack
from fedward.encryption.ciphertexts import frame, unframe
from fedward.encryption.tenseal_context import DEGREE, new_context, public_context
from fedward.errors import EncryptionError

CONTEXT = new_context("bfv")
CIPHER = BfvCipher(CONTEXT)


def message(codes: Sequence[int], *, bits: int = 24) -> bytes:
    return CIPHER.encrypt(np.array(codes, np.int64), bits=bits, part=b"")


def summed(messages: Sequence[bytes], *, length: int, bits: int) -> NDArray[np.int64]:
    server = BfvAccumulator(length=length, bits=bits)
    for one in messages:
        server.add(one)
    return CIPHER.decrypt(server.payload(), length=length, bits=bits, parts=[b""] * len(messages))


@st.composite
def sites_codes(draw: st.DrawFn, bits: int) -> NDArray[np.int64]:
    """Codes (sites, n) of which each sum has ``bits``, with a taste for the ends of the range."""
    sites, length = draw(st.integers(1, 16)), draw(st.integers(1, 9))
    limit = (2 ** (bits - 1) - 1) // sites
    code = st.one_of(st.sampled_from([-limit, -1, 0, 1, limit]), st.integers(-limit, limit))
    rows = st.lists(st.lists(code, min_size=length, max_size=length), min_size=sites, max_size=sites)
    return np.array(draw(rows), np.int64)


@given(sites_codes(24))
def test_a_sum_of_packed_slots_unpacks_to_the_sums(codes: NDArray[np.int64]) -> None:
    packed = sum(pack(row) for row in codes)
    assert np.array_equal(unpack(np.asarray(packed), length=codes.shape[1]), codes.sum(0))


@pytest.mark.parametrize("bits", [24, 48])
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_sums_are_those_of_plain_integers(bits: int, data: st.DataObject) -> None:
    codes = data.draw(sites_codes(bits))
    messages = [CIPHER.encrypt(row, bits=bits, part=b"") for row in codes]
    assert np.array_equal(summed(messages, length=codes.shape[1], bits=bits), codes.sum(0))


@pytest.mark.parametrize("bits", [24, 48])
@pytest.mark.parametrize("length", [DEGREE - 1, DEGREE, DEGREE + 1, 2 * DEGREE + 1])
def test_sums_over_the_edge_of_a_ciphertext(bits: int, length: int) -> None:
    limit = (2 ** (bits - 1) - 1) // 3
    codes = np.random.default_rng(length).integers(-limit, limit, (3, length), endpoint=True)
    messages = [CIPHER.encrypt(row, bits=bits, part=b"") for row in codes]
    assert np.array_equal(summed(messages, length=length, bits=bits), codes.sum(0))


def test_the_noise_of_as_many_sites_as_may_be_leaves_the_sum_exact() -> None:
    limit = (2**47 - 1) // MOST_SITES
    codes = np.tile(np.array([limit, -limit], np.int64), DEGREE // 2)
    server = BfvAccumulator(length=DEGREE, bits=48)
    for _ in range(MOST_SITES):
        server.add(CIPHER.encrypt(codes, bits=48, part=b""))
    opened = CIPHER.decrypt(server.payload(), length=DEGREE, bits=48, parts=[b""] * MOST_SITES)
    assert np.array_equal(opened, codes * MOST_SITES)


def test_more_sites_than_may_be_are_refused() -> None:
    with pytest.raises(EncryptionError, match=f"at most {MOST_SITES} sites"):
        CIPHER.decrypt(message([1]), length=1, bits=24, parts=[b""] * (MOST_SITES + 1))


def test_the_server_adds_as_seal_does() -> None:
    first, second = (ts.bfv_vector_from(ts.context_from(CONTEXT), *unframe(message(x), count=1)) for x in ([7], [8]))
    assert (first + second).decrypt() == [15 << 24]


def test_the_same_numbers_are_never_hidden_alike() -> None:
    assert message([1, 2, 3]) != message([1, 2, 3])


def test_nothing_of_the_context_or_the_key_is_in_a_message() -> None:
    secret = CONTEXT[-4096:]
    for sent in (message([0] * 100), message(range(100))):
        assert all(secret[start : start + 16] not in sent for start in range(0, len(secret) - 16, 16))
        with pytest.raises(ValueError, match="parse"):
            ts.context_from(next(unframe(sent, count=1))[:-1])


def test_what_the_server_holds_cannot_decrypt() -> None:
    held = public_context("bfv")
    assert not held.has_secret_key()
    with pytest.raises(ValueError, match="secret_key"):
        ts.bfv_vector_from(held, next(unframe(message([1]), count=1))).decrypt()


def test_another_key_opens_to_numbers_without_meaning() -> None:
    codes = np.arange(-500, 500)
    opened = BfvCipher(new_context("bfv")).decrypt(message(codes.tolist()), length=1000, bits=24, parts=[b""])
    assert (opened != codes).mean() > 0.99


def test_bytes_a_number_are_at_most_eight_and_sixteen() -> None:
    limit = 2**23 - 1
    codes = np.random.default_rng(0).integers(-limit, limit, 4 * DEGREE)
    assert len(CIPHER.encrypt(codes, bits=24, part=b"")) <= 8 * len(codes)
    assert len(CIPHER.encrypt(codes, bits=48, part=b"")) <= 16 * len(codes)


def test_standard_output_stays_empty(capfd: pytest.CaptureFixture[str]) -> None:
    message([1] * (2 * DEGREE + 1), bits=48)
    assert capfd.readouterr() == ("", "")


def by_hand(polynomials: Sequence[NDArray[np.uint64]]) -> bytes:
    """A message of one ciphertext with these coefficients, in SEAL 4.3's form without compression."""
    parameters = public_context("bfv").seal_context().data.first_parms_id()
    numbers = np.concatenate(polynomials).astype("<u8").tobytes()
    inner = struct.pack("<Q", len(numbers) // 8) + numbers
    fields = struct.pack("<4Q?QQQdQ", *parameters, False, len(polynomials), DEGREE, 1, 1.0, 1)
    ciphertext = _seal(fields + _seal(inner))
    return frame([b"\x0a\x01\x01\x12" + _varint(len(ciphertext)) + ciphertext])


def compressed(payload: bytes) -> bytes:
    whole = payload[4:]
    return frame([ts.bfv_vector_from(public_context("bfv"), whole).serialize()])


def _seal(content: bytes) -> bytes:
    return bytes.fromhex("5ea1100403000000") + struct.pack("<Q", 16 + len(content)) + content


def _varint(number: int) -> bytes:
    return bytes([number & 127 | 128, number >> 7 & 127 | 128, number >> 14])


NOTHING = np.zeros(DEGREE, np.uint64)
SOMETHING = np.arange(DEGREE, dtype=np.uint64)


def test_a_ciphertext_made_by_hand_is_one() -> None:
    BfvAccumulator(length=2, bits=24).add(by_hand([NOTHING, SOMETHING]))


@pytest.mark.parametrize(
    ("payload", "line"),
    [
        (b"", "does not hold 1 ciphertexts"),
        (b"\x00\x00\x00\x00", "does not hold 1 ciphertexts"),
        (b"\x00\x00\x00\x05junk", "does not hold 1 ciphertexts"),
        (b"\xff\xff\xff\xff" + bytes(100), "does not hold 1 ciphertexts"),
        (frame([b"junk"]), "no bfv ciphertext of these parameters"),
        (frame([bytes(66_000)]), "no bfv ciphertext of these parameters"),
        (message([1, 2])[:-1], "does not hold 1 ciphertexts"),
        (message([1, 2]) + b"x", "more than 1 ciphertexts"),
        (message([1, 2]) * 2, "more than 1 ciphertexts"),
        (message([1, 2, 3]), "holds 2 values where 1 are due"),
        (message([1, 2], bits=48), "holds 2 values where 1 are due"),
        (by_hand([SOMETHING, NOTHING]), "hides nothing"),
        (compressed(by_hand([SOMETHING, SOMETHING, SOMETHING])), "is no fresh one or sum"),
        (by_hand([SOMETHING, SOMETHING + np.uint64(2**59)]), "no bfv ciphertext of these parameters"),
    ],
)
def test_what_is_no_message_is_refused_and_leaves_the_sum_as_it_was(payload: bytes, line: str) -> None:
    server = BfvAccumulator(length=2, bits=24)
    server.add(message([10, -20]))
    with pytest.raises(EncryptionError, match=line) as refused:
        server.add(payload)
    assert "\n" not in str(refused.value)
    with pytest.raises(EncryptionError, match=line):
        CIPHER.decrypt(payload, length=2, bits=24, parts=[b""])
    server.add(message([1, 2]))
    assert CIPHER.decrypt(server.payload(), length=2, bits=24, parts=[b""] * 2).tolist() == [11, -18]


def test_parameters_of_another_context_are_refused() -> None:
    other = ts.context(
        ts.SCHEME_TYPE.BFV,
        DEGREE,
        plain_modulus=1032193,
        coeff_mod_bit_sizes=[59, 50],
        encryption_type=ts.ENCRYPTION_TYPE.SYMMETRIC,
        n_threads=1,
    )
    server = BfvAccumulator(length=2, bits=24)
    with pytest.raises(EncryptionError, match="no bfv ciphertext of these parameters"):
        server.add(frame([ts.bfv_vector(other, [1]).serialize()]))
    with pytest.raises(EncryptionError, match="other parameters"):
        BfvCipher(other.serialize(save_secret_key=True))


def test_a_message_that_fails_half_way_is_taken_back() -> None:
    codes = np.arange(6 * DEGREE)
    good = message(codes.tolist())
    first, _, third = unframe(good, count=3)
    server = BfvAccumulator(length=len(codes), bits=24)
    server.add(good)
    held = server.payload()
    for payload in (frame([first, b"junk", third]), good + b"x"):
        with pytest.raises(EncryptionError):
            server.add(payload)
        assert server.payload() == held


def test_a_message_that_cancels_the_sum_is_refused() -> None:
    assert tenseal.sealapi.Modulus  # its import makes TenSEAL able to show the modulus
    modulus = public_context("bfv").seal_context().data.first_context_data().parms().coeff_modulus()[0].value()
    minus = (np.uint64(modulus) - SOMETHING) % np.uint64(modulus)
    server = BfvAccumulator(length=2, bits=24)
    server.add(by_hand([SOMETHING, SOMETHING]))
    held = server.payload()
    with pytest.raises(EncryptionError, match="cannot be added"):
        server.add(by_hand([minus, minus]))
    assert server.payload() == held


@pytest.mark.parametrize(
    ("codes", "bits", "line"),
    [
        (np.array([2**23]), 24, "more than 24 bits"),
        (np.array([-(2**23) - 1]), 24, "more than 24 bits"),
        (np.array([2**47]), 48, "more than 48 bits"),
        (np.array([1]), 32, "24 or 48 bits: 32"),
        (np.array([1.0]), 24, "not a vector of 64-bit integers"),
        (np.array([[1]]), 24, "not a vector of 64-bit integers"),
        (np.array([], np.int64), 24, "not a vector of 64-bit integers"),
    ],
)
def test_numbers_that_have_no_place_are_refused(codes: NDArray[np.int64], bits: int, line: str) -> None:
    with pytest.raises(EncryptionError, match=line):
        CIPHER.encrypt(codes, bits=bits, part=b"")


def test_the_ends_of_the_range_have_a_place() -> None:
    assert summed([message([-(2**23), 2**23 - 1])], length=2, bits=24).tolist() == [-(2**23), 2**23 - 1]


def test_no_message_makes_no_sum() -> None:
    with pytest.raises(EncryptionError, match="no message"):
        BfvAccumulator(length=1, bits=24).payload()
    with pytest.raises(EncryptionError, match="at least one number"):
        BfvAccumulator(length=0, bits=24)


@pytest.mark.parametrize("context", [b"", b"junk", CONTEXT[:-5], new_context("ckks")])
def test_a_context_that_cannot_serve_is_refused(context: bytes) -> None:
    with pytest.raises(EncryptionError) as refused:
        BfvCipher(context)
    assert "\n" not in str(refused.value)


def test_a_context_without_its_secret_key_is_refused() -> None:
    with pytest.raises(EncryptionError, match="no secret key"):
        BfvCipher(public_context("bfv").serialize())
