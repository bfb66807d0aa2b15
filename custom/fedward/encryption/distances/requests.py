"""Define the three requests by which a server has distances computed: to share a sketch, to check the shares, and to
compute on them.

They are tables of words and bytes, of any origin until they are read here. A hospital takes one of each in a round.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedward.encryption.distances.packages import hash_of
from fedward.encryption.distances.sketch import SEED_BYTES
from fedward.encryption.masks.graphs.graph import Graph
from fedward.encryption.message import is_digest, is_nonce
from fedward.encryption.sum_context import SumContext
from fedward.errors import EncryptionError

SKETCH, CHECK, DISTANCES = "sketch", "check", "distances"
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
class CheckRequest:
    """Request to check what was dealt.

    Attributes:
        sketch: the request for which the sketches were shared.
        hashes: hospital that shared -> ``packages.hash_of`` each package, in the order of the run's sites.
        packages: hospital that shared -> its package for the asked hospital.
    """

    sketch: SketchRequest
    hashes: Mapping[str, tuple[str, ...]]
    packages: Mapping[str, bytes]

    def plain(self) -> dict[str, Any]:
        """Return the request as a table; ``read_check_request`` reads it."""
        hashes = {dealer: list(each) for dealer, each in self.hashes.items()}
        return {**self.sketch.plain(), "hashes": hashes, "packages": dict(self.packages)}

    def name(self, topic: SumContext) -> str:
        """Return the SHA-256, 64 hexadecimal digits, of the round, the sketch and all packages of all hospitals."""
        return name_of_packages(self.sketch, self.hashes, topic)


@dataclass(frozen=True, slots=True, kw_only=True)
class DistancesRequest:
    """Request to compute shares of distances of what was checked.

    Attributes:
        sketch, hashes: as of the request to check.
        checks: hospital -> its answer to that request, with ``signature`` and ``certificate``.
    """

    sketch: SketchRequest
    hashes: Mapping[str, tuple[str, ...]]
    checks: Mapping[str, Mapping[str, bytes]]

    def plain(self) -> dict[str, Any]:
        """Return the request as a table; ``read_distances_request`` reads it."""
        hashes = {dealer: list(each) for dealer, each in self.hashes.items()}
        checks = {holder: dict(one) for holder, one in self.checks.items()}
        return {**self.sketch.plain(), "hashes": hashes, "checks": checks}

    def name(self, topic: SumContext) -> str:
        """Return the SHA-256, 64 hexadecimal digits, of the packages and of the values by which they were checked."""
        checks = {holder: hashlib.sha256(one["answer"]).hexdigest() for holder, one in self.checks.items()}
        packages = name_of_packages(self.sketch, self.hashes, topic)
        return _digest({"kind": DISTANCES, "packages": packages, "checks": checks}, topic)


def name_of_packages(sketch: SketchRequest, hashes: Mapping[str, Sequence[str]], topic: SumContext) -> str:
    """Return the SHA-256, 64 hexadecimal digits, of the round, the sketch and all packages of all hospitals."""
    each = {dealer: list(digests) for dealer, digests in sorted(hashes.items())}
    return _digest({"kind": CHECK, "sketch": sketch.name(topic), "hashes": each}, topic)


def read_sketch_request(content: object, *, graph: Graph) -> SketchRequest:
    """Read a request of any origin.

    Raises:
        EncryptionError: it is none, or names hospitals that take no part, or too few.
    """
    return _sketch(_whole(content, {"base", "nonces", "seed"}), graph)


def read_check_request(content: object, *, holder: str, graph: Graph) -> CheckRequest:
    """Read a request of any origin, for one hospital.

    Raises:
        EncryptionError: it is none, names hospitals that uploaded nothing, or too few, or a package is not the one that
            is named.
    """
    table = _whole(content, {"base", "nonces", "seed", "hashes", "packages"})
    sketch, packages = _sketch(table, graph), table["packages"]
    hashes = _hashes(table["hashes"], sketch, graph)
    if (
        type(packages) is not dict
        or set(packages) != set(hashes)
        or any(type(one) is not bytes for one in packages.values())
    ):
        raise EncryptionError(_NONE)
    place = graph.sites.index(holder)
    if any(hash_of(package) != hashes[dealer][place] for dealer, package in packages.items()):
        raise EncryptionError("shares of a sketch are not those that the task names")
    return CheckRequest(sketch=sketch, hashes=hashes, packages=dict(sorted(packages.items())))


def read_distances_request(content: object, *, graph: Graph) -> DistancesRequest:
    """Read a request of any origin; what it says of the hospitals' values is not checked here.

    Raises:
        EncryptionError: it is none, or names hospitals that uploaded nothing, or too few.
    """
    table = _whole(content, {"base", "nonces", "seed", "hashes", "checks"})
    sketch, checks = _sketch(table, graph), table["checks"]
    if type(checks) is not dict or not set(checks) <= set(graph.sites):
        raise EncryptionError(_NONE)
    for one in checks.values():
        if type(one) is not dict or set(one) != {"answer", "signature", "certificate"}:
            raise EncryptionError(_NONE)
        if any(type(part) is not bytes for part in one.values()):
            raise EncryptionError(_NONE)
    return DistancesRequest(
        sketch=sketch, hashes=_hashes(table["hashes"], sketch, graph), checks=dict(sorted(checks.items()))
    )


_NONE = "task brings no request to compare models"


def _whole(content: object, names: set[str]) -> dict[str, Any]:
    if type(content) is not dict or set(content) != names:
        raise EncryptionError(_NONE)
    return content


def _hashes(content: object, sketch: SketchRequest, graph: Graph) -> dict[str, tuple[str, ...]]:
    if type(content) is not dict or not all(type(each) is list for each in content.values()):
        raise EncryptionError(_NONE)
    if not set(content) <= set(sketch.nonces) or len(content) < graph.fewest:
        raise EncryptionError("distances to compute are of too few hospitals, or of some that sent no model")
    if any(len(each) != len(graph.sites) or not all(map(is_digest, each)) for each in content.values()):
        raise EncryptionError(_NONE)
    return {dealer: tuple(content[dealer]) for dealer in sorted(content)}


def _sketch(content: Mapping[str, Any], graph: Graph) -> SketchRequest:
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
