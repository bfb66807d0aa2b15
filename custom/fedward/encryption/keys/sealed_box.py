r"""Seal the federation's key in a box for another hospital, and open it; the server's operator carries the box.

::

    FWBOX1\n | length of header, 4 bytes, big-endian | header, JSON | AES-256-GCM | signature

1. The key file's text is encrypted with AES-256-GCM (NIST SP 800-38D) under a fresh key. All bytes before it in the box
   are associated data, with the sender's certificate: no other site can sign the box as if it had sealed it.
2. The fresh key is wrapped to the recipient's certificate with RSA-OAEP (RFC 8017, section 7.1; SHA-256, and a separate
   label, so that no ciphertext that FLARE decrypts with the same RSA key is a wrapped key).
3. The sender signs all bytes before the signature with RSASSA-PSS (RFC 8017, section 8.1; SHA-256, longest salt). They
   begin with a magic that begins no site's name: FLARE signs a site's name and a number that the server chooses.

The holder of the authority's key can issue a certificate in a hospital's name and seal or open a box as that hospital.
No signature prevents that, so people compare fingerprints. ``fingerprint`` identifies one box. If two hospitals read
the same one to each other, they sealed and opened the same bytes: the same key, by that sender's certificate, to that
recipient's.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import dataclass
from typing import Any, get_args

from cryptography import x509
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from fedward.encryption.keys.key import FederationKey
from fedward.encryption.keys.key_file import LARGEST_FILE, LAST_GENERATION, decode_key, encode_key
from fedward.encryption.keys.site_identity import (
    Identity,
    certificate_fingerprint,
    parse_certificate,
    public_key,
    site_name,
)
from fedward.errors import EncryptionError
from fedward.settings import KeyScheme

BOX_MAGIC = b"FWBOX1\n"
_LABEL = b"fedward/box/1"
_LENGTH_BYTES = 4
_LARGEST_HEADER = 2**16
_NONCE_BYTES, _TAG_BYTES = 12, 16
_HEX = frozenset("0123456789abcdef")
_DAMAGED = "is not a sealed box, or is damaged"
_AGAIN = "have it sealed again"
_SIGNATURE = padding.PSS(mgf=padding.MGF1(SHA256()), salt_length=padding.PSS.MAX_LENGTH)
_WRAPPING = padding.OAEP(mgf=padding.MGF1(SHA256()), algorithm=SHA256(), label=_LABEL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """Content of a box.

    Attributes:
        key: the federation's key; its ``repr`` shows nothing secret.
        sender: the site that signed, by a certificate of this federation's authority.
        recipient: this site.
    """

    key: FederationKey
    sender: str
    recipient: str


def fingerprint(box: bytes) -> str:
    """Return 32 hexadecimal digits in groups of four that identify one box: 128 bits of its tagged SHA-256.

    To find another box with the same fingerprint takes 2^128 trials: every box contains randomness of its sender, which
    others cannot choose.
    """
    return grouped(hashlib.sha256(b"fedward/box-fingerprint/1" + box).hexdigest()[:32])


def grouped(digits: str) -> str:
    """Return the digits in groups of four, for people to read to each other."""
    return " ".join(digits[at : at + 4] for at in range(0, len(digits), 4))


def seal_key(key: FederationKey, *, to: x509.Certificate, sender: Identity) -> bytes:
    """Seal ``key`` in a box that only the hospital with ``to``'s private key can open.

    Raises:
        EncryptionError: today ``to`` or the sender's own certificate is not a site's of the sender's federation.
    """
    for certificate in (sender.certificate, to):
        site_name(certificate, root=sender.root, server=sender.server)
    fresh, nonce = AESGCM.generate_key(bit_length=256), secrets.token_bytes(_NONCE_BYTES)
    header = _canonical(
        {
            "generation": key.generation,
            "key_id": key.key_id,
            "nonce": nonce.hex(),
            "recipient": certificate_fingerprint(to),
            "scheme": key.scheme,
            "sender": sender.certificate.public_bytes(Encoding.DER).hex(),
            "wrapped": public_key(to).encrypt(fresh, _WRAPPING).hex(),
        }
    )
    opening = BOX_MAGIC + len(header).to_bytes(_LENGTH_BYTES, "big") + header
    signed = opening + AESGCM(fresh).encrypt(nonce, encode_key(key), opening)
    return signed + sender.private_key.sign(signed, _SIGNATURE, SHA256())


def open_box(box: bytes, *, owner: Identity) -> Opened:
    """Open a box and return its content, after a check that every byte is as its sender signed it.

    Raises:
        EncryptionError: it is no box; a bit of it was changed; today its sender is not a site by the owner's root; it
            is for another hospital; or its key is not the one that its header names.
    """
    header, opening, rest = _split(box)
    sender = parse_certificate(bytes.fromhex(header["sender"]), encoding=Encoding.DER)
    try:
        name = site_name(sender, root=owner.root, server=owner.server)
    except EncryptionError as error:
        what = f"box's sender cannot be a hospital of this federation: {error.what}"
        raise EncryptionError(what, value=error.value, remedy=error.remedy) from None
    ciphertext = _verified(opening, rest, sender)
    recipient = site_name(owner.certificate, root=owner.root, server=owner.server)
    if header["recipient"] != certificate_fingerprint(owner.certificate):
        raise EncryptionError(f"box from {name} is for another hospital than {recipient}", remedy=_AGAIN)
    try:
        fresh = owner.private_key.decrypt(bytes.fromhex(header["wrapped"]), _WRAPPING)
        text = AESGCM(fresh).decrypt(bytes.fromhex(header["nonce"]), ciphertext, opening)
    except (InvalidTag, ValueError):
        raise EncryptionError(f"box from {name} does not open", remedy=_AGAIN) from None
    key = decode_key(text)
    if (key.key_id, key.generation, key.scheme) != (header["key_id"], header["generation"], header["scheme"]):
        raise EncryptionError(f"box from {name} holds another key than it says", remedy=_AGAIN)
    return Opened(key=key, sender=name, recipient=recipient)


def _split(box: bytes) -> tuple[dict[str, Any], bytes, bytes]:
    """Split a box into the header, the bytes up to the header's end, and the rest.

    Raises:
        EncryptionError: the bytes do not begin like a box.
    """
    start = len(BOX_MAGIC) + _LENGTH_BYTES
    length = int.from_bytes(box[len(BOX_MAGIC) : start], "big")
    end = start + length
    if not box.startswith(BOX_MAGIC) or not 0 < length <= _LARGEST_HEADER or not end < len(box) <= 2 * LARGEST_FILE:
        raise EncryptionError(_DAMAGED, remedy=_AGAIN)
    try:
        header = json.loads(box[start:end])
        sound = _canonical(header) == box[start:end]
    except (ValueError, RecursionError):
        sound = False
    if not sound or type(header) is not dict or set(header) != set(_FIELDS):
        raise EncryptionError(_DAMAGED, remedy=_AGAIN)
    if not all(good(header[name]) for name, good in _FIELDS.items()):
        raise EncryptionError(_DAMAGED, remedy=_AGAIN)
    return header, box[:end], box[end:]


def _verified(opening: bytes, rest: bytes, sender: x509.Certificate) -> bytes:
    """Verify the sender's signature over the opening and the ciphertext, and return the ciphertext."""
    key = public_key(sender)
    at = len(rest) - (key.key_size + 7) // 8
    if at < _TAG_BYTES:
        raise EncryptionError(_DAMAGED, remedy=_AGAIN)
    try:
        key.verify(rest[at:], opening + rest[:at], _SIGNATURE, SHA256())
    except InvalidSignature:
        raise EncryptionError("box was changed after it was sealed", remedy=_AGAIN) from None
    return rest[:at]


def _canonical(header: object) -> bytes:
    return json.dumps(header, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode("ascii")


def _digits(count: int | None = None) -> Any:
    """Return a check: True if a value is lower-case hexadecimal of whole bytes, with ``count`` digits if given."""
    return lambda value: (
        type(value) is str
        and len(value) > 0
        and len(value) % 2 == 0
        and (count is None or len(value) == count)
        and set(value) <= _HEX
    )


_FIELDS = {
    "generation": lambda value: type(value) is int and 1 <= value <= LAST_GENERATION,
    "key_id": _digits(32),
    "nonce": _digits(2 * _NONCE_BYTES),
    "recipient": _digits(64),
    "scheme": lambda value: value in get_args(KeyScheme),
    "sender": _digits(),
    "wrapped": _digits(),
}
