"""Define the two requests by which a server has distances computed: to share a sketch, and to compute on the shares.

Both are tables of words and bytes, of any origin until they are read here. A hospital takes one of each in a round.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fedward.encryption.distances.sketch import SEED_BYTES
from fedward.encryption.masks.graphs.graph import Graph
from fedward.encryption.message import is_digest, is_nonce
from fedward.encryption.sum_context import SumContext
from fedward.errors import EncryptionError

SKETCH, DISTANCES = "sketch", "distances"
"""Names of the requests among those of a task to help with a sum."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SketchRequest:
    """Request to share the sketch of the model that a hospital has uploaded.

    Attributes:
        nonces: hospital that uploaded -> nonce of its message, 32 hexadecimal digits.
        seed: of the sketch, ``SEED_BYTES`` bytes, which the server draws once the uploads are fixed.
        base: of the sum's context.
    """

    nonces: Mapping[str, str]
    seed: bytes
    base: str

    def plain(self) -> dict[str, Any]:
        """Return the request as a table; ``read_sketch_request`` reads it."""
        return {"base": self.base, "nonces": dict(self.nonces), "seed": self.seed}

    def name(self, topic: SumContext) -> str:
        """Return the SHA-256, 64 hexadecimal digits, of the round, its uploads and the sketch."""
        return _digest({"kind": SKETCH, "nonces": dict(self.nonces), "seed": self.seed.hex()}, topic)


@dataclass(frozen=True, slots=True, kw_only=True)
class DistancesRequest:
    """Request to compute shares of distances.

    Attributes:
        sketch: the request for which the sketches were shared.
        hashes: hospital that shared -> SHA-256 of its message, 64 hexadecimal digits.
        packages: hospital that shared -> its package for the asked hospital.
    """

    sketch: SketchRequest
    hashes: Mapping[str, str]
    packages: Mapping[str, bytes]

    def plain(self) -> dict[str, Any]:
        """Return the request as a table; ``read_distances_request`` reads it."""
        return {**self.sketch.plain(), "hashes": dict(self.hashes), "packages": dict(self.packages)}

    def name(self, topic: SumContext) -> str:
        """Return the SHA-256, 64 hexadecimal digits, of the sketches whose distances are computed."""
        return _digest({"kind": DISTANCES, "sketch": self.sketch.name(topic), "hashes": dict(self.hashes)}, topic)


def read_sketch_request(content: object, *, graph: Graph) -> SketchRequest:
    """Read a request of any origin.

    Raises:
        EncryptionError: it is none, or names hospitals that take no part, or too few.
    """
    return _sketch(content, {"base", "nonces", "seed"}, graph)


def read_distances_request(content: object, *, graph: Graph) -> DistancesRequest:
    """Read a request of any origin.

    Raises:
        EncryptionError: it is none, names hospitals that uploaded nothing, or too few, or a package is missing.
    """
    sketch = _sketch(content, {"base", "nonces", "seed", "hashes", "packages"}, graph)
    table: dict[str, Any] = content if type(content) is dict else {}
    hashes, packages = table["hashes"], table["packages"]
    if type(hashes) is not dict or type(packages) is not dict or set(hashes) != set(packages):
        raise EncryptionError(_NONE)
    if not set(hashes) <= set(sketch.nonces) or len(hashes) < graph.fewest:
        raise EncryptionError("distances to compute are of too few hospitals, or of some that sent no model")
    if not all(map(is_digest, hashes.values())) or not all(type(one) is bytes for one in packages.values()):
        raise EncryptionError(_NONE)
    return DistancesRequest(sketch=sketch, hashes=dict(sorted(hashes.items())), packages=dict(sorted(packages.items())))


_NONE = "task brings no request to compare models"


def _sketch(content: object, names: set[str], graph: Graph) -> SketchRequest:
    if type(content) is not dict or set(content) != names:
        raise EncryptionError(_NONE)
    nonces, seed, base = content["nonces"], content["seed"], content["base"]
    if type(nonces) is not dict or not all(map(is_nonce, nonces.values())) or not is_digest(base):
        raise EncryptionError(_NONE)
    if type(seed) is not bytes or len(seed) != SEED_BYTES:
        raise EncryptionError(_NONE)
    if not set(nonces) <= set(graph.sites) or len(set(nonces.values())) != len(nonces):
        raise EncryptionError("models to compare are of a hospital that takes no part, or one is named twice")
    if len(nonces) < graph.fewest:
        raise EncryptionError(f"models to compare are of fewer than {graph.fewest} hospitals", value=len(nonces))
    return SketchRequest(nonces=dict(sorted(nonces.items())), seed=seed, base=base)


def _digest(content: Mapping[str, Any], topic: SumContext) -> str:
    whole = {**content, "topic": topic.canonical().decode("ascii")}
    text = json.dumps(whole, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()
