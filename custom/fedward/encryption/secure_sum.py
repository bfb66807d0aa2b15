"""Seal and open sums in the hospital (SecureSum); add sealed numbers on the server without a key (Aggregator).

Guarantees, against a server that reads and alters all messages and holds no key:

* the server learns no number, only lengths, names and the fields of the ``SumContext``;
* a hospital opens only the exact sum of the numbers that the named sites sealed for this job, round and purpose, at
  least three distinct sites; a false sum passes with probability at most 2^-64 an attempt
  (``fedward.encryption.tag``). The server can still leave a site out; the list of names then shows it.

There is no guarantee against a hospital that gives its key, or a message that it can open, to the server. Masks give
one (``fedward.encryption.masks.site_masks``): in a masked job numbers and tag are masked once more.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedward.encryption.keys.key import FederationKey
from fedward.encryption.masks.graphs.graph import Graph
from fedward.encryption.masks.site_masks import SiteMasks
from fedward.encryption.masks.unmasking import Unmasking
from fedward.encryption.message import NONCE_BYTES, Message, MessagePart, pack, unpack
from fedward.encryption.schemes import accumulator, check_bits, cipher
from fedward.encryption.sum_context import SumContext, is_masked
from fedward.encryption.tag import Tag, add_tags, same_tag, tag_of
from fedward.errors import EncryptionError
from fedward.settings import MIN_CONTRIBUTORS


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Opened:
    """Sum that has been verified.

    Attributes:
        codes: the sum, int64 of shape (n,).
        sites: sites whose numbers are in it, sorted by name.
        nonces: site -> nonce of its message, 32 hexadecimal digits.
    """

    codes: NDArray[np.int64]
    sites: tuple[str, ...]
    nonces: Mapping[str, str]


class SecureSum:
    """Hospital's side of the secure sum: seals numbers and opens sums.

    Args:
        key: the federation's; of a masked job, the job's own.
        site: this hospital's id.
        masks: of a masked job: they hide the numbers from the other hospitals too.

    Raises:
        EncryptionError: the key's scheme is unknown.
    """

    def __init__(self, key: FederationKey, *, site: str, masks: SiteMasks | None = None) -> None:
        if (key.scheme == "masked") is (masks is None):
            raise EncryptionError("masks are for the key of a masked job, and for no other", value=key.scheme)
        self._key, self._site, self._masks = key, site, masks
        self._cipher = cipher(key)

    def seal(self, codes: NDArray[np.int64], topic: SumContext) -> bytes:
        """Seal this hospital's numbers, so that only a sum of them can be opened; two calls never give the same bytes.

        Args:
            codes: int64 of shape (topic.length,), each within ``±(2^(bits-1) - 1)``; their sum must be so too.
            topic: the context of the sum.

        Raises:
            EncryptionError: the numbers have another dtype, length or range, or the scheme has no such bits.
        """
        check_bits(self._key.scheme, topic.bits)
        if codes.dtype != np.int64 or codes.shape != (topic.length,):
            raise EncryptionError(f"numbers to seal are not {topic.length} of int64", value=str(codes.shape))
        if not _within(codes, topic.bits):
            raise EncryptionError(f"a number to seal has more than {topic.bits} bits")
        codes = np.ascontiguousarray(codes)
        part = MessagePart(site=self._site, nonce=secrets.token_bytes(NONCE_BYTES))
        name = part.canonical(topic)
        tag = tag_of(codes, key=self._key, topic=topic, parts=[name])
        payload = self._cipher.encrypt(codes, bits=topic.bits, part=name)
        if self._masks is not None and is_masked(topic.purpose):
            payload, tag = self._masks.cover(payload, tag, topic=topic, part=part)
        return pack(
            Message(
                key_id=self._key.key_id,
                scheme=self._key.scheme,
                topic=topic,
                parts=(part,),
                tag=tag,
                payload=payload,
            )
        )

    def open(self, sealed: bytes, topic: SumContext, *, fewest: int = MIN_CONTRIBUTORS) -> Opened:
        """Open and verify the sum in ``sealed``; it is exact.

        Args:
            sealed: result of ``Aggregator.sum``.
            topic: the sum's context, as this hospital expects it.
            fewest: smallest number of sites in it, three or more.

        Raises:
            EncryptionError: the form, key or topic differs, there are too few sites, or it is not the sum of the sites
                that it names.
        """
        check_bits(self._key.scheme, topic.bits)
        _check_fewest(fewest)
        message = unpack(sealed)
        _check_same(message, topic, key_id=self._key.key_id, scheme=self._key.scheme, whose="this hospital's")
        if len(message.parts) < fewest:
            raise EncryptionError(f"sum is of fewer than {fewest} sites", value=len(message.parts))
        names = [part.canonical(topic) for part in message.parts]
        codes = self._cipher.decrypt(message.payload, length=topic.length, bits=topic.bits, parts=names)
        genuine = _within(codes, topic.bits) and same_tag(
            tag_of(codes, key=self._key, topic=topic, parts=names), message.tag
        )
        if not genuine:
            raise EncryptionError("sum does not verify: it is not the sum of the sites it names")
        nonces = {part.site: part.nonce.hex() for part in message.parts}
        return Opened(codes=codes, sites=message.sites, nonces=nonces)


class Aggregator:
    """Server's side of one sum; it holds no key and is not thread-safe: the caller makes one call at a time.

    Args:
        topic: the context of the sum.
        scheme: of the federation's key.
        key_id: of the federation's key.
        graph: mask graph, of a masked job; its sums of all but confirmations have masks to take off.

    Raises:
        EncryptionError: the scheme is unknown or has no such bits.
    """

    def __init__(self, topic: SumContext, *, scheme: str, key_id: str, graph: Graph | None = None) -> None:
        if (scheme == "masked") is (graph is None):
            raise EncryptionError("a mask graph is for a masked job, and for no other", value=scheme)
        self._topic, self._scheme, self._key_id = topic, scheme, key_id
        self.unmasking = Unmasking(topic, graph) if graph is not None and is_masked(topic.purpose) else None
        self._accumulator = accumulator(scheme, length=topic.length, bits=topic.bits)
        self._parts: dict[str, MessagePart] = {}
        self._tag: Tag | None = None

    @property
    def sites(self) -> tuple[str, ...]:
        """Sites whose numbers have been added, sorted by name."""
        return tuple(sorted(self._parts))

    def add(self, sealed: bytes, *, site: str) -> None:
        """Add one hospital's sealed numbers to the sum.

        Args:
            sealed: result of ``SecureSum.seal``.
            site: sender, by the certificate of the connection.

        Raises:
            EncryptionError: the form, key, scheme or topic differs; the message is already a sum; it names another site
                than ``site``; the site or the nonce is in the sum already; or the payload is not valid. The sum is then
                unchanged.
        """
        message = self.check(sealed, site=site)
        if self.unmasking is None:
            self._accumulator.add(message.payload)
        else:
            upload = self.unmasking.read(message)
            self._accumulator.add(upload.numbers)
            self.unmasking.keep(message.parts[0], upload)
        self._parts[site] = message.parts[0]
        self._tag = message.tag if self._tag is None else add_tags(self._tag, message.tag)

    def check(self, sealed: bytes, *, site: str) -> Message:
        """Return a hospital's message if it may be added, by its header alone; errors as ``add``."""
        message = unpack(sealed)
        _check_same(message, self._topic, key_id=self._key_id, scheme=self._scheme, whose="the others'")
        if len(message.parts) != 1:
            raise EncryptionError("sealed message is a sum already", value=len(message.parts))
        part = message.parts[0]
        if part.site != site:
            raise EncryptionError("sealed message names another site than the one that sent it", value=part.site)
        if site in self._parts:
            raise EncryptionError("site has already given its numbers to this sum", value=site)
        if any(part.nonce == other.nonce for other in self._parts.values()):
            raise EncryptionError("sealed message has the nonce of another in this sum", value=site)
        return message

    def sum(self, *, fewest: int = MIN_CONTRIBUTORS) -> bytes:
        """Return the sum so far, for hospitals to open; more may be added afterwards, where there are no masks.

        Args:
            fewest: smallest number of sites in it, three or more.

        Raises:
            EncryptionError: fewer sites have given their numbers, or their masks cannot be taken off.
        """
        _check_fewest(fewest)
        if self._tag is None or len(self._parts) < fewest:
            raise EncryptionError(f"fewer than {fewest} sites have given their numbers", value=len(self._parts))
        payload, tag = self._accumulator.payload(), self._tag
        if self.unmasking is not None:
            payload, tag = self.unmasking.opened(payload, tag)
        return self._packed(payload, tag)

    @property
    def masked(self) -> bytes:
        """The sum so far with its masks on, as a message that no hospital opens; for ``restore``.

        Raises:
            EncryptionError: no site has given its numbers.
        """
        if self._tag is None:
            raise EncryptionError("no site has given its numbers")
        return self._packed(self._accumulator.payload(), self._tag)

    def restore(self, masked: bytes, kept: bytes) -> None:
        """Continue from another process's sum.

        Args:
            masked: its ``masked``.
            kept: its ``unmasking.kept``.

        Raises:
            EncryptionError: it is another sum, or this one has no masks.
        """
        message = unpack(masked)
        _check_same(message, self._topic, key_id=self._key_id, scheme=self._scheme, whose="this sum's")
        if self.unmasking is None:
            raise EncryptionError("sum has no masks")
        self.unmasking.restore(message.parts, kept)
        self._accumulator.add(message.payload)
        self._parts, self._tag = {part.site: part for part in message.parts}, message.tag

    def _packed(self, payload: bytes, tag: Tag) -> bytes:
        return pack(
            Message(
                key_id=self._key_id,
                scheme=self._scheme,
                topic=self._topic,
                parts=tuple(self._parts[site] for site in self.sites),
                tag=tag,
                payload=payload,
            )
        )


def _check_same(message: Message, topic: SumContext, *, key_id: str, scheme: str, whose: str) -> None:
    if message.scheme != scheme:
        raise EncryptionError(f"sealed in another scheme than {whose}", value=message.scheme, remedy=f"use {scheme}")
    if message.key_id != key_id:
        raise EncryptionError(
            f"sealed under another key than {whose}",
            value=message.key_id,
            remedy="submit the job again: the hospital that made its key named another"
            if scheme == "masked"
            else "give every hospital the same key file",
        )
    expected = topic.plain()
    for name, value in message.topic.plain().items():
        if value != expected[name]:
            raise EncryptionError(f"sealed for another {name.replace('_', ' ')} than this sum's", value=value)


def _check_fewest(fewest: int) -> None:
    if fewest < MIN_CONTRIBUTORS:
        raise EncryptionError(f"a sum of fewer than {MIN_CONTRIBUTORS} sites is never made or opened", value=fewest)


def _within(codes: NDArray[np.int64], bits: int) -> bool:
    limit = (1 << (bits - 1)) - 1
    return codes.size == 0 or bool(-limit <= codes.min() and codes.max() <= limit)
