"""Read a request at the operator, and compare it with the federation's file."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from fedward.encryption.keys.site_identity import SMALLEST_MODULUS, hosts, is_authority, parse_certificate
from fedward.errors import EncryptionError, FederationError
from fedward.provisioning.authority import issued_of
from fedward.provisioning.fingerprint import key_hash
from fedward.provisioning.inventory import Inventory
from fedward.provisioning.participants import Kind, Line

_LARGEST = 2**20
_ANEW = "have the hospital make its request anew from the invitation"
_FLARE_KIND = {Kind.server: "server", Kind.site: "site", Kind.person: "user"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Content of the zip that ``nvflare cert request`` made.

    Attributes:
        kind, role: in FLARE's terms.
        key: SHA-256 of the public key; the request proves that its sender has the private key.
    """

    federation: str
    name: str
    organisation: str
    kind: str
    role: str
    key: str


def read_request(path: Path) -> Request:
    """Read a request zip and check that its signing request is signed by the key that it names.

    Raises:
        FederationError: it is not a request, is damaged, or has a weak key.
    """
    try:
        with zipfile.ZipFile(path) as file:
            content = json.loads(_member(file, "request.json"))
            name = str(content["name"])
            csr = x509.load_pem_x509_csr(_member(file, f"{name}.csr"))
    except OSError as error:
        raise FederationError("request cannot be read", where=path, value=error.strerror) from None
    except (zipfile.BadZipFile, ValueError, LookupError, TypeError, RuntimeError, NotImplementedError):
        raise FederationError("is not a request", where=path, remedy=_ANEW) from None
    key = csr.public_key()
    if not csr.is_signature_valid or not isinstance(key, RSAPublicKey) or key.key_size < SMALLEST_MODULUS:
        raise FederationError("request is not signed by a key that can serve", where=path, remedy=_ANEW)
    return Request(
        federation=str(content.get("project")),
        name=name,
        organisation=str(content.get("org")),
        kind=str(content.get("kind")),
        role=str(content.get("cert_type")),
        key=key_hash(key),
    )


def _member(file: zipfile.ZipFile, name: str) -> bytes:
    with file.open(name) as member:
        content = member.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise ValueError(name)
    return content


def require_agrees(request: Request, line: Line, *, federation: str, where: Path) -> None:
    """Refuse a request that asks for more, or for other things, than its line in the file.

    Raises:
        FederationError: names the difference.
    """
    for what, asked, expected in (
        ("federation", request.federation, federation),
        ("kind", request.kind, _FLARE_KIND[line.kind]),
        ("role", request.role, line.certificate_role),
        ("organisation", request.organisation, line.organisation),
    ):
        if asked != expected:
            raise FederationError(
                f"request of {request.name} asks for another {what} than the file's line, {expected!r}",
                where=where,
                value=asked,
                remedy="correct the file, invite again, or ask who sent this",
            )


def require_may_have_one(request: Request, inventory: Inventory, *, now: datetime, where: Path) -> None:
    """Refuse a second certificate for a name, and any certificate for a key that is revoked or another name's.

    Raises:
        FederationError: names the reason.
    """
    for one in inventory.participants:
        for issued in one.certificates:
            if issued.key != request.key:
                continue
            if issued.revoked_at is not None:
                raise FederationError(
                    "request is for a key whose certificate was revoked",
                    where=where,
                    remedy=f"`federation invite {request.name}` again; the hospital makes a new key",
                )
            if one.name != request.name:
                raise FederationError(f"request is for the key of {one.name}", where=where, remedy=_ANEW)
    known = inventory.find(request.name)
    if known is not None and known.current is not None and known.current.not_after > now:
        raise FederationError(
            f"{request.name} has a certificate that is valid",
            where=where,
            value=f"until {known.current.not_after.date()}",
            remedy=f"`federation renew {request.name}`, or `federation revoke {request.name}` and invite it anew",
        )


def require_issued_as_asked(
    certificate: x509.Certificate, line: Line, *, request: Request, root: x509.Certificate
) -> None:
    """Check that the issued certificate is for this name, organisation, role and key, and for nothing else.

    Raises:
        FederationError: it is not; it must not leave this machine.
    """
    subject = certificate.subject
    content = {
        "name": [str(entry.value) for entry in subject.get_attributes_for_oid(NameOID.COMMON_NAME)],
        "organisation": [str(entry.value) for entry in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)],
        "role": [str(entry.value) for entry in subject.get_attributes_for_oid(NameOID.UNSTRUCTURED_NAME)],
        "hosts": hosts(certificate),
    }
    expected = {
        "name": [line.name],
        "organisation": [line.organisation],
        "role": [line.certificate_role],
        "hosts": [line.name],
    }
    try:
        certificate.verify_directly_issued_by(root)
        key = issued_of(certificate).key
    except (InvalidSignature, ValueError, TypeError, EncryptionError) as error:
        raise FederationError(f"FLARE made a certificate that cannot serve, {error}", where=line.name) from None
    if content != expected or key != request.key or is_authority(certificate):
        wrong = [what for what in expected if content[what] != expected[what]] or ["key or kind"]
        raise FederationError(
            f"FLARE made a certificate with another {wrong[0]} than asked for; it was destroyed",
            where=line.name,
            remedy="ask who sent this request",
        )


def certificate_in(signed: Path, name: str) -> x509.Certificate:
    """Return the certificate in a signed zip.

    Raises:
        FederationError: there is none.
    """
    try:
        with zipfile.ZipFile(signed) as file:
            return parse_certificate(_member(file, f"{name}.crt"), encoding=Encoding.PEM)
    except (OSError, zipfile.BadZipFile, ValueError, LookupError, EncryptionError):
        raise FederationError("is not a signed zip", where=signed, remedy="ask the operator for it again") from None
