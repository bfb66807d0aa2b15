r"""Sign what a hospital draws for a sparse mask graph, and check what the others have drawn.

A hospital draws a seed once it knows all hospitals of the run, each with its key, so that neither the server nor
another hospital can choose its neighbours. It signs, with the private key of its certificate (RSASSA-PSS, RFC 8017,
section 8.1; SHA-256, longest salt)::

    FWGRAPH1\n | site \n | context of the run \n | seed, 64 hexadecimal digits

All sums of the run are bound to all seeds, so hospitals that were shown other seeds have no sum in common. A server
that withholds a seed only leaves this hospital out of the sums.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.hashes import SHA256

from fedward.encryption.keys.signature import PSS, Signer
from fedward.encryption.keys.site_identity import public_key
from fedward.encryption.masks.graphs.graph import SEED_BYTES
from fedward.errors import EncryptionError

MAGIC = b"FWGRAPH1\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """Seed from which a hospital's neighbours follow.

    Attributes:
        site: the hospital.
        context: ``roster.context_of`` the run, without seeds.
        seed: ``SEED_BYTES`` bytes.
    """

    site: str
    context: str
    seed: bytes

    def sign(self, signer: Signer) -> bytes:
        """Return the hospital's signature."""
        return signer.sign_bytes(self._canonical())

    def check(self, signature: object, certificate: x509.Certificate) -> None:
        """Check a signature of any origin.

        Raises:
            EncryptionError: it is not by the key of ``certificate`` over this seed for this run.
        """
        try:
            if type(signature) is not bytes:
                raise InvalidSignature
            public_key(certificate).verify(signature, self._canonical(), PSS, SHA256())
        except InvalidSignature:
            what = "hospital did not sign its part of the mask graph of this run"
            raise EncryptionError(what, value=self.site) from None

    def _canonical(self) -> bytes:
        return MAGIC + "\n".join((self.site, self.context, self.seed.hex())).encode("ascii")


def check_drawing(content: object, *, site: str, context: str, certificate: x509.Certificate) -> bytes:
    """Return a hospital's seed, from a table of any origin with its ``seed`` and ``signature``.

    Raises:
        EncryptionError: it is no such table, or the hospital did not sign this seed for this run.
    """
    seed = content.get("seed") if type(content) is dict and set(content) == {"seed", "signature"} else None
    if type(content) is not dict or type(seed) is not bytes or len(seed) != SEED_BYTES:
        raise EncryptionError("hospital sent no part of the mask graph", value=site)
    Drawing(site=site, context=context, seed=seed).check(content["signature"], certificate)
    return seed


def check_drawings(content: object, *, context: str, certificates: Mapping[str, x509.Certificate]) -> dict[str, bytes]:
    """Return the seed of each hospital that has drawn, names sorted, from a table of any origin.

    Args:
        content: hospital -> table, as for ``check_drawing``.
        context: of the run.
        certificates: of each hospital of the run, checked.

    Raises:
        EncryptionError: a hospital takes no part in the run, or did not sign its seed.
    """
    if type(content) is not dict or not set(content) <= set(certificates):
        raise EncryptionError("task brings no mask graph of the hospitals that take part")
    return {
        site: check_drawing(content[site], site=site, context=context, certificate=certificates[site])
        for site in sorted(content)
    }
