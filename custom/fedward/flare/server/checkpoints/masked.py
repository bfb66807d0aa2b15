"""Write and read hospitals, key and masked sums of a masked job in a checkpoint; the server may know all of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fedward.flare.protocol import MaskedRun, MaskedSum


def plain_run(masked: MaskedRun) -> dict[str, Any]:
    """Return hospitals and key of a masked job as words."""
    members = {site: _plain_member(member) for site, member in masked.members.items()}
    sealed = {site: content.hex() for site, content in masked.sealed.items()}
    drawn = None if masked.drawn is None else {site: _plain_member(one) for site, one in masked.drawn.items()}
    return {"members": members, "maker": masked.maker, "sealed": sealed, "drawn": drawn}


def masked_run(content: Any) -> MaskedRun | None:
    """Invert ``plain_run``; None of None.

    Raises:
        LookupError, TypeError, ValueError, AttributeError: it is no such content.
    """
    if content is None:
        return None
    members = {site: _member(member) for site, member in content["members"].items()}
    sealed = {site: bytes.fromhex(word) for site, word in content["sealed"].items()}
    drawn = None if content["drawn"] is None else {site: _member(one) for site, one in content["drawn"].items()}
    return MaskedRun(members=members, maker=content["maker"], sealed=sealed, drawn=drawn)


def pending_files(sums: Iterable[MaskedSum]) -> dict[str, bytes]:
    """Return the files of sums whose masks are still on."""
    found = {}
    for masked in sums:
        found[_name(masked.purpose, "sealed")] = masked.sealed
        found[_name(masked.purpose, "shares")] = masked.shares
        found[_name(masked.purpose, "seed")] = masked.sketches.to_bytes(2, "big") + masked.seed
    return found


def pending_sum(purpose: str, files: Mapping[str, bytes]) -> MaskedSum:
    """Return a sum from ``pending_files``.

    Raises:
        LookupError: a file of it is missing.
    """
    sealed, shares, seed = (files[_name(purpose, kind)] for kind in ("sealed", "shares", "seed"))
    sketches = int.from_bytes(seed[:2], "big")
    return MaskedSum(purpose=purpose, sealed=sealed, shares=shares, seed=seed[2:], sketches=sketches)


def _name(purpose: str, kind: str) -> str:
    return f"masked-{purpose}.{kind}"


def _plain_member(member: Mapping[str, Any]) -> dict[str, Any]:
    return {name: content.hex() if type(content) is bytes else content for name, content in member.items()}


def _member(content: Mapping[str, Any]) -> dict[str, Any]:
    return {name: bytes.fromhex(word) if type(word) is str else word for name, word in content.items()}
