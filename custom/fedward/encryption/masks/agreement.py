r"""Make a hospital's key pair for one run, sign its public half, and derive the secrets that two hospitals share.

Keys are X25519 (RFC 7748). The public half goes to all hospitals of the run with a statement, which the private key of
the hospital's certificate signs (RSASSA-PSS, RFC 8017, section 8.1; SHA-256, longest salt)::

    FWMASK1\n | site \n | nonce \n | public half, 64 hexadecimal digits \n | job's hash \n | job id \n | introductions

The introductions are canonical JSON: whom the hospital has on its roster (``known_sites``). The statement begins with
a magic that begins no site's name, which is what FLARE signs with the same key, and no other statement of Fedward. Two
hospitals derive each secret from their shared X25519 secret with HKDF-SHA256 (RFC 5869); its ``info`` names the use,
the sum's whole context (job, round, purpose, roster, layout), the two hospitals with both public halves and, where it
has one, the direction. So no secret serves twice, and a secret of one round tells nothing of another round's or of the
keys. The names are needed: of a public half others can be made with which every hospital shares the same secret (RFC
7748, section 7), so one that colludes could announce another hospital's key as its own, and have "its" masks revealed.

Guarantee: the server, which forwards public halves, can replace none of them. The holder of the authority's key can
issue a certificate in a hospital's name; ``fedward.encryption.masks.known_sites`` is for that.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from fedward.encryption.keys.signature import PSS, Signer
from fedward.encryption.keys.site_identity import public_key
from fedward.encryption.masks.shamir import PRIME, SECRET_BYTES
from fedward.errors import EncryptionError

MAGIC = b"FWMASK1\n"
PUBLIC_BYTES = 32
_FIELD = (1 << 255) - 19
_SALT = b"fedward/masks/2"


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """Public half of a hospital's key for one run, as its certificate's key signs it.

    Attributes:
        site: the hospital.
        nonce: that it drew for the run, 32 hexadecimal digits.
        public: ``PUBLIC_BYTES`` bytes.
        job: ``job_hash`` of the job.
        job_id: FLARE's id of the run.
        introduces: hospitals on this hospital's roster, each with the fingerprint of its key.
    """

    site: str
    nonce: str
    public: bytes
    job: str
    job_id: str
    introduces: Mapping[str, str] = field(default_factory=dict)

    def sign(self, signer: Signer) -> bytes:
        """Return the hospital's signature."""
        return signer.sign_bytes(self._canonical())

    def check(self, signature: object, certificate: x509.Certificate) -> None:
        """Check a signature of any origin.

        Raises:
            EncryptionError: it is none, or is not by the key of ``certificate`` over this statement; or the public half
                is no point of X25519.
        """
        if type(signature) is not bytes or type(self.public) is not bytes or len(self.public) != PUBLIC_BYTES:
            raise EncryptionError("hospital sent no signed key for the masks", value=self.site)
        try:
            public_key(certificate).verify(signature, self._canonical(), PSS, SHA256())
        except InvalidSignature:
            raise EncryptionError("key for the masks was not signed by its hospital", value=self.site) from None

    def _canonical(self) -> bytes:
        introduces = json.dumps(dict(self.introduces), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        words = (self.site, self.nonce, self.public.hex(), self.job, self.job_id, introduces)
        return MAGIC + "\n".join(words).encode("ascii")


@dataclass(frozen=True, slots=True, eq=False)
class KeyPair:
    """A hospital's key pair for one run. Its ``repr`` shows nothing secret."""

    _private: X25519PrivateKey = field(repr=False)

    @classmethod
    def new(cls) -> KeyPair:
        """Make a key pair from the system's entropy."""
        return cls(X25519PrivateKey.generate())

    @classmethod
    def of(cls, private: bytes) -> KeyPair:
        """Return the key pair with these private bytes, from ``private``."""
        return cls(X25519PrivateKey.from_private_bytes(private))

    @property
    def private(self) -> bytes:
        """Private half, 32 bytes: secret."""
        return self._private.private_bytes_raw()

    @property
    def public(self) -> bytes:
        """Public half, ``PUBLIC_BYTES`` bytes."""
        return self._private.public_key().public_bytes_raw()

    def shared(self, public: bytes) -> bytes:
        """Return the X25519 secret with another hospital, 32 bytes.

        Raises:
            EncryptionError: the public half is of a small order, with which the secret would be known to everybody.
        """
        try:
            return self._private.exchange(X25519PublicKey.from_public_bytes(public))
        except ValueError:
            raise EncryptionError("public key of another hospital cannot serve") from None


def serves(public: bytes) -> bool:
    """True if a public half can serve: in the one form of its number, and of no small order."""
    if int.from_bytes(public, "little") >= _FIELD:
        return False
    try:
        X25519PrivateKey.generate().exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError:
        return False
    return True


class SharedSecrets:
    """Secrets of one hospital with each other hospital of a run.

    Args:
        pair: of this hospital.
        site: this hospital.
        publics: hospital -> public half, with this hospital's own.

    Raises:
        EncryptionError: a public half cannot serve, two are the same, or this hospital's own is another.
    """

    def __init__(self, pair: KeyPair, *, site: str, publics: Mapping[str, bytes]) -> None:
        if publics.get(site) != pair.public:
            raise EncryptionError("task has another key of this hospital than the one that it made")
        if len(set(publics.values())) != len(publics):
            raise EncryptionError("two hospitals have one key for the masks")
        self._site, self._publics = site, dict(publics)
        self._shared = {other: pair.shared(public) for other, public in publics.items() if other != site}
        self._shared[site] = pair.private  # for shares that the hospital gives to itself

    def derive(self, other: str, use: bytes) -> bytes:
        """Derive 32 bytes for one use, the same at both hospitals.

        Args:
            other: the other hospital.
            use: names the use, and no other use with these two hospitals.
        """
        both = [site.encode("ascii") + b" " + self._publics[site] for site in sorted((self._site, other))]
        info = b"".join(len(part).to_bytes(4, "big") + part for part in (*both, use))
        return HKDF(algorithm=SHA256(), length=SECRET_BYTES, salt=_SALT, info=info).derive(self._shared[other])

    def seed(self, other: str, use: bytes) -> bytes:
        """Derive a seed as ``derive`` does, as a number below Shamir's prime: 254 bits are uniform."""
        content = bytearray(self.derive(other, use))
        content[-1] &= 0x3F
        seed = bytes(content)
        if int.from_bytes(seed, "little") >= PRIME:
            raise EncryptionError("seed is outside the field")
        return seed
