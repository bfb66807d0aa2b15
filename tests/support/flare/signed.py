"""Sign sealed messages as a hospital's gate does, with certificates of one throw-away authority."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding

from fedward.encryption.keys.signature import Signer
from fedward.encryption.message import unpack
from fedward.errors import EncryptionError
from fedward.flare.secagg_context import CERTIFICATE, SIGNATURE
from fedward.flare.server.averaging.members import Members
from tests.support.authority import ThrowAway, authority, holder_key, pem

SERVER = "localhost"


@cache
def federation() -> ThrowAway:
    return authority()


@cache
def signer(site: str) -> Signer:
    certificate = federation().issue(site).public_bytes(Encoding.DER)
    return Signer(certificate=certificate, private_key=holder_key())


def members(*, crl: Path = Path("none.crl"), proofs: Sequence[Path] = ()) -> Members:
    return Members(federation().root, server=SERVER, crl=crl, proofs=proofs)


def server_kit(kit: Path) -> None:
    """Write the certificates of a server's kit."""
    (kit / "startup").mkdir(parents=True, exist_ok=True)
    (kit / "startup" / "rootCA.pem").write_bytes(pem(federation().root))
    (kit / "startup" / "server.crt").write_bytes(pem(federation().issue(SERVER)))


def signed(sealed: Mapping[str, Any], *, site: str) -> dict[str, Any]:
    """The entries of an answer with the site's certificate, and its signature on each message among them."""
    found = dict(sealed) | {CERTIFICATE: signer(site).certificate}
    for name, content in sealed.items():
        try:
            topic = unpack(content).topic
        except EncryptionError:
            continue
        found[SIGNATURE + name] = signer(site).sign(content, topic, site=site)
    return found
