"""Read a hospital's certificate and private key from its FLARE kit, and check that a certificate is a site's.

FLARE 2.9 makes RSA keys of 2048 bits, both when the operator provisions all participants and when a site makes its key.
A certificate has the participant's name as its common name and a role as its unstructured name. If it was provisioned
centrally, an admin's has a role, a site's and the server's have none: the server's is recognised by its name, which
every kit contains. If it was approved from a request (``nvflare cert approve``), a site's has the role "client" and the
server's has "server".
"""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import NameOID
from pydantic import TypeAdapter, ValidationError

from fedward.encryption.keys.key_file import read_private
from fedward.errors import EncryptionError, KeyFileError
from fedward.settings import SiteId

SMALLEST_MODULUS, LARGEST_MODULUS = 2048, 8192
_SITE_ROLE = "client"
_SITE = TypeAdapter(SiteId)
_LARGEST_CERTIFICATE = 2**16
_KIT = "give the folder of a hospital's FLARE kit"
_UNREADABLE = (
    ValueError,
    TypeError,
    LookupError,
    Warning,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Identity of a hospital, from its own kit. Its ``repr`` shows no private key.

    Attributes:
        name: the site's id.
        certificate: of the site, issued by ``root``.
        private_key: of ``certificate``.
        root: certificate of the federation's authority.
        server: the name in the server's certificate.
    """

    name: str
    certificate: x509.Certificate
    private_key: RSAPrivateKey = field(repr=False)
    root: x509.Certificate
    server: str


def read_identity(kit: Path) -> Identity:
    """Read a hospital's kit: ``client.crt``, ``client.key``, ``rootCA.pem`` and ``fed_client.json`` in its ``startup``.

    Raises:
        EncryptionError: a file is absent or not valid, others may read the private key, it does not match the
            certificate, or the certificate is not a site's by the kit's own root.
    """
    startup = kit / "startup"
    certificate, root = read_certificate(startup / "client.crt"), read_certificate(startup / "rootCA.pem")
    server = read_server(startup / "fed_client.json")
    name = site_name(certificate, root=root, server=server)
    where = startup / "client.key"
    try:
        pem = read_private(where, "kit's private key")
    except FileNotFoundError:
        raise KeyFileError("no private key here", where=where, remedy=_KIT) from None
    try:
        private_key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        private_key = None
    if not isinstance(private_key, RSAPrivateKey):
        raise EncryptionError("is not an RSA private key without a passphrase, as FLARE makes them", where=where)
    if private_key.public_key() != certificate.public_key():
        raise EncryptionError("private key and certificate of the kit do not belong together", where=where)
    return Identity(name=name, certificate=certificate, private_key=private_key, root=root, server=server)


def read_server(path: Path) -> str:
    """Return the name of the federation's server, from ``fed_client.json`` of a kit.

    Raises:
        EncryptionError: the file cannot be read, or names none.
    """
    try:
        name = json.loads(path.read_bytes())["servers"][0]["identity"]
    except OSError as error:
        raise EncryptionError("cannot be read", where=path, value=error.strerror, remedy=_KIT) from None
    except (ValueError, LookupError, TypeError):
        name = None
    if type(name) is not str or not name:
        raise EncryptionError("does not name the federation's server", where=path, remedy=_KIT)
    return name


def read_certificate(path: Path) -> x509.Certificate:
    """Read one certificate in PEM.

    Raises:
        EncryptionError: the file cannot be read or holds no certificate.
    """
    try:
        with path.open("rb") as file:
            pem = file.read(_LARGEST_CERTIFICATE)
    except OSError as error:
        raise KeyFileError("certificate cannot be read", where=path, value=error.strerror) from None
    try:
        certificate = parse_certificate(pem, encoding=Encoding.PEM)
    except EncryptionError as error:
        raise EncryptionError(error.what, where=path, remedy="give startup/client.crt of a hospital's kit") from None
    return certificate


def parse_certificate(content: bytes, *, encoding: Encoding) -> x509.Certificate:
    """Parse a certificate from untrusted DER or PEM.

    Raises:
        EncryptionError: it is no certificate, or ``cryptography`` warns about its form.
    """
    load = x509.load_pem_x509_certificate if encoding is Encoding.PEM else x509.load_der_x509_certificate
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return load(content)
    except _UNREADABLE:
        raise EncryptionError("is not a certificate") from None


def certificate_fingerprint(certificate: x509.Certificate) -> str:
    """Return the SHA-256 of the certificate's DER, as 64 hexadecimal digits."""
    return certificate.fingerprint(SHA256()).hex()


def site_name(certificate: x509.Certificate, *, root: x509.Certificate, server: str) -> str:
    """Check that a certificate is, today, a site's by this root, and return the site's id.

    Args:
        certificate: the certificate to check.
        root: the federation's authority.
        server: the name in the server's certificate; no site has it.

    Raises:
        EncryptionError: the certificate is another authority's, changed, expired, not valid yet, or the server's, an
            admin's or the authority's own; or it has a name that no site can have, or a key that FLARE does not make.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return _site_name(certificate, root, server)
    except _UNREADABLE:
        raise EncryptionError("certificate has a form that FLARE does not make") from None


def _site_name(certificate: x509.Certificate, root: x509.Certificate, server: str) -> str:
    if not is_authority(root):
        raise EncryptionError("the kit's rootCA.pem is not the certificate of an authority")
    try:
        certificate.verify_directly_issued_by(root)
    except (InvalidSignature, ValueError, TypeError):
        raise EncryptionError("certificate was not issued by this federation's authority") from None
    _require_valid_today(root, "authority's certificate")
    _require_valid_today(certificate, "certificate")
    names = [str(entry.value) for entry in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    roles = [entry.value for entry in certificate.subject.get_attributes_for_oid(NameOID.UNSTRUCTURED_NAME)]
    if roles not in ([], [_SITE_ROLE]):
        raise EncryptionError("certificate is not a hospital's but has another role", value=roles[0])
    if is_authority(certificate):
        raise EncryptionError("certificate is not a hospital's but an authority's")
    if names == [server] or certificate.public_key() == root.public_key():
        raise EncryptionError("certificate is not a hospital's but the server's or the authority's")
    if len(names) != 1 or not _may_be_a_site(names[0]) or hosts(certificate) != names:
        raise EncryptionError("certificate does not carry the name of one site")
    public_key(certificate)
    return names[0]


def made_at_the_site(certificate: x509.Certificate) -> bool:
    """True if a site's certificate was approved from a request, so that the approver never held its private key."""
    return bool(certificate.subject.get_attributes_for_oid(NameOID.UNSTRUCTURED_NAME))


def public_key(certificate: x509.Certificate) -> RSAPublicKey:
    """Return the certificate's key: RSA, as FLARE makes it, of ``SMALLEST_MODULUS`` to ``LARGEST_MODULUS`` bits.

    Raises:
        EncryptionError: the key is of another kind or size.
    """
    key = certificate.public_key()
    if not isinstance(key, RSAPublicKey) or not SMALLEST_MODULUS <= key.key_size <= LARGEST_MODULUS:
        remedy = "use an RSA key of 2048 bits or more, as FLARE 2.9 makes them"
        raise EncryptionError("certificate's key cannot serve", remedy=remedy)
    return key


def _require_valid_today(certificate: x509.Certificate, what: str) -> None:
    now = datetime.now(UTC)
    if now < certificate.not_valid_before_utc:
        raise EncryptionError(f"{what} is not valid yet", value=str(certificate.not_valid_before_utc.date()))
    if now > certificate.not_valid_after_utc:
        raise EncryptionError(f"{what} has expired", value=str(certificate.not_valid_after_utc.date()))


def is_authority(certificate: x509.Certificate) -> bool:
    """True if a certificate may issue others (RFC 5280, 4.2.1.9)."""
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def hosts(certificate: x509.Certificate) -> list[str]:
    """Return the certificate's alternative names: FLARE gives a site its own name alone, and a server its hosts."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [str(name.value) for name in names]


def _may_be_a_site(name: str) -> bool:
    try:
        _SITE.validate_python(name)
    except ValidationError:
        return False
    return True
