r"""Define the two messages that open a masked sum: the server's request to a hospital, and the hospital's answer.

Request: ``base`` of the sum's context; hospital in the sum -> nonce of its message; and, where the asked hospital holds
shares of it, its package.

Answer::

    FWOPEN2\n | canonical JSON: {"content": ..., "parts": {hospital: ...}, "sum": ..., "tokens": {hospital: ...}}

``sum`` names the context and the messages in the sum. The rest is a lock (``masks.locks``), in hexadecimal digits; its
content is canonical JSON: {"damaged": [hospital], "shares": {hospital: hexadecimal digits}, "sketched": hexadecimal
digits, or null where the sum has no sketches}. Shares of a hospital's
secrets are that of its self mask's seed, then that of its seed with each neighbour that is not in the sum, in the order
of the names. ``damaged`` lists hospitals whose package did not open.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fedward.encryption.distances.sketched_sum import SEALED_BYTES
from fedward.encryption.masks.graphs.graph import Graph
from fedward.encryption.masks.locks import PART_BYTES, Locked
from fedward.encryption.masks.shamir import SECRET_BYTES, is_element
from fedward.encryption.masks.upload import pieces
from fedward.encryption.message import is_nonce, is_site
from fedward.encryption.sum_context import SumContext
from fedward.errors import EncryptionError

MAGIC = b"FWOPEN2\n"
_ANSWER = frozenset({"content", "parts", "sum", "tokens"})
_LARGEST = 1 << 26
"""Bytes of an answer; with a thousand hospitals it needs less."""


@dataclass(frozen=True, slots=True, eq=False)
class UnmaskRequest:
    """Request to one hospital.

    Attributes:
        nonces: hospital in the sum -> nonce of its message, 32 hexadecimal digits.
        packages: hospital in the sum whose shares the asked hospital holds -> its package.
        base: of the sum's context.
    """

    nonces: Mapping[str, str]
    packages: Mapping[str, bytes]
    base: str

    def plain(self) -> dict[str, Any]:
        """Return the request as a table of words and bytes; ``read_request`` reads it."""
        return {"base": self.base, "nonces": dict(self.nonces), "packages": dict(self.packages)}

    def identity(self, topic: SumContext) -> str:
        """Return the SHA-256, 64 hexadecimal digits, of the whole request."""
        hashes = {site: hashlib.sha256(package).hexdigest() for site, package in self.packages.items()}
        return _digest({"nonces": dict(self.nonces), "packages": hashes, "topic": topic.canonical().decode("ascii")})


def requests_of(content: object) -> dict[Any, dict[Any, Any]]:
    """Return a table of requests by purpose, of any origin; ``read_request`` reads each of them.

    Raises:
        EncryptionError: it is no table of tables, or is empty.
    """
    if type(content) is not dict or not content or any(type(one) is not dict for one in content.values()):
        raise EncryptionError("task brings no request to open a sum")
    return content


def read_request(content: object, *, holder: str, graph: Graph) -> UnmaskRequest:
    """Read a request of any origin.

    Args:
        content: as received.
        holder: the hospital that is asked.
        graph: of the run.

    Raises:
        EncryptionError: it is no request; a hospital takes no part in the run; there are too few of them; or a package
            is missing or one too many.
    """
    if type(content) is not dict or set(content) != {"base", "nonces", "packages"}:
        raise EncryptionError("task brings no request to open a sum")
    nonces, packages = content["nonces"], content["packages"]
    if type(nonces) is not dict or type(packages) is not dict or not all(is_nonce(word) for word in nonces.values()):
        raise EncryptionError("task brings no request to open a sum")
    if not set(nonces) <= set(graph.sites):
        raise EncryptionError("sum to open names a hospital that takes no part in this job")
    if len(set(nonces.values())) != len(nonces):
        raise EncryptionError("sum to open names a nonce twice")
    if len(nonces) < graph.fewest:
        raise EncryptionError(f"sum to open is of fewer than {graph.fewest} hospitals", value=len(nonces))
    if set(packages) != {site for site in nonces if holder in graph.holders(site)}:
        raise EncryptionError("sum to open comes without this hospital's shares, or with others'")
    if not all(type(package) is bytes for package in packages.values()):
        raise EncryptionError("task brings no request to open a sum")
    return UnmaskRequest(dict(sorted(nonces.items())), dict(sorted(packages.items())), content["base"])


def name_of_sum(topic: SumContext, nonces: Mapping[str, str]) -> str:
    """Return the SHA-256, 64 hexadecimal digits, of a sum's context and the messages in it."""
    return _digest({"nonces": dict(nonces), "topic": topic.canonical().decode("ascii")})


