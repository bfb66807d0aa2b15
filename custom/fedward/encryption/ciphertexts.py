"""Split long vectors into many ciphertexts of one polynomial pair each; frame, check and add them.

A message holds its ciphertexts one after the other, each preceded by its length (4 bytes, big-endian). Only one
ciphertext at a time is held as Python numbers: millions of numbers need little memory, and TenSEAL does not warn on
standard output.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedward.encryption.tenseal_context import DEGREE, SCALE, HomomorphicScheme, one_line, public_context
from fedward.errors import EncryptionError

_PREFIX = 4
_MOST_BYTES = 2 * 8 * DEGREE + 1024
"""Largest ciphertext: two polynomials of 64-bit coefficients, with room for SEAL's headers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """Format of one scheme's vectors.

    Attributes:
        scheme: its name.
        slots: values in a ciphertext.
        read: function from a context and a serialised vector to TenSEAL's vector.
    """

    scheme: HomomorphicScheme
    slots: int
    read: Callable[[Any, bytes], Any]

    def sizes(self, slots: int) -> list[int]:
        """Return the number of values in each ciphertext of a vector of ``slots`` values: all are full but the last."""
        return [min(self.slots, slots - start) for start in range(0, slots, self.slots)]


def most_bytes(scheme: HomomorphicScheme, *, bits: int, length: int) -> int:
    """Return an upper bound of the bytes of a message of ``length`` numbers.

    A slot of BFV holds two numbers of 24 bits or one of 48, and a ciphertext has ``DEGREE`` slots; CKKS has one number
    a slot and half as many slots.
    """
    each = DEGREE * (2 if bits <= 24 else 1) if scheme == "bfv" else DEGREE // 2
    return -(-length // each) * (_MOST_BYTES + _PREFIX)


def frame(ciphertexts: Iterable[bytes]) -> bytes:
    """Return the bytes of a message."""
    return b"".join(part for one in ciphertexts for part in (len(one).to_bytes(_PREFIX, "big"), one))


def unframe(payload: bytes, *, count: int) -> Iterator[bytes]:
    """Invert ``frame``: yield one ciphertext at a time.

    Raises:
        EncryptionError: there are not ``count`` ciphertexts, one is empty or too long, or bytes are left over.
    """
    start = 0
    for _ in range(count):
        length = int.from_bytes(payload[start : start + _PREFIX], "big")
        start += _PREFIX + length
        if not 0 < length <= _MOST_BYTES or start > len(payload):
            raise EncryptionError(f"the message does not hold {count} ciphertexts")
        yield payload[start - length : start]
    if start != len(payload):
        raise EncryptionError(f"the message holds more than {count} ciphertexts")


def load(context: Any, form: Form, serialised: bytes, *, size: int) -> Any:
    """Load TenSEAL's vector of ``size`` values from untrusted bytes.

    Raises:
        EncryptionError: the bytes are not one ciphertext with this scheme's parameters, this size and this scale; or
            the ciphertext is transparent, that is, readable without a key.
    """
    with one_line(f"the message holds no {form.scheme} ciphertext of these parameters"):
        vector = form.read(context, serialised)
        held, found = vector.ciphertext(), vector.size()
    if len(held) != 1 or found != size:
        raise EncryptionError(f"a ciphertext of the message holds {found} values where {size} are due")
    if held[0].is_transparent():
        raise EncryptionError("a ciphertext of the message hides nothing")
    if held[0].size() != 2:
        raise EncryptionError("a ciphertext of the message is no fresh one or sum of them")
    if form.scheme == "ckks" and held[0].scale != SCALE:
        raise EncryptionError("a ciphertext of the message has another scale than it should")
    return vector


def encrypt(form: Form, values: NDArray[np.int64], make: Callable[[list[int]], Any]) -> bytes:
    """Encrypt ``values`` (slots,) into a message; ``make`` makes each ciphertext."""
    starts = range(0, len(values), form.slots)
    with one_line("TenSEAL could not encrypt"):
        return frame(make(values[start : start + form.slots].tolist()).serialize() for start in starts)


def decrypt(context: Any, form: Form, payload: bytes, *, slots: int) -> Iterator[NDArray[Any]]:
    """Decrypt a message of ``slots`` values: yield the values of one ciphertext at a time.

    Raises:
        EncryptionError: as in ``unframe`` and ``load``, or TenSEAL cannot decrypt.
    """
    sizes = form.sizes(slots)
    for size, one in zip(sizes, unframe(payload, count=len(sizes)), strict=True):
        vector = load(context, form, one, size=size)
        with one_line("TenSEAL could not decrypt"):
            yield np.asarray(vector.decrypt())


class CiphertextSum:
    """Sum of messages, made one by one without any key.

    Each message is checked: a message that is refused leaves the sum unchanged.

    Args:
        form: of the scheme.
        slots: values of every message.
    """

    def __init__(self, form: Form, *, slots: int) -> None:
        self._form, self._sizes = form, form.sizes(slots)
        self._context = public_context(form.scheme)
        self._sum: list[Any] = []

    def add(self, payload: bytes) -> None:
        """Add one message.

        Raises:
            EncryptionError: its ciphertexts do not have this number of values and these parameters.
        """
        if not self._sum:
            self._sum = list(self._read(payload))
            return
        added = 0
        try:
            for index, one in enumerate(self._read(payload)):
                with one_line("the message cannot be added"):
                    self._sum[index] = one.add_(self._sum[index])
                added += 1
        except EncryptionError:
            self._take_back(payload, added)
            raise

    def payload(self) -> bytes:
        """Return the sum so far, as a message of the same form.

        Raises:
            EncryptionError: no message was added.
        """
        if not self._sum:
            raise EncryptionError("there is no message to sum")
        return frame(one.serialize() for one in self._sum)

    def _read(self, payload: bytes) -> Iterator[Any]:
        ciphertexts = unframe(payload, count=len(self._sizes))
        for size, one in zip(self._sizes, ciphertexts, strict=True):
            yield load(self._context, self._form, one, size=size)

    def _take_back(self, payload: bytes, added: int) -> None:
        """Undo the first ``added`` additions exactly: in CKKS, as in BFV, coefficients are integers modulo q."""
        for index, one in enumerate(islice(self._read(payload), added)):
            self._sum[index] = self._sum[index].sub_(one)


def check_codes(codes: NDArray[np.int64], *, bits: int) -> None:
    """Refuse codes that cannot enter a sum of numbers of ``bits``, sign included.

    Raises:
        EncryptionError: ``codes`` is no vector of 64-bit integers, is empty, or holds a number that needs more bits.
    """
    if codes.dtype != np.int64 or codes.ndim != 1 or not codes.size:
        raise EncryptionError("numbers to encrypt are not a vector of 64-bit integers")
    limit = 1 << (bits - 1)
    if codes.min() < -limit or codes.max() >= limit:
        raise EncryptionError(f"a number to encrypt needs more than {bits} bits")
