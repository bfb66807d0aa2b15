"""A throw-away authority, and certificates and kits of it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = timedelta(days=1)


@dataclass(frozen=True)
class ThrowAway:
    """An authority that a test made."""

    key: RSAPrivateKey = field(repr=False)
    root: x509.Certificate

    def issue(
        self, name: str, *, serial: int = 0, days: int = 30, server_only: bool = False, roles: tuple[str, ...] = ()
    ) -> x509.Certificate:
        subject = self.root.subject
        return signed(name, subject, self.key, serial=serial, days=days, server_only=server_only, roles=roles)


def signed(
    name: str,
    issuer: x509.Name | None,
    signer: RSAPrivateKey,
    *,
    serial: int = 0,
    days: int = 30,
    ca: bool = False,
    server_only: bool = False,
    roles: tuple[str, ...] = (),
) -> x509.Certificate:
    """A certificate on ``holder_key``, or of an authority on its own."""
    now = datetime.now(UTC)
    named = [x509.NameAttribute(NameOID.UNSTRUCTURED_NAME, role) for role in roles]
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name), *named])
    key = signer if ca else holder_key()
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer or subject)
    builder = builder.public_key(key.public_key()).serial_number(serial or x509.random_serial_number())
    builder = builder.not_valid_before(now - 40 * DAY).not_valid_after(now + days * DAY)
    builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    if not ca:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    if server_only:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    return builder.sign(signer, SHA256())


@cache
def holder_key() -> RSAPrivateKey:
    """One key for everybody: making them is what takes time."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def authority(name: str = "demo", *, days: int = 365) -> ThrowAway:
    """A new one."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return ThrowAway(key=key, root=signed(name, None, key, ca=True, days=days))


def pem(one: x509.Certificate) -> bytes:
    return one.public_bytes(Encoding.PEM)


def key_pem() -> bytes:
    return holder_key().private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())


def site_kit(out: Path, of: ThrowAway, *, target: str, certificate: x509.Certificate | None = None) -> Path:
    """The files of a site's kit that a connection needs."""
    startup = out / "startup"
    startup.mkdir(parents=True)
    (startup / "rootCA.pem").write_bytes(pem(of.root))
    (startup / "client.crt").write_bytes(pem(certificate or of.issue("north")))
    (startup / "client.key").write_bytes(key_pem())
    (startup / "client.key").chmod(0o600)
    content = {
        "servers": [{"name": "demo", "service": {"target": target, "scheme": "grpc"}, "identity": "localhost"}],
        "client": {"ssl_private_key": "client.key", "ssl_cert": "client.crt", "ssl_root_cert": "rootCA.pem"},
    }
    (startup / "fed_client.json").write_text(json.dumps(content))
    return out
