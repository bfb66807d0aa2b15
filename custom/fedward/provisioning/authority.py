"""Read the federation's certificate authority, which FLARE's ``nvflare cert init`` made, and sign with it.

Certificates are X.509 (RFC 5280). FLARE issues them; a renewal repeats one for the same key with a later end.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from fedward.encryption.keys.key_file import read_private
from fedward.encryption.keys.site_identity import parse_certificate, public_key
from fedward.errors import EncryptionError, FederationError
from fedward.provisioning.fingerprint import key_hash
from fedward.provisioning.inventory import Inventory, Issued

ROOT_CERTIFICATE, ROOT_KEY = "rootCA.pem", "rootCA.key"
_RESTORE = "restore the state folder from its backup"
_PADDING = PSS(mgf=MGF1(SHA256()), salt_length=PSS.DIGEST_LENGTH)


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """Certificate and private key of the authority; its representation shows no key."""

    certificate: x509.Certificate
    key: RSAPrivateKey = field(repr=False)

    def sign(self, content: bytes) -> bytes:
        """Sign (RSA-PSS, RFC 8017, 8.1). ``content`` begins with a line that no other kind of content begins with."""
        return self.key.sign(content, _PADDING, SHA256())

    def sign_crl(self, inventory: Inventory) -> bytes:
        """Make and sign the revocation list of this inventory, in PEM (RFC 5280, 5)."""
        from fedward.provisioning.crl import make_crl

        return make_crl(root=self.certificate, key=self.key, revoked=inventory.revoked, number=inventory.crl_number)


def is_signed_by(root: x509.Certificate, signature: bytes, content: bytes) -> bool:
    """True if ``Authority.sign`` made this signature with the key of ``root``.

    Raises:
        EncryptionError: the certificate has no RSA key.
    """
    try:
        public_key(root).verify(signature, content, _PADDING, SHA256())
    except InvalidSignature:
        return False
    return True


def read_authority(state: Path) -> Authority:
    """Read ``rootCA.pem`` and ``rootCA.key``.

    Raises:
        FederationError: they are absent, accessible to other users, damaged, or do not belong together.
    """
    root = read_pem(state / ROOT_CERTIFICATE)
    path = state / ROOT_KEY
    try:
        key = load_pem_private_key(read_private(path, "authority's key"), password=None)
    except OSError as error:
        raise FederationError(
            "authority's key is not here", where=path, value=error.strerror, remedy=_RESTORE
        ) from None
    except EncryptionError as error:
        raise FederationError(error.what, where=path, value=error.value, remedy=error.remedy) from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise FederationError("is not the authority's key", where=path, remedy=_RESTORE) from None
    if not isinstance(key, RSAPrivateKey) or key.public_key() != root.public_key():
        raise FederationError("is not the key of rootCA.pem", where=path, remedy=_RESTORE)
    return Authority(certificate=root, key=key)


def read_pem(path: Path) -> x509.Certificate:
    """Read one certificate.

    Raises:
        FederationError: the file is absent or holds no certificate.
    """
    try:
        return parse_certificate(path.read_bytes(), encoding=Encoding.PEM)
    except OSError as error:
        raise FederationError("certificate cannot be read", where=path, value=error.strerror) from None
    except EncryptionError as error:
        raise FederationError(error.what, where=path, remedy=_RESTORE) from None


def issued_of(certificate: x509.Certificate) -> Issued:
    """Return the inventory's entry for a certificate."""
    return Issued(
        serial=f"{certificate.serial_number:x}",
        key=key_hash(public_key(certificate)),
        issued_at=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
    )


def reissue(old: x509.Certificate, *, authority: Authority, days: int, now: datetime) -> x509.Certificate:
    """Return a certificate like ``old``, for the same key, name and purposes, with a new serial number and validity.

    Args:
        old: issued by the same authority.
        days: validity; it ends no later than the authority's own.
    """
    end = min(now + timedelta(days=days), authority.certificate.not_valid_after_utc)
    builder = (
        x509.CertificateBuilder()
        .subject_name(old.subject)
        .issuer_name(authority.certificate.subject)
        .public_key(public_key(old))
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(end)
    )
    for extension in old.extensions:
        builder = builder.add_extension(extension.value, critical=extension.critical)
    return builder.sign(authority.key, SHA256())
