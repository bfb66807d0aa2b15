"""Encrypt and add integers with CKKS: its error is small, so that rounding gives the exact sum.

Cheon, Kim, Kim & Song 2017, section 3, by SEAL. An integer of 24 bits is encoded at scale 2^28. A slot's fresh noise
has a standard deviation of 3.24 · √4096 ≈ 207; that of a sum of 1,024 sites is 6,640, or 2.5 · 10^-5 of a unit, far
below the half unit at which rounding would fail. Only the rounded integers leave this module. They depend on the
plaintexts alone and disclose nothing about the noise (for attacks on noise see Li & Micciancio 2021, section 3.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import tenseal as ts
from numpy.typing import NDArray

from fedward.encryption.ciphertexts import CiphertextSum, Form, check_codes, decrypt, encrypt
from fedward.encryption.tenseal_context import DEGREE, secret_context
from fedward.errors import EncryptionError

FORM = Form(scheme="ckks", slots=DEGREE // 2, read=ts.ckks_vector_from)
MOST_RESIDUAL = 0.25
"""Largest distance of a decrypted value from an integer; beyond it, this is no sum of integers under this key."""
_BITS = 24


class CkksCipher:
    """Cipher of a hospital's numbers of 24 bits, one to a slot.

    Args:
        context: result of ``new_context("ckks")``.

    Raises:
        EncryptionError: ``secret_context`` refuses the context.
    """

    def __init__(self, context: bytes) -> None:
        self._context = secret_context("ckks", context)

    def encrypt(self, codes: NDArray[np.int64], *, bits: int, part: bytes) -> bytes:
        """Encrypt ``codes`` (n,). Encryption is random, so that ``part`` is not used.

        Raises:
            EncryptionError: ``codes`` is no vector of integers of 24 bits, sign included, or ``bits`` is not 24.
        """
        _slots(1, bits)
        check_codes(codes, bits=bits)
        return encrypt(FORM, codes, partial(ts.ckks_vector, self._context))

    def decrypt(self, payload: bytes, *, length: int, bits: int, parts: Sequence[bytes]) -> NDArray[np.int64]:
        """Decrypt the sum (length,), exact if each number of it fits in 24 bits; ``parts`` is not used.

        Raises:
            EncryptionError: the message is not one of ``length`` numbers, or a number is further than
                ``MOST_RESIDUAL`` from an integer, as under another key.
        """
        slots = _slots(length, bits)
        return np.concatenate([whole(one) for one in decrypt(self._context, FORM, payload, slots=slots)])


class CkksAccumulator(CiphertextSum):
    """Sum of messages of ``length`` numbers of 24 bits, made without any key.

    Raises:
        EncryptionError: ``length`` is below 1, or ``bits`` is not 24.
    """

    def __init__(self, *, length: int, bits: int) -> None:
        super().__init__(FORM, slots=_slots(length, bits))


def whole(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Round values (n,) to the nearest integers.

    Raises:
        EncryptionError: one is not finite, beyond 2^52, or further than ``MOST_RESIDUAL`` from an integer.
    """
    if not (np.isfinite(values).all() and (np.abs(values) < 2.0**52).all()):
        raise EncryptionError("the sum decrypts to no number: it was altered or sealed under another key")
    nearest = np.rint(values)
    if (np.abs(values - nearest) > MOST_RESIDUAL).any():
        raise EncryptionError("the sum does not decrypt to whole numbers: it was altered or sealed under another key")
    return nearest.astype(np.int64)


def _slots(length: int, bits: int) -> int:
    if bits != _BITS:
        raise EncryptionError("ckks hides numbers of 24 bits", value=bits, remedy='use precision = "compact"')
    if length < 1:
        raise EncryptionError("a sum has at least one number", value=length)
    return length
