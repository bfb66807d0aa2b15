r"""Define the two messages that open a masked sum: the server's request to a hospital, and the hospital's answer.

Request: hospital in the sum -> nonce of its message and, where the asked hospital holds shares of it, its package.

Answer::

    FWOPEN1\n | canonical JSON: {"damaged": [hospital], "shares": {hospital: hexadecimal digits}, "sum": ...}

``sum`` names the context and the hospitals in the sum with their nonces. Shares of a hospital's secrets are that of its
self mask's seed, then that of its seed with each neighbour that is not in the sum, in the order of the names.
``damaged`` lists hospitals whose package did not open.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fedward.encryption.masks.graph import Graph
from fedward.encryption.masks.shamir import SECRET_BYTES, is_element
from fedward.encryption.message import is_nonce, is_site
from fedward.encryption.sum_context import SumContext
from fedward.errors import EncryptionError

MAGIC = b"FWOPEN1\n"
_ANSWER = frozenset({"damaged", "shares", "sum"})


@dataclass(frozen=True, slots=True, eq=False)
class UnmaskRequest:
    """Request to one hospital.

    Attributes:
        nonces: hospital in the sum -> nonce of its message, 32 hexadecimal digits.
        packages: hospital in the sum whose shares the asked hospital holds -> its package.
    """

    nonces: Mapping[str, str]
    packages: Mapping[str, bytes]

    def plain(self) -> dict[str, Any]:
        """Return the request as a table of words and bytes; ``read_request`` reads it."""
        return {"nonces": dict(self.nonces), "packages": dict(self.packages)}

    def identity(self, topic: SumContext) -> str:
        """Return the SHA-256, 64 hexadecimal digits, of the whole request."""
        hashes = {site: hashlib.sha256(package).hexdigest() for site, package in self.packages.items()}
        return _digest({"nonces": dict(self.nonces), "packages": hashes, "topic": topic.canonical().decode("ascii")})


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
    if type(content) is not dict or set(content) != {"nonces", "packages"}:
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
    return UnmaskRequest(dict(sorted(nonces.items())), dict(sorted(packages.items())))


def name_of_sum(topic: SumContext, nonces: Mapping[str, str]) -> str:
    """Return the SHA-256, 64 hexadecimal digits, of a sum's context and the messages in it."""
    return _digest({"nonces": dict(nonces), "topic": topic.canonical().decode("ascii")})


@dataclass(frozen=True, slots=True, eq=False)
class UnmaskAnswer:
    """Answer of one hospital.

    Attributes:
        shares: hospital in the sum -> shares, as the module describes them.
        damaged: hospitals whose package did not open.
    """

    shares: Mapping[str, tuple[bytes, ...]]
    damaged: tuple[str, ...] = ()

    def pack(self, name: str) -> bytes:
        """Return the answer as bytes; ``name`` is the sum's, of ``name_of_sum``."""
        shares = {site: b"".join(found).hex() for site, found in self.shares.items()}
        return MAGIC + _canonical({"damaged": sorted(self.damaged), "shares": shares, "sum": name})


def dropped_neighbours(site: str, *, graph: Graph, summed: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the neighbours of a hospital that are not in the sum, sorted."""
    return tuple(other for other in graph.neighbours(site) if other not in summed)


def read_answer(content: object, *, name: str, holder: str, graph: Graph, nonces: Mapping[str, str]) -> UnmaskAnswer:
    """Read an answer of any origin.

    Args:
        content: as received.
        name: of the sum.
        holder: the hospital that answered.
        graph: of the run.
        nonces: hospital in the sum -> nonce of its message.

    Raises:
        EncryptionError: it is no answer to the request for this sum.
    """
    if type(content) is not bytes or not content.startswith(MAGIC):
        raise EncryptionError("answer brings no shares of the sum")
    try:
        table = json.loads(content[len(MAGIC) :].decode("ascii"))
    except (ValueError, RecursionError):
        raise EncryptionError("answer brings no shares of the sum") from None
    if type(table) is not dict or set(table) != _ANSWER or table["sum"] != name:
        raise EncryptionError("answer brings shares of another sum")
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
    found = UnmaskAnswer(shares, tuple(damaged))
    if found.pack(name) != content:
        raise EncryptionError("answer brings shares in another form")
    return found


def _shares(digits: object, count: int) -> tuple[bytes, ...]:
    if type(digits) is not str or len(digits) != 2 * SECRET_BYTES * count:
        raise EncryptionError("answer brings another number of shares than it was asked for")
    try:
        content = bytes.fromhex(digits)
    except ValueError:
        raise EncryptionError("answer brings no shares of the sum") from None
    found = tuple(content[at : at + SECRET_BYTES] for at in range(0, len(content), SECRET_BYTES))
    if not all(is_element(share) for share in found):
        raise EncryptionError("answer brings a share outside the field")
    return found


def _canonical(content: object) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode("ascii")


def _digest(content: object) -> str:
    return hashlib.sha256(_canonical(content)).hexdigest()
