r"""Hold a sum of models against the sum of their sketches: a hospital whose sketch is not its model's cannot hide.

Hospitals are chosen by what they said of their models. With its help to open the sum, a hospital gives its shares of
the chosen sketches, added, under the job's key, so that the server reads nothing of them. It gives none if one of its
shares is not on its dealer's polynomial (``checking``), so the shares of all honest hospitals are of the sketches that
were compared. A hospital that opens the sum decodes the sum of the sketches, although up to ``malicious`` hospitals
answer falsely, and compares it with the sketch of the sum. The two are equal if every chosen hospital told the truth.
If they are equal and one did not, the chosen sketches together still are those of the opened sum: it is as near to the
honest models as what they said of it, up to the error of a sketch that nobody could foresee.

The proof that travels with a sum::

    FWSKSUM1\n | seed | number of hospitals, 2 bytes, big-endian | each: length of the name, 1 byte | name | sealed sum
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedward.encryption.distances.field import NUMBER_BYTES, PRIME, pack_numbers, read_numbers
from fedward.encryption.distances.reed_solomon import decode
from fedward.encryption.distances.sketch import SEED_BYTES, SIZE, sketch
from fedward.encryption.keys.key import FederationKey
from fedward.encryption.masks.locks import IV_BYTES, TAG_BYTES, decrypt_fresh, encrypt_fresh
from fedward.encryption.message import is_site
from fedward.errors import EncryptionError

MAGIC = b"FWSKSUM1\n"
SEALED_BYTES = IV_BYTES + SIZE * NUMBER_BYTES + TAG_BYTES
_USE = b"fedward/sketched-sum/1"


@dataclass(frozen=True, slots=True, eq=False)
class SketchedSum:
    """Proof that a sum is that of the models which were chosen.

    Attributes:
        seed: of the sketch.
        sealed: hospital -> its shares of the chosen sketches, added, under the job's key.
    """

    seed: bytes
    sealed: Mapping[str, bytes]

    def pack(self) -> bytes:
        """Return the proof as bytes."""
        parts = [MAGIC, self.seed, len(self.sealed).to_bytes(2, "big")]
        for holder in sorted(self.sealed):
            name = holder.encode("ascii")
            parts += [len(name).to_bytes(1, "big"), name, self.sealed[holder]]
        return b"".join(parts)


def read_sketched_sum(content: object) -> SketchedSum:
    """Read a proof of any origin.

    Raises:
        EncryptionError: it is none.
    """
    if type(content) is not bytes or not content.startswith(MAGIC):
        raise EncryptionError(_NONE)
    at = len(MAGIC) + SEED_BYTES
    seed, count = content[len(MAGIC) : at], int.from_bytes(content[at : at + 2], "big")
    at, sealed = at + 2, dict[str, bytes]()
    for _ in range(count):
        length = int.from_bytes(content[at : at + 1], "big")
        name = content[at + 1 : at + 1 + length].decode("ascii", errors="replace")
        at += 1 + length
        sealed[name] = content[at : at + SEALED_BYTES]
        at += SEALED_BYTES
    found = SketchedSum(seed, sealed)
    whole = all(is_site(holder) and len(share) == SEALED_BYTES for holder, share in sealed.items())
    if not whole or found.pack() != content:
        raise EncryptionError(_NONE)
    return found


def seal_share(shares: Sequence[Sequence[int]], key: FederationKey, *, site: str, name: str) -> bytes:
    """Return a hospital's shares of some sketches, added and encrypted under the job's key.

    Args:
        shares: of each chosen hospital's sketch.
        key: of the job.
        site: this hospital.
        name: of the sum, ``unmask_message.name_of_sum``.
    """
    total = [sum(column) % PRIME for column in zip(*shares, strict=True)]
    return encrypt_fresh(pack_numbers(total), key.derive(_USE), _about(site, name))


def require_sketched(
    codes: NDArray[np.int64],
    proof: SketchedSum,
    key: FederationKey,
    *,
    name: str,
    points: Mapping[str, int],
    colluding: int,
    malicious: int,
) -> None:
    """Refuse a sum that is not of the models whose sketches were compared.

    Args:
        codes: sum of the models, int64 of shape (n,).
        proof: from the server.
        key: of the job.
        name: of the sum.
        points: hospital of the run -> its point.
        colluding: degree of the polynomials that share a sketch.
        malicious: largest number of hospitals that answer falsely.

    Raises:
        EncryptionError: it is so, or there are too few shares to say.
    """
    given = dict[int, list[int]]()
    for holder, sealed in proof.sealed.items():
        content = decrypt_fresh(sealed, key.derive(_USE), _about(holder, name)) if holder in points else None
        numbers = None if content is None else read_numbers(content, count=SIZE)
        if numbers is not None:
            given[points[holder]] = numbers
    due, doubted = sketch(codes, seed=proof.seed), set[int]()
    for place, number in enumerate(due):
        values = {point: numbers[place] for point, numbers in given.items()}
        found = decode(values, degree=colluding, malicious=malicious, doubted=doubted)
        if found is None:
            raise EncryptionError("sum comes with too few shares of what hospitals said of their models")
        doubted.update(found.false)
        if found.at_zero != number:
            raise EncryptionError("sum is not of the models that hospitals said they sent")


_NONE = "sum comes without proof of what hospitals said of their models"


def _about(holder: str, name: str) -> bytes:
    return f"{holder}\n{name}".encode("ascii")
