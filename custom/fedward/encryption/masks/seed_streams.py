"""Expand a seed to masks for numbers and for a tag, and add masks to them or take masks away.

Numbers are masked modulo 2^32 or 2^64 with AES-256 in counter mode (NIST SP 800-38A, section 6.5), each lane of a tag
modulo 2^64. The keys of both come from the seed with HKDF-SHA256 (RFC 5869).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from numpy.typing import NDArray

from fedward.encryption.stream import KeyStream, blocks
from fedward.encryption.tag import Tag

_LANE_BYTES, _LANES = 8, 1 << 64


@dataclass(frozen=True, slots=True)
class SeedMask:
    """Mask from one seed, to add (``sign`` 1) or to subtract (``sign`` -1)."""

    seed: bytes = field(repr=False)
    sign: int

    def _expand(self, use: bytes, length: int) -> bytes:
        return HKDFExpand(algorithm=SHA256(), length=length, info=b"fedward/mask/1 " + use).derive(self.seed)

    def stream(self) -> KeyStream:
        """Return the stream of the numbers' masks."""
        return KeyStream(self._expand(b"numbers", 32))

    def lanes(self, count: int) -> list[int]:
        """Return the masks of a tag's lanes."""
        content = self._expand(b"tag", _LANE_BYTES * count)
        return [
            int.from_bytes(content[start : start + _LANE_BYTES], "little")
            for start in range(0, len(content), _LANE_BYTES)
        ]


def masked_numbers(numbers: NDArray[Any], masks: Sequence[SeedMask]) -> NDArray[Any]:
    """Return the numbers, uint32 or uint64 of shape (n,), with every mask added or subtracted, modulo their ring."""
    streams = [(mask.stream(), mask.sign) for mask in masks]
    out = np.array(numbers)
    for block in blocks(out.size):
        room = out[block]
        for stream, sign in streams:
            if sign > 0:
                room += stream.take(room.size, room.dtype)
            else:
                room -= stream.take(room.size, room.dtype)
    return out


def masked_tag(tag: Tag, masks: Sequence[SeedMask]) -> Tag:
    """Return the tag with every mask added or subtracted, modulo 2^64."""
    lanes = list(tag)
    for mask in masks:
        lanes = [lane + mask.sign * word for lane, word in zip(lanes, mask.lanes(len(lanes)), strict=True)]
    return tuple(lane % _LANES for lane in lanes)
