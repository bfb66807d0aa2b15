"""CKKS: real numbers, encrypted and added with a small error, here whole numbers that come back exact.

Cheon, Kim, Kim & Song 2017, section 3, by SEAL. An integer of 24 bits stands at scale 2^28. A slot's fresh noise has a
standard deviation of 3.24 · √4096 ≈ 207, that of a sum of 1,024 sites 6,640 or 2.5 · 10^-5 of a unit, far below the
half at which rounding would fail. Only the rounded integers leave this module. They depend on the plaintexts alone, so
that nobody who sees them learns of the noise (against which see Li & Micciancio 2021, section 3.1).
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
"""How far from a whole number a decrypted one may be; beyond, it is no sum of whole numbers under this key."""
_BITS = 24


class CkksCipher:
    """Hides a hospital's numbers of 24 bits, one to a slot.

    Args:
        context: what ``new_context("ckks")`` made.

    Raises:
        EncryptionError: the context cannot serve.
    """

    def __init__(self, context: bytes) -> None:
        self._context = secret_context("ckks", context)

    def encrypt(self, codes: NDArray[np.int64], *, bits: int, part: bytes) -> bytes:
        """A message that hides ``codes`` (n,). Encryption is random, so that ``part`` plays no role.

        Raises:
            EncryptionError: no vector of integers of 24 bits, sign included, or bits other than 24.
        """
        _slots(1, bits)
        check_codes(codes, bits=bits)
        return encrypt(FORM, codes, partial(ts.ckks_vector, self._context))

    def decrypt(self, payload: bytes, *, length: int, bits: int, parts: Sequence[bytes]) -> NDArray[np.int64]:
        """The sum (length,) that a message hides, exact if each sum has 24 bits; ``parts`` play no role.

        Raises:
            EncryptionError: the message is not one of ``length`` numbers, or a number is further than
                ``MOST_RESIDUAL`` from a whole one, as under another key.
        """
        slots = _slots(length, bits)
        return np.concatenate([whole(one) for one in decrypt(self._context, FORM, payload, slots=slots)])


class CkksAccumulator(CiphertextSum):
    """Adds messages of ``length`` numbers of 24 bits without any key.

    Raises:
        EncryptionError: no numbers, or bits other than 24.
    """

    def __init__(self, *, length: int, bits: int) -> None:
        super().__init__(FORM, slots=_slots(length, bits))


def whole(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Values (n,) as the whole numbers that they are next to.

    Raises:
        EncryptionError: one is not finite, beyond 2^52, or further than ``MOST_RESIDUAL`` from a whole number.
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
