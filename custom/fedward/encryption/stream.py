"""Encrypt numbers with an additive stream cipher: add to each a secret number used once; ciphertexts add without a key.

Castelluccia, Chan, Mykletun and Tsudik (2009), "Efficient and provably secure aggregation of encrypted data in wireless
sensor networks", ACM TOSN 5(3), section 4: ``c = code + stream (mod 2^ring)``, so the sum of ``c`` less the sum of the
streams is the sum of the codes. The stream is AES-256 in counter mode (NIST SP 800-38A, section 6.5).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

from fedward.encryption.keys.key import FederationKey
from fedward.errors import EncryptionError

BLOCK = 1 << 16
"""Numbers processed at a time: their memory fits into a processor's cache."""
_ZEROS = memoryview(bytes(8 * BLOCK))
"""Plaintext of every stream; one for all, so that it stays in the cache."""
_RING: dict[int, np.dtype[Any]] = {32: np.dtype("<u4"), 48: np.dtype("<u8")}
_SIGNED: dict[int, np.dtype[Any]] = {32: np.dtype("<i4"), 48: np.dtype("<i8")}


def blocks(length: int) -> Iterator[slice]:
    """Yield slices of at most ``BLOCK`` that cover ``length`` numbers in order."""
    return (slice(start, min(start + BLOCK, length)) for start in range(0, length, BLOCK))


class KeyStream:
    """Stream of unsigned numbers from AES-256 in counter mode, from counter zero.

    Args:
        key: 32 bytes used for this stream alone; the counter need not be random because the key is.
    """

    def __init__(self, key: bytes) -> None:
        self._encryptor = Cipher(algorithms.AES256(key), modes.CTR(bytes(16))).encryptor()

    def take(self, count: int, dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return the next ``count`` numbers, at most ``BLOCK``, read-only, of ``dtype`` (uint32 or uint64)."""
        return np.frombuffer(self._encryptor.update(_ZEROS[: count * dtype.itemsize]), dtype)


class StreamCipher:
    """Hospital's side of the scheme. 32 bits are sent as little-endian uint32, 48 bits as uint64.

    Guarantees: without the key a payload cannot be distinguished from uniform bytes of its length (AES-256 as a
    pseudo-random function), as long as no two messages have the same ``part``; sums are exact as long as they fit in
    ``bits`` bits. It does not detect an altered payload: the tag does.
    """

    def __init__(self, key: FederationKey) -> None:
        self._key = key

    def encrypt(self, codes: NDArray[np.int64], *, bits: int, part: bytes) -> bytes:
        """Encrypt ``codes``, int64 of shape (n,), with the stream that ``part`` names.

        Raises:
            EncryptionError: ``bits`` is neither 32 nor 48.
        """
        hidden = np.empty(codes.size, ring_of(bits))
        stream = self._stream(part)
        for block in blocks(codes.size):
            room = hidden[block]
            room[...] = codes[block]
            room += stream.take(room.size, hidden.dtype)
        return hidden.tobytes()

    def decrypt(self, payload: bytes, *, length: int, bits: int, parts: Sequence[bytes]) -> NDArray[np.int64]:
        """Decrypt the sum of the codes that ``parts`` name: int64 of shape (length,), within the ring's signed range.

        Raises:
            EncryptionError: ``payload`` has another length, or ``bits`` is neither 32 nor 48.
        """
        hidden = _read(payload, length=length, bits=bits)
        streams = [self._stream(part) for part in parts]
        codes = np.empty(length, np.int64)
        for block in blocks(length):
            room = hidden[block].copy()
            for stream in streams:
                room -= stream.take(room.size, room.dtype)
            codes[block] = room.view(_SIGNED[bits])
        return codes

    def _stream(self, part: bytes) -> KeyStream:
        return KeyStream(self._key.derive(b"fedward/stream/1" + part))


class StreamAccumulator:
    """Server's side of the scheme: the sum of payloads in the ring; it holds no key.

    Args:
        length: number of numbers.
        bits: 32 or 48.
    """

    def __init__(self, *, length: int, bits: int) -> None:
        self._bits = bits
        self._sum = np.zeros(length, ring_of(bits))

    def add(self, payload: bytes) -> None:
        """Add one payload to the sum.

        Raises:
            EncryptionError: its length is not the sum's.
        """
        self._sum += _read(payload, length=self._sum.size, bits=self._bits)

    def payload(self) -> bytes:
        """Return the sum of the payloads; zeros before the first one."""
        return self._sum.tobytes()


def ring_of(bits: int) -> np.dtype[Any]:
    """Return the unsigned type in which numbers of 32 or 48 bits are sent.

    Raises:
        EncryptionError: ``bits`` is neither 32 nor 48.
    """
    if bits not in _RING:
        raise EncryptionError("aes-ctr has no numbers of so many bits", value=bits, remedy="use 32 or 48")
    return _RING[bits]


def _read(payload: bytes, *, length: int, bits: int) -> NDArray[Any]:
    dtype = ring_of(bits)
    if len(payload) != length * dtype.itemsize:
        raise EncryptionError(f"payload is not {length} numbers of {8 * dtype.itemsize} bits", value=len(payload))
    return np.frombuffer(payload, dtype)
