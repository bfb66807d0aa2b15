"""Choose an additive encryption scheme by its name. All four give the exact sum of integers.

============  =====================================================  ==================  ==============
scheme        method                                                 bits, compact       bits, precise
============  =====================================================  ==================  ==============
``masked``    ``aes-ctr`` under a key of the job, and masks          32                  48
``aes-ctr``   additive stream cipher, ``fedward.encryption.stream``  32                  48
``bfv``       BFV over TenSEAL, ``fedward.encryption.bfv``           24                  48
``ckks``      CKKS over TenSEAL, ``fedward.encryption.ckks``         24                  none
============  =====================================================  ==================  ==============

TenSEAL is imported only when a scheme needs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fedward.encryption.keys.key import FederationKey
from fedward.encryption.stream import StreamAccumulator, StreamCipher
from fedward.errors import EncryptionError
from fedward.settings import Precision, Scheme

_BITS: dict[str, dict[str, int]] = {
    "masked": {"compact": 32, "precise": 48},
    "aes-ctr": {"compact": 32, "precise": 48},
    "bfv": {"compact": 24, "precise": 48},
    "ckks": {"compact": 24},
}


_STREAMED = frozenset({"masked", "aes-ctr"})
"""Schemes that hide numbers with ``fedward.encryption.stream``."""


class Cipher(Protocol):
    """Hospital's side of a scheme."""

    def encrypt(self, codes: NDArray[np.int64], *, bits: int, part: bytes) -> bytes:
        """Encrypt ``codes``, int64 of shape (n,); ``part`` names this message and no other."""

    def decrypt(self, payload: bytes, *, length: int, bits: int, parts: Sequence[bytes]) -> NDArray[np.int64]:
        """Decrypt the sum, int64 of shape (length,), of the messages that ``parts`` name.

        Raises:
            EncryptionError: ``payload`` cannot be a sum of ``length`` numbers.
        """


class Accumulator(Protocol):
    """Server's side of a scheme: it holds no key."""

    def add(self, payload: bytes) -> None:
        """Add one payload to the sum.

        Raises:
            EncryptionError: the payload is not valid; the sum is then unchanged.
        """

    def payload(self) -> bytes:
        """Return the sum of the payloads."""


def bits_of(scheme: Scheme, precision: Precision) -> int:
    """Return the bits of one number of a sum, its sign included.

    Raises:
        EncryptionError: the scheme is unknown or has no such precision.
    """
    found = _modes(scheme).get(precision)
    if found is None:
        raise EncryptionError(
            f"scheme {scheme} has no {precision} mode", remedy="choose masked, aes-ctr, bfv or compact"
        )
    return found


def check_bits(scheme: str, bits: int) -> None:
    """Refuse a number of bits that no precision of ``scheme`` has.

    Raises:
        EncryptionError: no precision has this number of bits, or the scheme is unknown.
    """
    known = sorted(_modes(scheme).values())
    if bits not in known:
        names = " or ".join(map(str, known))
        raise EncryptionError(f"scheme {scheme} has no numbers of so many bits", value=bits, remedy=f"use {names}")


def largest_bytes(scheme: Scheme, *, bits: int, length: int) -> int:
    """Return the bytes of the largest message of ``length`` numbers, without its header: exact for masked and
    aes-ctr; masks add ``masks.upload.extra_bytes``.

    Raises:
        EncryptionError: the scheme is unknown or has no such bits.
    """
    check_bits(scheme, bits)
    if scheme == "masked" or scheme == "aes-ctr":
        return len(accumulator(scheme, length=1, bits=bits).payload()) * length
    from fedward.encryption.ciphertexts import most_bytes

    return most_bytes(scheme, bits=bits, length=length)


def cipher(key: FederationKey) -> Cipher:
    """Return the hospital's side of the key's scheme.

    Raises:
        EncryptionError: the scheme is unknown.
    """
    if key.scheme in _STREAMED:
        return StreamCipher(key)
    if key.scheme == "bfv":
        from fedward.encryption.bfv import BfvCipher

        return BfvCipher(key.context)
    if key.scheme == "ckks":
        from fedward.encryption.ckks import CkksCipher

        return CkksCipher(key.context)
    raise _unknown()


def accumulator(scheme: str, *, length: int, bits: int) -> Accumulator:
    """Return the server's side of a scheme, for ``length`` numbers of ``bits`` bits.

    Raises:
        EncryptionError: the scheme is unknown or has no such bits.
    """
    check_bits(scheme, bits)
    if scheme == "bfv":
        from fedward.encryption.bfv import BfvAccumulator

        return BfvAccumulator(length=length, bits=bits)
    if scheme == "ckks":
        from fedward.encryption.ckks import CkksAccumulator

        return CkksAccumulator(length=length, bits=bits)
    return StreamAccumulator(length=length, bits=bits)


def _modes(scheme: str) -> dict[str, int]:
    if scheme not in _BITS:
        raise _unknown()
    return _BITS[scheme]


def _unknown() -> EncryptionError:
    return EncryptionError("scheme of encryption is unknown", remedy=f"choose {', '.join(sorted(_BITS))}")
