"""Mask a hospital's sealed numbers, and help to open a sum: the hospital's side of secure aggregation.

Bonawitz et al. (2017), "Practical secure aggregation for privacy-preserving machine learning", CCS, figure 4, with two
differences. Keys are agreed on once in a run, and each sum's masks follow from them and from the sum's context. And a
message carries the shares of all that masks it: of its self mask's seed, and of this one sum's seed with each
neighbour. So no share of a key exists, and what is revealed for a hospital that was lost is one sum's seeds.

Guarantee (complete graph, ``threshold`` of the run; all hospitals started from one model, which the context of a sum
names), if AES-256, HKDF-SHA256, X25519 and AES-GCM are as strong as they
are believed to be: the server and up to ``colluding`` hospitals together learn of the numbers of the other hospitals in
a sum nothing but their total. It holds against a server that sends each hospital other requests, as long as each honest
hospital helps for one set of hospitals in a sum, which its record ensures (``fedward.privacy.ledger.run_record``).

Proof sketch. What an honest hospital gives opens only where ``quorum`` hospitals helped for the same messages
(``masks.locks``), and that is one set U of messages of a sum at most (``masks.graphs.threshold``). For a message of an
honest hospital outside U the seed of its self mask stays unknown, so the message is uniform. For honest v in U, its
mask with each honest neighbour in U stays unknown: for U, honest holders give shares of v's seeds with hospitals
outside U alone, and fewer than ``needed`` shares tell nothing (Shamir 1979). The honest hospitals in U mask with each
other along a connected graph, so their numbers are uniform but for their total (Bonawitz, lemma 6.1), and U has two of
them or more. In the complete graph this holds always, in a sparse one except with probability 2^-40 in a run
(``masks.graphs.sparse``).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from fedward.encryption.masks.agreement import SharedSecrets
from fedward.encryption.masks.graphs.graph import Graph
from fedward.encryption.masks.locks import lock
from fedward.encryption.masks.seed_streams import SeedMask, masked_numbers, masked_tag
from fedward.encryption.masks.shamir import new_secret, split
from fedward.encryption.masks.unmask_message import (
    UnmaskAnswer,
    UnmaskRequest,
    dropped_neighbours,
    name_of_sum,
    pack_locked,
)
from fedward.encryption.masks.upload import Upload, close_package, commitment, open_package, package_bytes, share_hash
from fedward.encryption.message import MessagePart
from fedward.encryption.stream import ring_of
from fedward.encryption.sum_context import SumContext
from fedward.encryption.tag import Tag


class SiteMasks:
    """Masks of one hospital in one run.

    Args:
        secrets: shared with each hospital of the run.
        site: this hospital.
        graph: of the run.
    """

    def __init__(self, secrets: SharedSecrets, *, site: str, graph: Graph) -> None:
        self._secrets, self._site, self._graph = secrets, site, graph

    def cover(self, numbers: bytes, tag: Tag, *, topic: SumContext, part: MessagePart) -> tuple[bytes, Tag]:
        """Mask the numbers and the tag of one message.

        Args:
            numbers: little-endian, of the topic's ring.
            tag: of the numbers.
            topic: the context of the sum.
            part: this message.

        Returns:
            Payload of the message, and its masked tag.
        """
        graph = self._graph.of_sum(topic)
        own, neighbours = new_secret(), graph.neighbours(self._site)
        seeds = [own, *(self._seed(other, topic) for other in neighbours)]
        masks = [SeedMask(own, 1)]
        masks += [SeedMask(seed, sign(self._site, other)) for other, seed in zip(neighbours, seeds[1:], strict=True)]
        words: NDArray[np.unsignedinteger] = np.frombuffer(numbers, ring_of(topic.bits))
        shares = self._shares(seeds, graph)
        upload = Upload(
            masked_numbers(words, masks).tobytes(),
            tuple(commitment(seed) for seed in seeds),
            {holder: tuple(map(share_hash, given)) for holder, given in shares.items()},
            self._packages(shares, part.canonical(topic)),
        )
        return upload.pack(), masked_tag(tag, masks)

    def help(self, request: UnmaskRequest, topic: SumContext, *, sketched: bytes | None = None) -> bytes:
        """Return this hospital's shares for one sum; the caller has recorded the request, and refuses every other.

        Args:
            request: for this hospital.
            topic: the context of the sum.
            sketched: of the sum's sketches, ``distances.sketched_sum.seal_share``.
        """
        shares, damaged, graph = {}, [], self._graph.of_sum(topic)
        for site, package in request.packages.items():
            part = MessagePart(site=site, nonce=bytes.fromhex(request.nonces[site])).canonical(topic)
            neighbours = graph.neighbours(site)
            found = None
            if len(package) == package_bytes(len(neighbours)):
                found = open_package(package, key=self._package_key(site, part, holder=self._site), part=part)
            if found is None:
                damaged.append(site)
                continue
            lost = dropped_neighbours(site, graph=graph, summed=request.nonces)
            shares[site] = (found[0], *(found[1 + neighbours.index(other)] for other in lost))
        content, name = UnmaskAnswer(shares, tuple(damaged), sketched).pack(), name_of_sum(topic, request.nonces)
        return pack_locked(lock(content, self._secrets, site=self._site, graph=self._graph, name=name), name)

    def _seed(self, other: str, topic: SumContext) -> bytes:
        """Return the seed of the mask with a neighbour: both derive it."""
        return self._secrets.seed(other, b"seed\n" + topic.canonical())

    def _package_key(self, other: str, part: bytes, *, holder: str) -> bytes:
        """Return the key of one package: ``part`` names its message, and so its maker."""
        return self._secrets.derive(other, b"\n".join((b"shares", holder.encode("ascii"), part)))

    def _shares(self, seeds: list[bytes], graph: Graph) -> dict[str, list[bytes]]:
        """Return a share of every seed for each holder."""
        holders = graph.holders(self._site)
        points = [graph.point(holder) for holder in holders]
        each = [split(seed, needed=graph.needed, points=points) for seed in seeds]
        return {holder: [shares[place] for shares in each] for place, holder in enumerate(holders)}

    def _packages(self, shares: Mapping[str, list[bytes]], part: bytes) -> dict[str, bytes]:
        return {
            holder: close_package(given, key=self._package_key(holder, part, holder=holder), part=part)
            for holder, given in shares.items()
        }


def sign(site: str, other: str) -> int:
    """Return 1 if ``site`` adds its mask with ``other``, -1 if it subtracts it: the two cancel in a sum of both."""
    return 1 if site < other else -1