@dataclass(frozen=True, slots=True, eq=False)
class UnmaskAnswer:
    """Answer of one hospital.

    Attributes:
        shares: hospital in the sum -> shares, as the module describes them.
        damaged: hospitals whose package did not open.
        sketched: of the sum's sketches, which the server cannot read; None: nothing.
    """

    shares: Mapping[str, tuple[bytes, ...]]
    damaged: tuple[str, ...] = ()
    sketched: bytes | None = None

    def pack(self) -> bytes:
        """Return the answer as bytes, to be locked."""
        shares = {site: b"".join(found).hex() for site, found in self.shares.items()}
        sketched = None if self.sketched is None else self.sketched.hex()
        return _canonical({"damaged": sorted(self.damaged), "shares": shares, "sketched": sketched})


def dropped_neighbours(site: str, *, graph: Graph, summed: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the neighbours of a hospital that are not in the sum, sorted."""
    return tuple(other for other in graph.neighbours(site) if other not in summed)


def pack_locked(locked: Locked, name: str) -> bytes:
    """Return a locked answer as bytes; ``name`` is that of the sum."""
    parts = {site: part.hex() for site, part in locked.parts.items()}
    tokens = {site: token.hex() for site, token in locked.tokens.items()}
    return MAGIC + _canonical({"content": locked.content.hex(), "parts": parts, "sum": name, "tokens": tokens})


def read_locked(content: object, *, name: str, graph: Graph) -> Locked:
    """Read a locked answer of any origin.

    Args:
        content: as received.
        name: of the sum.
        graph: of the run.

    Raises:
        EncryptionError: it is no answer for this sum.
    """
    if type(content) is not bytes or len(content) > _LARGEST or not content.startswith(MAGIC):
        raise EncryptionError("answer brings no shares of the sum")
    table = _table(content[len(MAGIC) :], _ANSWER)
    if table["sum"] != name:
        raise EncryptionError("answer brings shares of another sum")
    locked = Locked(
        _bytes(table["content"], None),
        _each(table["parts"], PART_BYTES, graph),
        _each(table["tokens"], SECRET_BYTES, graph),
    )
    if pack_locked(locked, name) != content:
        raise EncryptionError("answer brings shares in another form")
    return locked


def read_answer(content: bytes, *, holder: str, graph: Graph, nonces: Mapping[str, str]) -> UnmaskAnswer:
    """Read an answer of any origin, after it was unlocked.

    Args:
        content: of the lock.
        holder: the hospital that answered.
        graph: of the run.
        nonces: hospital in the sum -> nonce of its message.

    Raises:
        EncryptionError: it is no answer to the request for this sum.
    """
    table = _table(content, frozenset({"damaged", "shares", "sketched"}))
    damaged, given = table["damaged"], table["shares"]
    if type(damaged) is not list or type(given) is not dict or not all(is_site(site) for site in damaged):
        raise EncryptionError("answer brings no shares of the sum")
    expected = {site for site in nonces if holder in graph.holders(site)}
    if len(set(damaged)) != len(damaged) or set(damaged) & set(given) or set(damaged) | set(given) != expected:
        raise EncryptionError("answer brings shares of other hospitals than those it was asked for")
    shares = {}
    for site, digits in given.items():
        count = 1 + len(dropped_neighbours(site, graph=graph, summed=nonces))
        shares[site] = _shares(digits, count)
    sketched = None if table["sketched"] is None else _bytes(table["sketched"], SEALED_BYTES)
    found = UnmaskAnswer(shares, tuple(damaged), sketched)
    if found.pack() != content:
        raise EncryptionError("answer brings shares in another form")
    return found


def _table(content: bytes, names: frozenset[str]) -> dict[str, Any]:
    try:
        table = json.loads(content.decode("ascii"))
    except (ValueError, RecursionError):
        raise EncryptionError("answer brings no shares of the sum") from None
    if type(table) is not dict or set(table) != names:
        raise EncryptionError("answer brings no shares of the sum")
    return table


def _each(content: object, size: int, graph: Graph) -> dict[str, bytes]:
    if type(content) is not dict or set(content) != set(graph.sites):
        raise EncryptionError("answer brings parts for other hospitals than those that take part")
    return {site: _bytes(word, size) for site, word in content.items()}


def _bytes(word: object, size: int | None) -> bytes:
    try:
        found = bytes.fromhex(word) if type(word) is str else None
    except ValueError:
        found = None
    if found is None or found.hex() != word or (size is not None and len(found) != size):
        raise EncryptionError("answer brings no shares of the sum")
    return found


def _shares(digits: object, count: int) -> tuple[bytes, ...]:
    if type(digits) is not str or len(digits) != 2 * SECRET_BYTES * count:
        raise EncryptionError("answer brings another number of shares than it was asked for")
    content = _bytes(digits, None)
    found = pieces(content, SECRET_BYTES)
    if not all(is_element(share) for share in found):
        raise EncryptionError("answer brings a share outside the field")
    return found


def _canonical(content: object) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode("ascii")


def _digest(content: object) -> str:
    return hashlib.sha256(_canonical(content)).hexdigest()
