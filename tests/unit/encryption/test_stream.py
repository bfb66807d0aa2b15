"""Sums under the stream cipher are exact; what travels looks like noise and no stream comes twice."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import chi2

from fedward.encryption.keys.key import FederationKey, create_key
from fedward.encryption.stream import BLOCK, KeyStream, StreamAccumulator, StreamCipher
from fedward.errors import EncryptionError

KEY = FederationKey(scheme="aes-ctr", generation=1, secret=bytes(range(32)))
CIPHER = StreamCipher(KEY)
WIDTHS = pytest.mark.parametrize("bits", [32, 48])


@WIDTHS
@settings(max_examples=50, deadline=None)
@given(data=st.data(), sites=st.integers(1, 6), length=st.integers(0, 30))
def test_a_sum_is_exact_in_any_order(bits: int, data: st.DataObject, sites: int, length: int) -> None:
    most = (2 ** (bits - 1) - 1) // sites
    elements = st.integers(-most, most)
    codes = [data.draw(hnp.arrays(np.int64, length, elements=elements)) for _ in range(sites)]
    parts = [f"part {site}".encode() for site in range(sites)]
    payloads = [CIPHER.encrypt(code, bits=bits, part=part) for code, part in zip(codes, parts, strict=True)]
    server = StreamAccumulator(length=length, bits=bits)
    for payload in data.draw(st.permutations(payloads)):
        server.add(payload)
    found = CIPHER.decrypt(server.payload(), length=length, bits=bits, parts=data.draw(st.permutations(parts)))
    assert found.dtype == np.int64
    assert np.array_equal(found, sum(codes, np.zeros(length, np.int64)))


def test_worked_by_hand() -> None:
    encryptor = Cipher(algorithms.AES256(KEY.derive(b"fedward/stream/1p")), modes.CTR(bytes(16))).encryptor()
    stream = np.frombuffer(encryptor.update(bytes(12)), "<u4").astype(object)
    due = [(int(number) + code) % 2**32 for number, code in zip(stream, (5, -1, 0), strict=True)]
    assert np.frombuffer(CIPHER.encrypt(np.array([5, -1, 0]), bits=32, part=b"p"), "<u4").tolist() == due


def test_a_stream_goes_on_over_blocks_and_never_repeats_itself() -> None:
    stream = KeyStream(bytes(32))
    taken = np.concatenate([stream.take(count, np.dtype("<u8")) for count in (BLOCK, 1, BLOCK, 7)])
    encryptor = Cipher(algorithms.AES256(bytes(32)), modes.CTR(bytes(16))).encryptor()
    assert taken.tobytes() == encryptor.update(bytes(8 * taken.size))
    assert np.unique(taken).size == taken.size


@WIDTHS
def test_more_than_a_block_is_exact(bits: int) -> None:
    codes = np.arange(-BLOCK, BLOCK + 5, dtype=np.int64)
    payload = CIPHER.encrypt(codes, bits=bits, part=b"p")
    assert np.array_equal(CIPHER.decrypt(payload, length=codes.size, bits=bits, parts=[b"p"]), codes)


@WIDTHS
def test_zeros_travel_as_uniform_bytes(bits: int) -> None:
    payload = StreamCipher(create_key()).encrypt(np.zeros(100_000, np.int64), bits=bits, part=b"p")
    counts = np.bincount(np.frombuffer(payload, np.uint8), minlength=256)
    expected = len(payload) / 256
    statistic = float(((counts - expected) ** 2 / expected).sum())
    assert chi2.ppf(1e-9, 255) < statistic < chi2.ppf(1 - 1e-9, 255)


def test_two_parts_have_streams_without_relation() -> None:
    zeros = np.zeros(100_000, np.int64)
    one, other = (np.frombuffer(CIPHER.encrypt(zeros, bits=32, part=part), "<u4") for part in (b"p", b"q"))
    difference = (one - other).view(np.uint8)
    counts = np.bincount(difference, minlength=256)
    statistic = float(((counts - difference.size / 256) ** 2 / (difference.size / 256)).sum())
    assert chi2.ppf(1e-9, 255) < statistic < chi2.ppf(1 - 1e-9, 255)


@WIDTHS
@pytest.mark.parametrize("change", [-1, 1, 4, 8, -8])
def test_a_payload_of_another_length_is_refused_and_leaves_the_sum(bits: int, change: int) -> None:
    payload = CIPHER.encrypt(np.arange(5), bits=bits, part=b"p")
    bad = payload[:change] if change < 0 else payload + bytes(change)
    server = StreamAccumulator(length=5, bits=bits)
    server.add(payload)
    with pytest.raises(EncryptionError, match="not 5 numbers"):
        server.add(bad)
    assert server.payload() == payload
    with pytest.raises(EncryptionError, match="not 5 numbers"):
        CIPHER.decrypt(bad, length=5, bits=bits, parts=[b"p"])


@pytest.mark.parametrize("bits", [24, 0, 64])
def test_other_bits_are_refused(bits: Any) -> None:
    for use in (
        lambda: CIPHER.encrypt(np.zeros(1, np.int64), bits=bits, part=b""),
        lambda: CIPHER.decrypt(bytes(4), length=1, bits=bits, parts=[]),
        lambda: StreamAccumulator(length=1, bits=bits),
    ):
        with pytest.raises(EncryptionError, match="so many bits"):
            use()
