"""The secure sum: hospitals seal numbers, a server adds them unread, hospitals open the sum and know that it is one.

Guarantees, against a server that reads and alters all it carries and holds no key:

* it learns no number, only lengths, names and what the sum is about;
* what a hospital opens is exactly the sum, over the distinct sites that it names and at least three of them, of what
  they sealed for this job, round and purpose; anything else is refused, save with probability 2^-64 an attempt
  (``fedward.encryption.tag``). It may still leave a site out, which the names then show.

It is no guarantee against a hospital that hands its key, or a message it could open, to the server.
"""

from __future__ import annotations

import secrets
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from fedward.encryption.keys.key import FederationKey
from fedward.encryption.message import NONCE_BYTES, Message, MessagePart, pack, unpack
from fedward.encryption.schemes import accumulator, check_bits, cipher
from fedward.encryption.sum_context import SumContext
from fedward.encryption.tag import Tag, add_tags, same_tag, tag_of
from fedward.errors import EncryptionError
from fedward.settings import MIN_CONTRIBUTORS


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Opened:
    """A sum that has been verified.

    Attributes:
        codes: the sum, int64 of shape (n,).
        sites: whose numbers are in it, by name.
    """

    codes: NDArray[np.int64]
    sites: tuple[str, ...]


class SecureSum:
    """A hospital's end.

    Args:
        key: the federation's.
        site: this hospital's id.

    Raises:
        EncryptionError: the key's scheme is unknown.
    """

    def __init__(self, key: FederationKey, *, site: str) -> None:
        self._key, self._site = key, site
        self._cipher = cipher(key)

    def seal(self, codes: NDArray[np.int64], topic: SumContext) -> bytes:
        """This hospital's numbers as only a sum of them can be opened; two calls never give the same bytes.

        Args:
            codes: int64 of shape (topic.length,), each within ``±(2^(bits-1) - 1)`` as their sum must be.
            topic: what the sum is about.

        Raises:
            EncryptionError: the numbers are of another kind, length or range, or the scheme has no such bits.
        """
        check_bits(self._key.scheme, topic.bits)
        if codes.dtype != np.int64 or codes.shape != (topic.length,):
            raise EncryptionError(f"numbers to seal are not {topic.length} of int64", value=str(codes.shape))
        if not _within(codes, topic.bits):
            raise EncryptionError(f"a number to seal has more than {topic.bits} bits")
        codes = np.ascontiguousarray(codes)
        part = MessagePart(site=self._site, nonce=secrets.token_bytes(NONCE_BYTES))
        name = part.canonical(topic)
        return pack(
            Message(
                key_id=self._key.key_id,
                scheme=self._key.scheme,
                topic=topic,
                parts=(part,),
                tag=tag_of(codes, key=self._key, topic=topic, parts=[name]),
                payload=self._cipher.encrypt(codes, bits=topic.bits, part=name),
            )
        )

    def open(self, sealed: bytes, topic: SumContext, *, fewest: int = MIN_CONTRIBUTORS) -> Opened:
        """The sum in ``sealed``, exact and verified.

        Args:
            sealed: what ``Aggregator.sum`` gave.
            topic: what this hospital knows the sum to be about.
            fewest: sites that must be in it, three or more.

        Raises:
            EncryptionError: another form, key or topic, too few sites, or not the sum of the sites it names.
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
        return Opened(codes=codes, sites=message.sites)


class Aggregator:
    """The server's end of one sum; it holds no key. Calls from several threads are the caller's to order.

    Args:
        topic: what the sum is about.
        scheme: of the federation's key.
        key_id: of the federation's key.

    Raises:
        EncryptionError: the scheme is unknown or has no such bits.
    """

    def __init__(self, topic: SumContext, *, scheme: str, key_id: str) -> None:
        self._topic, self._scheme, self._key_id = topic, scheme, key_id
        self._accumulator = accumulator(scheme, length=topic.length, bits=topic.bits)
        self._parts: dict[str, MessagePart] = {}
        self._tag: Tag | None = None

    @property
    def sites(self) -> tuple[str, ...]:
        """Whose numbers have been added, by name."""
        return tuple(sorted(self._parts))

    def add(self, sealed: bytes, *, site: str) -> None:
        """One hospital's numbers into the sum, as they arrive.

        Args:
            sealed: what ``SecureSum.seal`` gave.
            site: who sent it, as the connection's certificate says.

        Raises:
            EncryptionError: another form, key, scheme or topic; a sum already; another site than ``site``; a site or a
                nonce for the second time; or a payload that cannot be one. The sum is then as it was.
        """
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
        self._accumulator.add(message.payload)
        self._parts[site] = part
        self._tag = message.tag if self._tag is None else add_tags(self._tag, message.tag)

    def sum(self, *, fewest: int = MIN_CONTRIBUTORS) -> bytes:
        """The sum of what was added, for hospitals to open; more may be added afterwards.

        Args:
            fewest: sites that must be in it, three or more.

        Raises:
            EncryptionError: fewer have given their numbers.
        """
        _check_fewest(fewest)
        if self._tag is None or len(self._parts) < fewest:
            raise EncryptionError(f"fewer than {fewest} sites have given their numbers", value=len(self._parts))
        return pack(
            Message(
                key_id=self._key_id,
                scheme=self._scheme,
                topic=self._topic,
                parts=tuple(self._parts[site] for site in self.sites),
                tag=self._tag,
                payload=self._accumulator.payload(),
            )
        )


def _check_same(message: Message, topic: SumContext, *, key_id: str, scheme: str, whose: str) -> None:
    if message.scheme != scheme:
        raise EncryptionError(f"sealed in another scheme than {whose}", value=message.scheme, remedy=f"use {scheme}")
    if message.key_id != key_id:
        raise EncryptionError(
            f"sealed under another key than {whose}",
            value=message.key_id,
            remedy="give every hospital the same key file",
        )
    expected = asdict(topic)
    for name, value in asdict(message.topic).items():
        if value != expected[name]:
            raise EncryptionError(f"sealed for another {name.replace('_', ' ')} than this sum's", value=value)


def _check_fewest(fewest: int) -> None:
    if fewest < MIN_CONTRIBUTORS:
        raise EncryptionError(f"a sum of fewer than {MIN_CONTRIBUTORS} sites is never made or opened", value=fewest)


def _within(codes: NDArray[np.int64], bits: int) -> bool:
    limit = (1 << (bits - 1)) - 1
    return codes.size == 0 or bool(-limit <= codes.min() and codes.max() <= limit)
