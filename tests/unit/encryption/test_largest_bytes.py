"""The planner's bound of a message's bytes, against messages."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest

from fedward.encryption.bfv import BfvCipher
from fedward.encryption.ckks import CkksCipher
from fedward.encryption.schemes import Cipher, largest_bytes
from fedward.encryption.tenseal_context import new_context
from fedward.errors import EncryptionError
from fedward.settings import Scheme

LENGTHS = (1, 4096, 8192, 8193, 20_000)


@pytest.mark.parametrize(("scheme", "bits"), [("bfv", 24), ("bfv", 48), ("ckks", 24)])
def test_no_message_is_larger_and_none_is_much_smaller(scheme: str, bits: int) -> None:
    cipher = cast(Cipher, BfvCipher(new_context("bfv")) if scheme == "bfv" else CkksCipher(new_context("ckks")))
    for length in LENGTHS:
        codes = np.random.default_rng(length).integers(-1000, 1000, length)
        sent = len(cipher.encrypt(codes, bits=bits, part=b""))
        most = largest_bytes(cast(Scheme, scheme), bits=bits, length=length)
        assert sent <= most <= 3 * sent


@pytest.mark.parametrize(("bits", "each"), [(32, 4), (48, 8)])
def test_a_stream_is_exact(bits: int, each: int) -> None:
    assert [largest_bytes("aes-ctr", bits=bits, length=length) for length in LENGTHS] == [n * each for n in LENGTHS]


def test_other_bits_are_refused() -> None:
    with pytest.raises(EncryptionError, match="so many bits"):
        largest_bytes("bfv", bits=32, length=1)
