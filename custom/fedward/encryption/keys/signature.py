r"""Sign a hospital's sealed messages with the key of its certificate, and check a signature before a message is added.

::

    FWSIG1\n | site \n | SHA-256 of the message, 64 hexadecimal digits \n | SumContext, canonical

A hospital signs these bytes with RSASSA-PSS (RFC 8017, section 8.1; SHA-256, longest salt). The context binds job id,
purpose, round, and the roster with every hospital's nonce: a signature fits no other run, round, purpose or message.
The bytes begin with a magic that begins no site's name, which is what FLARE signs with the same key, and no sealed box.

Guarantee: a message that passes was sealed by a program that holds the private key of a certificate of the federation's
authority with this site's name. So a message that spoils a sum is attributed to its hospital, also towards others: the
server cannot make one, and the hospital cannot deny it. The holder of the authority's key can issue a certificate in a
hospital's name. A signature says who sent a message, not that its content is right.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from fedward.encryption.keys.site_identity import parse_certificate, public_key, read_certificate, site_name
from fedward.encryption.sum_context import SumContext
from fedward.errors import EncryptionError, KeyFileError

MAGIC = b"FWSIG1\n"
LARGEST_CERTIFICATE, LARGEST_SIGNATURE = 1 << 14, 1 << 10
"""Bytes of a certificate in DER, and of a signature: RSA of at most 8192 bits."""
PSS = padding.PSS(mgf=padding.MGF1(SHA256()), salt_length=padding.PSS.MAX_LENGTH)
"""RSASSA-PSS as every statement of a hospital is signed."""
_LARGEST_KEY = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """Signing half of a hospital's identity. Its ``repr`` shows no private key.

    Attributes:
        certificate: in DER, as it goes with each message.
        private_key: of the certificate.
    """

    certificate: bytes
    private_key: RSAPrivateKey = field(repr=False)

    def sign(self, message: bytes, topic: SumContext, *, site: str) -> bytes:
        """Sign a sealed message for one sum."""
        return self.sign_bytes(_statement(_digest(message), topic, site=site))

    def sign_bytes(self, statement: bytes) -> bytes:
        """Sign a statement; it begins with a magic of its own kind, and names all that it holds for."""
        return self.private_key.sign(statement, PSS, SHA256())


def read_signer(kit: Path) -> Signer:
    """Read ``client.crt`` and ``client.key`` of a site's kit.

    The group may read the key: Kubernetes mounts a pod's secrets so.

    Raises:
        EncryptionError: a file is absent or not usable, others may read the key, or the two do not belong together.
    """
    startup = kit / "startup"
    certificate, key = read_certificate(startup / "client.crt"), _private_key(startup / "client.key")
    if key.public_key() != public_key(certificate):
        raise EncryptionError("private key and certificate of the kit do not belong together", where=startup)
    return Signer(certificate=certificate.public_bytes(Encoding.DER), private_key=key)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """Proof of who sent a message: what anybody needs, with the authority's certificate, to check it again.

    Attributes:
        site: hospital that sent it.
        topic: context of the sum.
        sha256: of the message, 64 hexadecimal digits.
        signature: of the hospital.
        certificate: of the hospital, in DER.
    """

    site: str
    topic: SumContext
    sha256: str
    signature: bytes
    certificate: bytes


def check_certificate(
    content: object, *, site: str, root: x509.Certificate, server: str, revoked: Callable[[x509.Certificate], bool]
) -> x509.Certificate:
    """Return the certificate in ``content``, DER of any origin, which must be this site's, today, by this root.

    Raises:
        EncryptionError: it is none, is another's, has expired, was revoked, or is not a site's by this root.
    """
    if type(content) is not bytes or not 0 < len(content) <= LARGEST_CERTIFICATE:
        raise EncryptionError("answer brings no certificate of its hospital", remedy="update Fedward there")
    certificate = parse_certificate(content, encoding=Encoding.DER)
    name = site_name(certificate, root=root, server=server)
    if name != site:
        raise EncryptionError("answer brings the certificate of another hospital", value=name)
    if revoked(certificate):
        raise EncryptionError("answer brings a certificate that was revoked", remedy="renew the site's certificate")
    return certificate


def check_signature(
    message: bytes, signature: object, certificate: x509.Certificate, *, topic: SumContext, site: str
) -> Signed:
    """Return the proof that the holder of a checked certificate signed this message for this sum.

    Raises:
        EncryptionError: there is no signature, or it is of another message, sum, site or key.
    """
    if type(signature) is not bytes or not 0 < len(signature) <= LARGEST_SIGNATURE:
        raise EncryptionError("sealed message has no signature of its hospital", remedy="update Fedward there")
    digest = _digest(message)
    try:
        public_key(certificate).verify(signature, _statement(digest, topic, site=site), PSS, SHA256())
    except InvalidSignature:
        raise EncryptionError("sealed message was not signed by its hospital for this sum") from None
    der = certificate.public_bytes(Encoding.DER)
    return Signed(site=site, topic=topic, sha256=digest, signature=signature, certificate=der)


def _digest(message: bytes) -> str:
    return hashlib.sha256(message).hexdigest()


def _statement(digest: str, topic: SumContext, *, site: str) -> bytes:
    return b"\n".join((MAGIC[:-1], site.encode("ascii"), digest.encode("ascii"), topic.canonical()))


def _private_key(path: Path) -> RSAPrivateKey:
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            pem = file.read(_LARGEST_KEY)
    except OSError as error:
        raise KeyFileError("kit's private key cannot be read", where=path, value=error.strerror) from None
    if mode & 0o007:
        raise EncryptionError("others may read or change the kit's private key", where=path, remedy=f"chmod 600 {path}")
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, RSAPrivateKey):
        raise EncryptionError("is not an RSA private key without a passphrase, as FLARE makes them", where=path)
    return key
