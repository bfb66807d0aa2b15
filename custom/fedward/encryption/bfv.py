"""Encrypt and add integers modulo a prime exactly with BFV (Fan & Vercauteren 2012, sections 3 and 4, by SEAL).

Room for noise. With modulus q of 59 bits and plain modulus t of 49, a ciphertext decrypts exactly while its noise stays
below q / 2t - 1 > 510. SEAL's fresh symmetric noise is at most 21 in absolute value (centred binomial, standard
deviation 3.24) and rounding adds at most 1/2, so that every sum of 23 sites decrypts. For ``MOST_SITES``, 256, the
standard deviation is 52, and a coefficient passes 510 with probability below 10^-21; the tag would then not verify.
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

FORM = Form(scheme="bfv", slots=DEGREE, read=ts.bfv_vector_from)
MOST_SITES = 256
"""Largest number of sites in a sum; more would leave too little room for noise."""
_SMALL, _LARGE = 24, 48


class BfvCipher:
    """Cipher of a hospital's numbers: two of 24 bits, or one of 48, in a slot.

    Args:
        context: result of ``new_context("bfv")``.

    Raises:
        EncryptionError: ``secret_context`` refuses the context.
    """

    def __init__(self, context: bytes) -> None:
        self._context = secret_context("bfv", context)

    def encrypt(self, codes: NDArray[np.int64], *, bits: int, part: bytes) -> bytes:
        """Encrypt ``codes`` (n,). Encryption is random, so that ``part`` is not used.

        Raises:
            EncryptionError: ``codes`` is no vector of integers of ``bits``, sign included, or ``bits`` is not 24 or 48.
        """
        _slots(1, bits)
        check_codes(codes, bits=bits)
        return encrypt(FORM, pack(codes) if bits == _SMALL else codes, partial(ts.bfv_vector, self._context))

    def decrypt(self, payload: bytes, *, length: int, bits: int, parts: Sequence[bytes]) -> NDArray[np.int64]:
        """Decrypt the sum (length,), exact if each number of it fits in ``bits``; of ``parts`` only the count is used.

        A message under another key gives numbers without meaning: the check of the tag refuses them.

        Raises:
            EncryptionError: the message is not one of ``length`` numbers of ``bits``, or has too many parts.
        """
        if len(parts) > MOST_SITES:
            raise EncryptionError(
                f"bfv sums at most {MOST_SITES} sites", value=len(parts), remedy="use a key of scheme aes-ctr"
            )
        slots = _slots(length, bits)
        values = np.concatenate(list(decrypt(self._context, FORM, payload, slots=slots))).astype(np.int64)
        return unpack(values, length=length) if bits == _SMALL else values


class BfvAccumulator(CiphertextSum):
    """Sum of messages of ``length`` numbers of ``bits``, made without any key.

    Raises:
        EncryptionError: ``length`` is below 1, or ``bits`` is not 24 or 48.
    """

    def __init__(self, *, length: int, bits: int) -> None:
        super().__init__(FORM, slots=_slots(length, bits))


def pack(codes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Pack two numbers into a slot: ``high · 2^24 + low``. The sum of packed slots is the packed sums.

    Args:
        codes: (n,), each within 24 bits, sign included.

    Returns:
        (⌈n / 2⌉,); if n is odd, the last number is paired with 0.
    """
    pairs = np.zeros((len(codes) + 1) // 2 * 2, np.int64)
    pairs[: len(codes)] = codes
    return (pairs[0::2] << _SMALL) + pairs[1::2]


def unpack(slots: NDArray[np.int64], *, length: int) -> NDArray[np.int64]:
    """Invert ``pack``, for sums too: ``low`` is the one number in [-2^23, 2^23) that equals the slot modulo 2^24.

    A negative low sum has taken 1 from the high one; ``slot - low`` gives it back.
    """
    half = 1 << (_SMALL - 1)
    low = ((slots + half) & ((1 << _SMALL) - 1)) - half
    return np.stack([(slots - low) >> _SMALL, low], axis=1).reshape(-1)[:length]


def _slots(length: int, bits: int) -> int:
    if bits not in (_SMALL, _LARGE):
        raise EncryptionError("bfv hides numbers of 24 or 48 bits", value=bits)
    if length < 1:
        raise EncryptionError("a sum has at least one number", value=length)
    return (length + 1) // 2 if bits == _SMALL else length
