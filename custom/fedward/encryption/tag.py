"""A tag that adds up with the numbers and proves their sum: no holder of the key, no other sum.

Linearly homomorphic authentication (Agrawal and Boneh 2009, "Homomorphic MACs", ACNS, section 3) over the integers
modulo 2^64, masked once a message as Wegman and Carter (1981) do::

    tag_j(x) = r_j·x + s_j   (mod 2^64)      for each lane j

``r_j``, uniform in [0, 2^64)^n, is AES-256 in counter mode under a key of the topic: all parts of a sum share it.
``s_j``, uniform, belongs to one message alone. The sum of the tags is then the tag of the sum under the sum of the
masks, which a hospital makes from the names and nonces of the parts.

Forgery bound. Let a server, which sees all messages and tags of a topic, present numbers ``y`` and lanes ``t`` as the
sum of the parts S. The masks are uniform and each hides one tag, so what the server has seen is independent of ``r``.

1. S names a part that no hospital sealed: its masks were never used, so each lane holds with probability 2^-64.
2. All parts are real, with sum ``x``. With ``d = y - x`` and ``e_j = t_j - sum of the parts' tags`` lane j holds when
   ``r_j·d = e_j (mod 2^64)``. If ``d = 0`` the sum is right. Else let 2^v be the largest power of two that divides
   every ``d_i``; then ``r_j·d = 2^v (r_j·(d / 2^v))`` where some ``d_i / 2^v`` is odd, so that the inner product is
   uniform and ``r_j·d`` is uniform over the 2^(64-v) multiples of 2^v: lane j holds with probability at most 2^-(64-v).

``open`` refuses a number outside ``±(2^(bits-1) - 1)``, and hospitals seal what adds up to within the same range, so
``0 < |d_i| < 2^bits`` for some i and ``v <= bits - 1``. Lanes are independent, hence a forgery passes with probability
at most ``2^-(lanes · (65 - bits))``, and ``lanes(bits) = ceil(64 / (65 - bits))`` makes that 2^-64 or less for each
attempt (24 bits: 2 lanes, 2^-82; 32 bits: 2 lanes, 2^-66; 48 bits: 4 lanes, 2^-68), besides what AES gives away.
A sum that has outgrown its ring differs from the true one too, and is refused in the same way.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fedward.encryption.keys.key import FederationKey
from fedward.encryption.stream import KeyStream, blocks
from fedward.encryption.sum_context import SumContext

Tag = tuple[int, ...]
"""One number in [0, 2^64) a lane."""
_SECURITY_BITS = 64
_WORD = np.dtype("<u8")
_MODULUS = 1 << 64


def lanes(bits: int) -> int:
    """How many lanes keep a forgery's probability at or below 2^-64 for numbers of ``bits`` bits, at most 64."""
    return -(-_SECURITY_BITS // (65 - bits))


def tag_of(codes: NDArray[np.int64], *, key: FederationKey, topic: SumContext, parts: Sequence[bytes]) -> Tag:
    """The tag of ``codes``, int64 of shape (n,), under the masks of ``parts``: one for a message, all for a sum."""
    count = lanes(topic.bits)
    material = key.derive(b"fedward/tag/1" + topic.canonical(), length=32 * count)
    streams = [KeyStream(material[32 * lane : 32 * lane + 32]) for lane in range(count)]
    words = codes.view(np.uint64)
    totals = [0] * count
    for block in blocks(words.size):
        numbers = words[block]
        for lane, stream in enumerate(streams):
            totals[lane] += int(np.dot(stream.take(numbers.size, _WORD), numbers))
    for part in parts:
        mask = key.derive(b"fedward/tag-mask/1" + part, length=8 * count)
        for lane in range(count):
            totals[lane] += int.from_bytes(mask[8 * lane : 8 * lane + 8], "little")
    return tuple(total % _MODULUS for total in totals)


def add_tags(one: Tag, other: Tag) -> Tag:
    """The tag of the sum of two messages of one topic; it takes no key."""
    return tuple((first + second) % _MODULUS for first, second in zip(one, other, strict=True))


def same_tag(one: Tag, other: Tag) -> bool:
    """Whether two tags are equal, in a time that does not tell where they differ."""
    return hmac.compare_digest(*(b"".join(lane.to_bytes(8, "little") for lane in each) for each in (one, other)))
