"""Sketch a vector: some linear functions of it, drawn at random, that keep its length and cannot be foreseen.

Kane and Nelson (2014), "Sparser Johnson-Lindenstrauss transforms", Journal of the ACM 61(1), the block construction:
in each of ``BLOCKS`` blocks of ``BUCKETS`` buckets, every number is added to one bucket with a random sign. The squared
length of the sketch, over ``BLOCKS``, is the vector's squared length on average, with a relative standard deviation of
at most sqrt(2 / SIZE) = 4.4 %. A vector that is fixed before the seed is drawn and is not 0 has the sketch 0 with a
probability of at most 2^-64: its sketch is 0 only if in each block its numbers cancel.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedward.encryption.distances.field import PRIME
from fedward.encryption.stream import KeyStream, blocks

BLOCKS, BUCKETS = 8, 128
SIZE = BLOCKS * BUCKETS
SEED_BYTES = 32
_HALF = 24
"""Bits of a number's lower half: sums of halves fit into int64 for 2^31 numbers of 48 bits."""


def sketch(codes: NDArray[np.int64], *, seed: bytes) -> list[int]:
    """Return the exact sketch of a vector.

    Args:
        codes: int64 of shape (n,), each of at most 48 bits, n below 2^31.
        seed: ``SEED_BYTES`` bytes.

    Returns:
        ``SIZE`` numbers modulo ``field.PRIME``.
    """
    stream, total = KeyStream(seed), np.zeros((2, BLOCKS, 2 * BUCKETS), np.int64)
    for block in blocks(codes.size):
        part = codes[block]
        places = stream.take(part.size, np.dtype("<u8")).view(np.uint8).reshape(part.size, BLOCKS)
        halves = (part & ((1 << _HALF) - 1), part >> _HALF)
        for half, numbers in enumerate(halves):
            for row in range(BLOCKS):
                np.add.at(total[half, row], places[:, row], numbers)
    signed = total[:, :, :BUCKETS] - total[:, :, BUCKETS:]
    low, high = (half.reshape(SIZE).tolist() for half in signed)
    return [(lower + (upper << _HALF)) % PRIME for lower, upper in zip(low, high, strict=True)]
