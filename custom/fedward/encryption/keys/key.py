"""The federation's key: made by one hospital, held by hospitals, never by who runs the server."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from fedward.settings import Scheme

SECRET_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class FederationKey:
    """What hospitals share. Its representation shows nothing secret.

    Attributes:
        scheme: how numbers are hidden under it.
        generation: 1 for a federation's first key, one more with each rotation.
        secret: 32 bytes from the system's entropy.
        context: TenSEAL's serialised context with its secret key, for bfv and ckks; empty for aes-ctr.
    """

    scheme: Scheme
    generation: int
    secret: bytes = field(repr=False)
    context: bytes = field(default=b"", repr=False)

    @property
    def key_id(self) -> str:
        """32 hexadecimal digits that name the key and tell nothing of it; every message carries them."""
        context = hashlib.sha256(self.context).hexdigest()
        return self.derive(f"fedward/key-id/1 {self.scheme} {self.generation} {context}".encode(), length=16).hex()

    def derive(self, purpose: bytes, *, length: int = 32) -> bytes:
        """Key material for one purpose alone (HKDF-SHA256, RFC 5869); none of it tells of another or of the secret."""
        return HKDF(algorithm=SHA256(), length=length, salt=None, info=purpose).derive(self.secret)


def create_key(scheme: Scheme = "aes-ctr", *, generation: int = 1) -> FederationKey:
    """A new key from the system's entropy; TenSEAL makes its own part for bfv and ckks."""
    context = b""
    if scheme != "aes-ctr":
        from fedward.encryption.tenseal_context import new_context

        context = new_context(scheme)
    return FederationKey(
        scheme=scheme, generation=generation, secret=secrets.token_bytes(SECRET_BYTES), context=context
    )
