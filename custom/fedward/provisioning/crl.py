"""Make and read the certificate revocation list, signed by the federation's root (RFC 5280, section 5).

The list is complete (no delta), covers the root's own certificates (not indirect), and is in PEM. Its number (section
5.2.3) only grows, so that a server recognises an older list, which would admit a revoked hospital again.
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
"""Name of the list's file, in the server kit's ``local``."""

LARGEST_CRL = 4 * 2**20
"""Largest list, in bytes: some 60,000 revoked certificates."""

_REMEDY = f"put the operator's newest {CRL_FILE} there"
_UNREADABLE = (ValueError, TypeError, LookupError, Warning, UnsupportedAlgorithm, x509.DuplicateExtension)


@dataclass(frozen=True, slots=True)
class Revocations:
    """Revocation list that was verified.

    Attributes:
        number: its CRL number.
        serials: serial numbers of the revoked certificates, all issued by the root.
    """

    number: int
    serials: frozenset[int]

    def revokes(self, certificate: x509.Certificate) -> bool:
        """True if this certificate of the root is revoked."""
        return certificate.serial_number in self.serials


def crl_content(path: Path) -> bytes:
    """Return the unchecked bytes of a revocation list, at most one more than ``LARGEST_CRL``.

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
    """Read and verify a revocation list in PEM.

    Args:
        content: bytes of any origin.
        root: certificate of the authority that must have issued the list.
        where: file of the list, for messages.

    Raises:
        FederationError: it is not one X.509 revocation list, is of another issuer, is not signed by the root's key, has
            no CRL number, lists a certificate twice, or has a critical extension (RFC 5280, section 5.2: a list with an
            unknown critical extension must not be used; delta and indirect lists have one).
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
    """Fault of a list, as a phrase."""


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
        revoked: date of revocation by serial number, for all revoked certificates, earlier lists included.
        number: CRL number, greater than that of the list before.
        made_at: date of the list; None: now.

    Returns:
        PEM. The list is valid as long as the root: a server keeps the last list that it received.

    Raises:
        FederationError: key and certificate do not belong together, the root has expired, or a serial number or date
            is not allowed in a list.
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
    """Return an entry with the reason "privilege withdrawn" (RFC 5280, section 5.3.1): the key need not be lost."""
    entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(date)
    return entry.add_extension(x509.CRLReason(x509.ReasonFlags.privilege_withdrawn), critical=False).build()
