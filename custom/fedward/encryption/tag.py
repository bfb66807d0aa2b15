"""Compute tags that add up like the numbers and prove their sum: without the key no other sum gets a valid tag.

Linearly homomorphic authentication (Agrawal and Boneh 2009, "Homomorphic MACs", ACNS, section 3) over the integers
modulo 2^64, with one mask for each message, as in Wegman and Carter (1981)::

    tag_j(x) = r_j·x + s_j   (mod 2^64)      for each lane j

``r_j``, uniform in [0, 2^64)^n, is AES-256 in counter mode under a key of the topic: all parts of a sum share it.
``s_j``, uniform, belongs to one message alone. The sum of the tags is then the tag of the sum under the sum of the
masks. A hospital computes the masks from the names and nonces of the parts.

Forgery bound. Let a server, which sees all messages and tags of a topic, present numbers ``y`` and lanes ``t`` as the
sum of the parts S. The masks are uniform and each hides one tag, so all that the server sees is independent of ``r``.

1. S names a part that no hospital sealed: its masks were never used, so each lane holds with probability 2^-64.
2. All parts are real, with sum ``x``. With ``d = y - x`` and ``e_j = t_j - sum of the parts' tags``, lane j holds when
   ``r_j·d = e_j (mod 2^64)``. If ``d = 0`` the sum is right. Else let 2^v be the largest power of two that divides
   every ``d_i``; then ``r_j·d = 2^v (r_j·(d / 2^v))`` where some ``d_i / 2^v`` is odd, so that the inner product is
   uniform and ``r_j·d`` is uniform over the 2^(64-v) multiples of 2^v: lane j holds with probability at most 2^-(64-v).

``open`` refuses a number outside ``±(2^(bits-1) - 1)``, and the true sum of the hospitals is within the same range, so
``0 < |d_i| < 2^bits`` for some i and ``v <= bits - 1``. Lanes are independent, hence a forgery passes with probability
at most ``2^-(lanes · (65 - bits))``, and ``lanes(bits) = ceil(64 / (65 - bits))`` makes that 2^-64 or less for each
attempt (24 bits: 2 lanes, 2^-82; 32 bits: 2 lanes, 2^-66; 48 bits: 4 lanes, 2^-68), if AES is ideal.
A sum that overflows its ring differs from the true sum too, and is refused in the same manner.
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
"""Tag: one number in [0, 2^64) for each lane."""
_SECURITY_BITS = 64
_WORD = np.dtype("<u8")
_MODULUS = 1 << 64


def lanes(bits: int) -> int:
    """Return the number of lanes that keep a forgery's probability at or below 2^-64 for ``bits`` bits, at most 64."""
    return -(-_SECURITY_BITS // (65 - bits))


def tag_of(codes: NDArray[np.int64], *, key: FederationKey, topic: SumContext, parts: Sequence[bytes]) -> Tag:
    """Compute the tag of ``codes``, int64 (n,), under the masks of ``parts``: one for a message, all for a sum."""
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
    """Return the tag of the sum of two messages of one topic; this needs no key."""
    return tuple((first + second) % _MODULUS for first, second in zip(one, other, strict=True))


def same_tag(one: Tag, other: Tag) -> bool:
    """True if two tags are equal; the time taken does not disclose where they differ."""
    return hmac.compare_digest(*(b"".join(lane.to_bytes(8, "little") for lane in each) for each in (one, other)))
