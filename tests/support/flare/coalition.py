"""Compute all that a server and some hospitals can compute together of the others' numbers in one sum."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedward.encryption.keys.key import FederationKey
from fedward.encryption.masks.agreement import SharedSecrets
from fedward.encryption.masks.graphs.graph import Graph
from fedward.encryption.masks.job_key import job_key
from fedward.encryption.masks.locks import Locked, unlock
from fedward.encryption.masks.run_keys import RunKeys
from fedward.encryption.masks.seed_streams import SeedMask, masked_numbers
from fedward.encryption.masks.shamir import combine
from fedward.encryption.masks.site_masks import sign
from fedward.encryption.masks.unmask_message import MAGIC as ANSWER_MAGIC
from fedward.encryption.masks.unmask_message import read_answer, read_locked
from fedward.encryption.masks.upload import commitment, open_package, unpack_upload
from fedward.encryption.message import MAGIC, Message, unpack
from fedward.encryption.schemes import cipher
from fedward.encryption.stream import ring_of
from fedward.errors import EncryptionError


@dataclass
class Coalition:
    """The server and the hospitals whose keys it was given.

    Attributes:
        graph: of the run.
        uploads: hospital -> its message in the sum, as it came to the server.
        answers: hospital that helped -> shares that it gave, hospital -> shares.
        keys: hospitals that side with the server -> their keys of the run.
    """

    graph: Graph
    uploads: Mapping[str, Message]
    answers: Mapping[str, Mapping[str, tuple[bytes, ...]]]
    keys: Mapping[str, RunKeys]
    secrets: dict[str, SharedSecrets] = field(init=False)

    def __post_init__(self) -> None:
        self.secrets = {
            site: SharedSecrets(one.pair, site=site, publics=one.publics or {}) for site, one in self.keys.items()
        }

    @property
    def others(self) -> list[str]:
        """Hospitals in the sum that do not side with the server."""
        return sorted(set(self.uploads) - set(self.keys))

    def seeds(self, site: str) -> dict[str, bytes]:
        """Return every seed of a hospital's masks that the coalition knows: of its self mask under ``""``."""
        message = self.uploads[site]
        topic, part = message.topic, message.parts[0].canonical(message.topic)
        numbers = topic.length * ring_of(topic.bits).itemsize
        upload = unpack_upload(message.payload, site=site, graph=self.graph, number_bytes=numbers)
        neighbours = self.graph.neighbours(site)
        lost = [other for other in neighbours if other not in self.uploads]
        shares: dict[str, dict[int, bytes]] = {}
        for holder, given in self.answers.items():
            for name, share in zip(["", *lost], given.get(site, ()), strict=False):
                shares.setdefault(name, {})[self.graph.point(holder)] = share
        for holder, secret in self.secrets.items():  # what it opens of its own packages
            key = secret.derive(site, b"\n".join((b"shares", holder.encode(), part)))
            opened = open_package(upload.packages[holder], key=key, part=part) or []
            for name, share in zip(["", *neighbours], opened, strict=True):
                shares.setdefault(name, {})[self.graph.point(holder)] = share
        found = {}
        for name, given in shares.items():
            try:
                found[name] = combine(given, needed=self.graph.needed)
            except EncryptionError:
                continue
        for holder, secret in self.secrets.items():
            if holder != site:
                found[holder] = secret.seed(site, b"seed\n" + topic.canonical())
        if site in self.secrets:
            found |= {other: self.secrets[site].seed(other, b"seed\n" + topic.canonical()) for other in neighbours}
        for name, seed in found.items():
            place = 0 if name == "" else 1 + neighbours.index(name)
            if commitment(seed) != upload.commitments[place]:
                raise ValueError(f"a seed of {site} does not fit its commitment")
        return found

    def fits(self) -> bool:
        """True if every seed fits its commitment: each answer is that of the hospital that it is said to be of."""
        try:
            for site in self.uploads:
                self.seeds(site)
        except ValueError:
            return False
        return True

    def best(self, site: str) -> NDArray[np.int64]:
        """Return a hospital's numbers with every mask taken off that the coalition knows."""
        message, known = self.uploads[site], self.seeds(site)
        topic = message.topic
        words = np.frombuffer(message.payload, ring_of(topic.bits), count=topic.length)
        masks = [SeedMask(seed, -1 if name == "" else -sign(site, name)) for name, seed in known.items()]
        return self._opened(masked_numbers(words, masks), [site])

    def total(self, sites: Iterable[str]) -> NDArray[np.int64]:
        """Return the sum of what ``best`` gives for some hospitals, in the ring of the sum."""
        found = [self.best(site) for site in sites]
        ring = ring_of(next(iter(self.uploads.values())).topic.bits)
        whole = np.sum([one.astype(ring) for one in found], axis=0, dtype=ring)
        return np.asarray(whole.view(ring.str.replace("u", "i")), np.int64)

    def _opened(self, words: NDArray[Any], sites: list[str]) -> NDArray[np.int64]:
        """Take off the outer cipher too, where a member's key of the job is known."""
        message = self.uploads[sites[0]]
        key = next(job_key(one.secret) for one in self.keys.values() if one.secret is not None)
        return opened(words.tobytes(), key, message, sites)


