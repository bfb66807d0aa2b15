"""Check the roster of an encrypted run: its hospitals, each with its nonce. Every sum of the run is bound to it.

The server chooses a job's id, its rounds and its requests, but not the nonces: each hospital draws its own for the run.
So the server can never present a sum of one run as that of another, not even under the same job id. A hospital takes
part only if the roster holds its own nonce, and the nonces never change within a run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from fedward.encryption.message import is_nonce, is_site
from fedward.errors import EncryptionError

MOST = 4096
"""Largest number of hospitals in a roster."""


def check_roster(content: object, *, site: str, nonce: str) -> dict[str, str]:
    """Check the roster that a server sent and return it, hospital -> nonce.

    Args:
        content: the roster as received.
        site: this hospital.
        nonce: the nonce that this hospital drew for the run.

    Raises:
        EncryptionError: it is no such table, two hospitals have the same nonce, or this hospital's own is not in it.
    """
    if type(content) is not dict or not 0 < len(content) <= MOST:
        raise EncryptionError("task does not say which hospitals take part in the encrypted job")
    if not all(is_site(name) and is_nonce(drawn) for name, drawn in content.items()):
        raise EncryptionError("task names a hospital, or its nonce, in another form than it has")
    if len(set(content.values())) != len(content):
        raise EncryptionError("task gives two hospitals one nonce")
    if content.get(site) != nonce:
        raise EncryptionError("task has another nonce for this hospital than the one that it drew")
    return {name: content[name] for name in sorted(content)}


def context_of(
    roster: Mapping[str, str],
    *,
    job: str,
    publics: Mapping[str, bytes] | None = None,
    seeds: Mapping[str, bytes] | None = None,
) -> str:
    """Return the SHA-256, 64 hexadecimal digits, of what every sum of a run is bound to.

    Args:
        roster: hospital -> nonce.
        job: hash of the job.
        publics: hospital -> its public key, in a masked run.
        seeds: hospital -> its part of a sparse mask graph.
    """
    content: dict[str, object] = {"job": job, "roster": dict(roster)}
    if publics is not None:
        content["publics"] = {site: key.hex() for site, key in publics.items()}
    if seeds is not None:
        content["seeds"] = {site: seed.hex() for site, seed in seeds.items()}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()
