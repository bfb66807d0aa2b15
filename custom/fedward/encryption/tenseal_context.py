"""Make TenSEAL contexts with fixed parameters for bfv and ckks, and turn errors of TenSEAL into errors of one line.

Both use rings of degree 4096 with 109 bits of coefficient modulus, the most that the Homomorphic Encryption Standard
allows at 128 bits of classical security for ternary secrets (Albrecht et al. 2018, table 1). Encryption is symmetric:
no public key exists. Sums need neither relinearisation nor Galois keys, so none are kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import tenseal as ts

from fedward.errors import EncryptionError

HomomorphicScheme = Literal["bfv", "ckks"]
DEGREE = 4096
"""Coefficients of a polynomial: the number of slots of a BFV ciphertext, twice that of a CKKS ciphertext."""
PLAIN_MODULUS = 562_949_953_216_513
"""Plain modulus of BFV: the largest prime below 2^49 that is 1 modulo 2 · 4096, which batching requires (Smart &
Vercauteren 2014, section 2). It holds two sums of 24 bits, or one of 48, each with its sign."""
SCALE = 2.0**28
"""Scale of CKKS: a scaled integer of 24 bits is at most 2^51, below half the modulus of 54 bits."""
COEFFICIENT_BITS = {"bfv": [59, 50], "ckks": [54, 55]}
"""Sizes of the primes in bits. SEAL reserves the last one for keys; ciphertexts use the first alone. At 60 bits SEAL
would not compress a ciphertext, and a message would need more than 8 bytes for a number of 24 bits."""
_RAISED = (ValueError, RuntimeError, TypeError, IndexError, OverflowError, MemoryError)


@contextmanager
def one_line(what: str, *, remedy: str | None = None) -> Iterator[None]:
    """Turn each error that TenSEAL or SEAL raises inside into an ``EncryptionError`` that begins with ``what``."""
    try:
        yield
    except _RAISED as error:
        raise EncryptionError(f"{what} ({type(error).__name__}: {error})", remedy=remedy) from error


def new_context(scheme: str) -> bytes:
    """Return a new context of one thread with a new secret key, serialised (about 62 kB). It is as secret as the key.

    Raises:
        EncryptionError: the scheme is neither bfv nor ckks.
    """
    return bytes(
        _create(scheme).serialize(
            save_public_key=False, save_secret_key=True, save_galois_keys=False, save_relin_keys=False
        )
    )


def secret_context(scheme: HomomorphicScheme, serialised: bytes) -> Any:
    """Return a hospital's TenSEAL context from the bytes of ``new_context``.

    Raises:
        EncryptionError: the bytes are no context, hold no secret key, or their parameters are not this scheme's.
    """
    with one_line("the key holds no context that TenSEAL can read", remedy="have the key's owner send it again"):
        context = ts.context_from(serialised, n_threads=1)
        parameters = context.seal_context().data.key_parms_id()
        scale = context.global_scale if scheme == "ckks" else SCALE
    if parameters != _create(scheme).seal_context().data.key_parms_id() or scale != SCALE:
        raise EncryptionError(f"the key's context has other parameters than {scheme} has here")
    if not context.has_secret_key():
        raise EncryptionError("the key's context holds no secret key")
    return context


def public_context(scheme: HomomorphicScheme) -> Any:
    """Return the server's context: the same parameters and no key at all; it can add and cannot decrypt."""
    return ts.context_from(
        _create(scheme).serialize(
            save_public_key=False, save_secret_key=False, save_galois_keys=False, save_relin_keys=False
        ),
        n_threads=1,
    )


def _create(scheme: str) -> Any:
    if scheme not in COEFFICIENT_BITS:
        raise EncryptionError("no homomorphic scheme has this name", value=scheme, remedy="use bfv or ckks")
    context = ts.context(
        ts.SCHEME_TYPE.BFV if scheme == "bfv" else ts.SCHEME_TYPE.CKKS,
        DEGREE,
        plain_modulus=PLAIN_MODULUS if scheme == "bfv" else None,
        coeff_mod_bit_sizes=COEFFICIENT_BITS[scheme],
        encryption_type=ts.ENCRYPTION_TYPE.SYMMETRIC,
        n_threads=1,
    )
    if scheme == "ckks":
        context.global_scale = SCALE
    return context
