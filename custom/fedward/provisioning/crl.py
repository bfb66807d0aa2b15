"""Which certificates are out: a certificate revocation list, signed by the federation's root (RFC 5280, section 5).

The list is complete (no delta), of the root's own certificates (not indirect), in PEM. Its number (section 5.2.3) only
grows, so that whoever holds a newer one can tell an older one, which would let a revoked hospital in again.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512
from cryptography.hazmat.primitives.serialization import Encoding

from fedward.errors import FederationError

CRL_FILE = "revoked.crl"
"""In the server kit's ``local``."""

LARGEST_CRL = 4 * 2**20
"""Bytes: some 60,000 revoked certificates."""

_REMEDY = f"put the operator's newest {CRL_FILE} there"
_UNREADABLE = (ValueError, TypeError, LookupError, Warning, UnsupportedAlgorithm, x509.DuplicateExtension)


@dataclass(frozen=True, slots=True)
class Revocations:
    """A revocation list that was proven.

    Attributes:
        number: its CRL number.
        serials: serial numbers of the revoked certificates, all issued by the root.
    """

    number: int
    serials: frozenset[int]

    def revokes(self, certificate: x509.Certificate) -> bool:
        """Whether this certificate of the root is revoked."""
        return certificate.serial_number in self.serials


def crl_content(path: Path) -> bytes:
    """The bytes of a revocation list, whatever they are; a few more than ``LARGEST_CRL`` of them at most.

    Raises:
        FederationError: the file is absent or cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(LARGEST_CRL + 1)
    except OSError as error:
        what = "revocation list cannot be read"
        raise FederationError(what, where=path, value=error.strerror, remedy=_REMEDY) from None


def parse_crl(content: bytes, *, root: x509.Certificate, where: Path) -> Revocations:
    """A revocation list from PEM.

    Args:
        content: whoever wrote it.
        root: whose list it must be.
        where: the file it is from, for messages.

    Raises:
        FederationError: not one X.509 revocation list, of another issuer, not signed by the root's key, without a CRL
            number, a certificate listed twice, or with a critical extension (RFC 5280, section 5.2: what is not
            understood must not be used; delta and indirect lists have one).
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return _parse(content, root)
    except _UnfitError as unfit:
        raise FederationError(str(unfit), where=where, remedy=_REMEDY) from None
    except _UNREADABLE:
        raise FederationError("is not a revocation list", where=where, remedy=_REMEDY) from None


class _UnfitError(Exception):
    """What is wrong with a list, as a phrase."""


def _parse(content: bytes, root: x509.Certificate) -> Revocations:
    if len(content) > LARGEST_CRL or content.count(b"-----BEGIN") != 1:
        raise _UnfitError("is not one revocation list")
    crl = x509.load_pem_x509_crl(content)
    key = root.public_key()
    if crl.issuer != root.subject:
        raise _UnfitError("revocation list is another authority's")
    if not isinstance(key, RSAPublicKey) or not isinstance(crl.signature_hash_algorithm, (SHA256, SHA384, SHA512)):
        raise _UnfitError("revocation list is signed in a way that Fedward does not take")
    if not crl.is_signature_valid(key):
        raise _UnfitError("revocation list was not signed by this federation's authority")
    entries = list(crl)
    extensions = [*crl.extensions, *(extension for entry in entries for extension in entry.extensions)]
    if any(extension.critical for extension in extensions):
        raise _UnfitError("revocation list has a critical extension, so it is not a complete list of this authority")
    try:
        number = crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except x509.ExtensionNotFound:
        raise _UnfitError("revocation list has no number") from None
    serials = frozenset(entry.serial_number for entry in entries)
    if len(serials) != len(entries):
        raise _UnfitError("revocation list names a certificate twice")
    return Revocations(number=number, serials=serials)


def make_crl(
    *,
    root: x509.Certificate,
    key: RSAPrivateKey,
    revoked: Mapping[int, datetime],
    number: int,
    made_at: datetime | None = None,
) -> bytes:
    """Make and sign a revocation list.

    Args:
        root: certificate of the federation's authority.
        key: its private key.
        revoked: when each serial number was revoked; every one of them, also those of earlier lists.
        number: CRL number, greater than that of the list before.
        made_at: None: now.

    Returns:
        PEM. It is valid as long as the root is: a server keeps the last list that it was given.

    Raises:
        FederationError: key and certificate do not belong together, the root has expired, or a serial number or date
            cannot stand in a list.
    """
    if key.public_key() != root.public_key():
        raise FederationError("private key is not the one of the federation's root certificate")
    if number < 1:
        raise FederationError("number of a revocation list must be 1 or more", value=number)
    made_at = datetime.now(UTC) if made_at is None else made_at
    try:
        builder = x509.CertificateRevocationListBuilder().issuer_name(root.subject)
        builder = builder.last_update(made_at).next_update(root.not_valid_after_utc)
        builder = builder.add_extension(x509.CRLNumber(number), critical=False)
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
        builder = builder.add_extension(identifier, critical=False)
        for serial, date in sorted(revoked.items()):
            builder = builder.add_revoked_certificate(_entry(serial, date))
        return builder.sign(key, SHA256()).public_bytes(Encoding.PEM)
    except (ValueError, TypeError) as error:
        raise FederationError(f"revocation list cannot be made, {error}") from None


def _entry(serial: int, date: datetime) -> x509.RevokedCertificate:
    """RFC 5280, section 5.3.1: the operator has withdrawn what the certificate gave; the key need not be lost."""
    entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(date)
    return entry.add_extension(x509.CRLReason(x509.ReasonFlags.privilege_withdrawn), critical=False).build()