def opened(payload: bytes, key: FederationKey, message: Message, sites: Iterable[str]) -> NDArray[np.int64]:
    """Decrypt numbers of hospitals as anybody who has the key can."""
    names = [part.canonical(message.topic) for part in message.parts if part.site in set(sites)]
    return cipher(key).decrypt(payload, length=message.topic.length, bits=message.topic.bits, parts=names)


def messages(wire: Iterable[bytes], *, extra: int = 0) -> list[Message]:
    """Return every sealed message in some frames: whole ones, of models, with ``extra`` bytes besides the numbers."""
    found = {}
    for frames in wire:
        at = frames.find(MAGIC)
        while at >= 0:
            start = at + len(MAGIC) + 4
            stop = start + int.from_bytes(frames[start - 4 : start], "big")
            try:
                head = unpack(frames[at:stop])
            except EncryptionError:
                head = None
            streamed = head is not None and head.scheme in ("masked", "aes-ctr")
            if head is not None and streamed and head.topic.purpose == "model" and len(head.parts) == 1:
                size = head.topic.length * ring_of(head.topic.bits).itemsize + extra
                content = frames[at : stop + size]
                if len(content) == stop - at + size:
                    found[content] = unpack(content)
            at = frames.find(MAGIC, at + 1)
    return list(found.values())


def answers(wire: Iterable[bytes], *, name: str, graph: Graph) -> list[Locked]:
    """Return every answer for one sum in some frames."""
    found: dict[str, Locked] = {}
    decoder = json.JSONDecoder()
    for frames in wire:
        at = frames.find(ANSWER_MAGIC)
        while at >= 0:
            text = frames[at + len(ANSWER_MAGIC) :].decode("latin-1")
            try:
                _, end = decoder.raw_decode(text)
                found[text[:end]] = read_locked(ANSWER_MAGIC + text[:end].encode(), name=name, graph=graph)
            except (ValueError, EncryptionError):
                pass
            at = frames.find(ANSWER_MAGIC, at + 1)
    return list(found.values())


def unlocked(
    given: Mapping[str, Locked], *, name: str, graph: Graph, nonces: Mapping[str, str]
) -> dict[str, Mapping[str, tuple[bytes, ...]]]:
    """Return the shares of each answer that the answers together open, hospital that helped -> its shares."""
    found = {}
    for holder, one in given.items():
        tokens = {other: another.tokens[holder] for other, another in given.items()}
        content = unlock(one, tokens, graph=graph, name=name)
        if content is not None:
            found[holder] = read_answer(content, holder=holder, graph=graph, nonces=nonces).shares
    return found
