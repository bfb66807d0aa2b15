"""Create the federation's key and derive keys from it. Hospitals alone hold it, never the server's operator."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from fedward.settings import KeyScheme, Scheme

SECRET_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class FederationKey:
    """Key that the hospitals share. Its ``repr`` shows nothing secret.

    Attributes:
        scheme: the encryption scheme that it is for; ``masked`` of a key that is one job's.
        generation: 1 for a federation's first key, one more after each rotation.
        secret: 32 bytes from the system's entropy.
        context: TenSEAL's serialised context with its secret key, for bfv and ckks; empty for aes-ctr.
    """

    scheme: Scheme
    generation: int
    secret: bytes = field(repr=False)
    context: bytes = field(default=b"", repr=False)

    @property
    def key_id(self) -> str:
        """Identifier of the key, 32 hexadecimal digits, in every message; it discloses nothing about the key."""
        context = hashlib.sha256(self.context).hexdigest()
        return self.derive(f"fedward/key-id/1 {self.scheme} {self.generation} {context}".encode(), length=16).hex()

    def derive(self, purpose: bytes, *, length: int = 32) -> bytes:
        """Derive key material for one purpose (HKDF-SHA256, RFC 5869); it discloses nothing of others or the secret."""
        return HKDF(algorithm=SHA256(), length=length, salt=None, info=purpose).derive(self.secret)


def create_key(scheme: KeyScheme = "aes-ctr", *, generation: int = 1) -> FederationKey:
    """Create a new key from the system's entropy; for bfv and ckks TenSEAL makes the context."""
    context = b""
    if scheme != "aes-ctr":
        from fedward.encryption.tenseal_context import new_context

        context = new_context(scheme)
    return FederationKey(
        scheme=scheme, generation=generation, secret=secrets.token_bytes(SECRET_BYTES), context=context
    )
