"""Take the masks off a sum at the server, with the hospitals' shares: the server's side of secure aggregation.

The server learns the seeds of the masks that do not cancel: the self mask of each hospital in the sum, and its mask
with each hospital that is not. It checks every share and every seed against the signed message of the hospital whose
mask it is, so that it names who sent false ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np

from fedward.encryption.masks.graphs.graph import Graph
from fedward.encryption.masks.locks import Locked, unlock
from fedward.encryption.masks.seed_streams import SeedMask, masked_numbers, masked_tag
from fedward.encryption.masks.shamir import combine
from fedward.encryption.masks.site_masks import sign
from fedward.encryption.masks.unmask_message import (
    UnmaskAnswer,
    UnmaskRequest,
    dropped_neighbours,
    name_of_sum,
    read_answer,
    read_locked,
)
from fedward.encryption.masks.upload import Upload, commitment, extra_bytes, share_hash, unpack_upload
from fedward.encryption.message import Message, MessagePart
from fedward.encryption.stream import ring_of
from fedward.encryption.sum_context import SumContext
from fedward.encryption.tag import Tag
from fedward.errors import EncryptionError

_EITHER = "one of the two is false"


class Unmasking:
    """Masks of one sum, as the server sees them; not thread-safe: the caller makes one call at a time.

    Args:
        topic: the context of the sum.
        graph: of the run.
    """

    def __init__(self, topic: SumContext, graph: Graph) -> None:
        self._topic, self._graph = topic, graph.of_sum(topic)
        self._nonces: dict[str, str] = {}
        self._commitments: dict[str, tuple[bytes, ...]] = {}
        self._hashes: dict[str, Mapping[str, tuple[bytes, ...]]] = {}
        self._packages: dict[str, Mapping[str, bytes]] = {}
        self._locked: dict[str, Locked] = {}
        self._answers: dict[str, UnmaskAnswer] = {}
        self._unreadable: dict[str, str] = {}
        self._mismatched: set[tuple[str, str]] = set()
        """Hospital that helped, and hospital of whose masks it gave not the share that this one named."""
        self.sketches_needed = 0
        """Number of hospitals that must add their share of the sum's sketches; 0: the sum has none."""
        self.fewest_sketches = 0
        """Number that is enough once no more answers come: fewer of the shares may then be false."""

    def read(self, message: Message) -> Upload:
        """Return the parts of one hospital's payload; ``keep`` them once its numbers are added.

        Raises:
            EncryptionError: the hospital takes no part in the run, or the payload has another length.
        """
        site = message.parts[0].site
        self._require_member(site)
        size = self._topic.length * ring_of(self._topic.bits).itemsize
        return unpack_upload(message.payload, site=site, graph=self._graph, number_bytes=size)

    def keep(self, part: MessagePart, upload: Upload) -> None:
        """Keep the commitments, hashes and packages of a message whose numbers were added."""
        self._nonces[part.site] = part.nonce.hex()
        self._commitments[part.site], self._hashes[part.site] = upload.commitments, upload.hashes
        self._packages[part.site] = upload.packages

    @property
    def kept(self) -> bytes:
        """Commitments and packages of every message taken, in the order of the hospitals, for ``restore``."""
        found = []
        for site in sorted(self._nonces):
            found.append(Upload(b"", self._commitments[site], self._hashes[site], self._packages[site]).pack())
        return b"".join(found)

    def restore(self, parts: Sequence[MessagePart], kept: bytes) -> None:
        """Continue from what another process kept of these messages.

        Raises:
            EncryptionError: it is of another length, or names a hospital that takes no part in the run.
        """
        at = 0
        for part in parts:
            self._require_member(part.site)
            neighbours, holders = self._graph.neighbours(part.site), self._graph.holders(part.site)
            size = extra_bytes(neighbours=len(neighbours), holders=len(holders))
            upload = unpack_upload(kept[at : at + size], site=part.site, graph=self._graph, number_bytes=0)
            self.keep(part, upload)
            at += size
        if at != len(kept):
            raise EncryptionError("shares of a masked sum are of another length", value=len(kept))

    def _require_member(self, site: str) -> None:
        if site not in self._graph.keepers:
            raise EncryptionError("masked message is of a hospital that takes no part in this job", value=site)

    def request(self, holder: str) -> UnmaskRequest:
        """Return the request to one hospital."""
        packages = {
            site: self._packages[site][holder] for site in sorted(self._nonces) if holder in self._graph.holders(site)
        }
        return UnmaskRequest(dict(sorted(self._nonces.items())), packages, self._topic.base)

    def answer(self, content: object, *, holder: str) -> None:
        """Take one hospital's answer.

        Raises:
            EncryptionError: it is no answer to the request, or the hospital has answered before.
        """
        if holder in self._locked:
            raise EncryptionError("hospital has already given its shares of this sum", value=holder)
        self._locked[holder] = read_locked(content, name=self._name, graph=self._graph)

    @property
    def _name(self) -> str:
        return name_of_sum(self._topic, dict(sorted(self._nonces.items())))

    def _unlock(self) -> None:
        """Open the answers for which enough hospitals helped; one that does not open, or is none, is not used."""
        if len(self._locked) < self._graph.quorum:
            return
        for holder in sorted(set(self._locked) - set(self._answers) - set(self._unreadable)):
            tokens = {other: given.tokens[holder] for other, given in self._locked.items()}
            content = unlock(self._locked[holder], tokens, graph=self._graph, name=self._name)
            if content is None:
                continue
            try:
                answer = read_answer(content, holder=holder, graph=self._graph, nonces=self._nonces)
            except EncryptionError as error:
                self._unreadable[holder] = error.what
                continue
            self._answers[holder] = answer
            self._mismatched |= {(holder, site) for site in answer.damaged}
            for site, shares in answer.shares.items():
                if any(share_hash(share) != due for share, due in zip(shares, self._due(site, holder), strict=True)):
                    self._mismatched.add((holder, site))

    @property
    def false(self) -> dict[str, str]:
        """Hospital that gave or named false shares -> what was found; these shares were not used.

        One alone is named where more hospitals contradict it than may lie. Of any other share it is not known whether
        the hospital that gave it or the one that named it is false, so both are named.
        """
        found, pairs, limit = dict(self._unreadable), self._mismatched, self._graph.lying
        gave, named = (Counter(pair[end] for pair in pairs) for end in (0, 1))
        found |= {
            one: f"named shares of its masks that {n} hospitals did not give" for one, n in named.items() if n > limit
        }
        found |= {
            one: f"gave not the shares of their masks that {n} hospitals named" for one, n in gave.items() if n > limit
        }
        for holder, site in sorted(pairs):
            if gave[holder] <= limit and named[site] <= limit:
                found.setdefault(holder, f"gave not the share of {site}'s masks that {site} named: {_EITHER}")
                found.setdefault(site, f"named a share of its masks that {holder} did not give: {_EITHER}")
        return found

    def _useful(self, site: str) -> dict[str, tuple[bytes, ...]]:
        """Return the shares of one hospital's masks that fit what it named, by the hospital that gave them."""
        return {
            holder: answer.shares[site]
            for holder, answer in self._answers.items()
            if site in answer.shares and (holder, site) not in self._mismatched
        }

    def _due(self, site: str, holder: str) -> list[bytes]:
        """Return the hashes that a hospital's message names of the shares that one holder is asked for."""
        neighbours, every = self._graph.neighbours(site), self._hashes[site][holder]
        lost = dropped_neighbours(site, graph=self._graph, summed=self._nonces)
        return [every[0], *(every[1 + neighbours.index(other)] for other in lost)]

    @property
    def sketched(self) -> dict[str, bytes]:
        """Hospital that helped -> what it added for the check of the sum's sketches."""
        self._unlock()
        return {holder: answer.sketched for holder, answer in self._answers.items() if answer.sketched is not None}

    def last(self) -> None:
        """Take it that no more answers come."""
        self.sketches_needed = min(self.sketches_needed, self.fewest_sketches)

    @property
    def too_few(self) -> str | None:
        """Return why no hospital may help to open the sum: too few hospitals are in it; None: enough are."""
        if len(self._nonces) >= self._graph.fewest:
            return None
        return f"the sum is of {len(self._nonces)} hospitals, and a masked sum needs {self._graph.fewest}"

    @property
    def short(self) -> str | None:
        """Return why the shares do not open the sum yet; None: they do, if they are true."""
        if (why := self.too_few) is not None:
            return why
        self._unlock()
        for site in sorted(self._nonces):
            if len(self._useful(site)) >= self._graph.needed:
                continue
            if len(self._answers) < self._graph.quorum:
                return f"{len(self._answers)} of the {self._graph.quorum} hospitals that must help to open the sum did"
            return f"too few hospitals gave the shares of {site}'s masks that {site} named"
        if (found := len(self.sketched)) < self.sketches_needed:
            return f"{found} of the {self.sketches_needed} hospitals that must help to check the sum did"
        return None

    def opened(self, payload: bytes, tag: Tag) -> tuple[bytes, Tag]:
        """Take the masks off the sum of the payloads' numbers, and off the sum of the tags.

        Raises:
            EncryptionError: there are too few shares, or false ones.
        """
        if (why := self.short) is not None:
            raise EncryptionError(why)
        self._require_equal_seeds()
        masks = list(self._masks())
        words = np.frombuffer(payload, ring_of(self._topic.bits))
        return masked_numbers(words, masks).tobytes(), masked_tag(tag, masks)

    def _require_equal_seeds(self) -> None:
        """Refuse a sum in which two hospitals have masked with another seed each: their masks do not cancel."""
        for one, other in combinations(sorted(self._nonces), 2):
            if other in self._graph.neighbours(one) and self._committed(one, other) != self._committed(other, one):
                raise EncryptionError("two hospitals masked with different seeds: one of them", value=f"{one}, {other}")

    def _committed(self, site: str, other: str) -> bytes:
        return self._commitments[site][1 + self._graph.neighbours(site).index(other)]

    def _masks(self) -> Iterator[SeedMask]:
        """Yield the masks to take off: the self masks, and those with hospitals that are not in the sum."""
        for site in sorted(self._nonces):
            lost = dropped_neighbours(site, graph=self._graph, summed=self._nonces)
            wanted = [self._commitments[site][0], *(self._committed(site, other) for other in lost)]
            for place, committed in enumerate(wanted):
                seed = self._seed(site, place, committed)
                yield SeedMask(seed, -1 if place == 0 else -sign(site, lost[place - 1]))

    def _seed(self, site: str, place: int, committed: bytes) -> bytes:
        """Return a seed from shares that its hospital's message names; it must fit the commitment in that message."""
        shares = {self._graph.point(holder): given[place] for holder, given in self._useful(site).items()}
        seed = combine(shares, needed=self._graph.needed)
        if commitment(seed) != committed:
            raise EncryptionError("hospital shared other masks than those it used", value=site)
        return seed
