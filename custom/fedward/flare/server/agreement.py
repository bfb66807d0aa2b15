"""Collect at the server what the hospitals of an encrypted job must agree on, or must know of each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, get_args

from fedward.encryption.masks.graphs.drawing import check_drawing
from fedward.encryption.masks.job_key import SEALED_BYTES
from fedward.encryption.message import is_key_id, is_nonce
from fedward.errors import EncryptionError, FederationError
from fedward.flare.protocol import MaskedRun, Reply
from fedward.flare.refusal import one_line
from fedward.flare.secagg_context import DRAWN, JOB_KEYS, KEY, NONCE, SCHEME
from fedward.flare.server.averaging.members import Members
from fedward.settings import Scheme


def common_key(
    replies: Mapping[str, Reply], *, unsigned: Callable[[str, Reply], str | None]
) -> tuple[tuple[Scheme, str], dict[str, str], dict[str, str]]:
    """Return the shared key that more than half of the sites have, their nonces, and the others with their reasons.

    Args:
        replies: the answers of the sites that admit the job.
        unsigned: function of a site and its answer: why its signatures could not be checked, or None.

    Raises:
        FederationError: no key is common to more than half of them.
    """
    keys = {site: key_of(reply) for site, reply in replies.items()}
    held = [key for key in keys.values() if key is not None]
    common = max(set(held), key=lambda key: (held.count(key), key), default=None)
    if common is None or held.count(common) * 2 <= len(replies):
        reported = ", ".join(f"{site} {'none' if key is None else key[1][:8]}" for site, key in sorted(keys.items()))
        raise FederationError(
            "no key is held by more than half of the sites",
            value=reported,
            remedy="seal one hospital's to the others",
        )
    because = f"the federation's is {common[1][:8]}…; open a sealed box with it"
    mismatched = {
        site: "reported no federation key, but the job is encrypted"
        if key is None
        else f"holds the {key[0]} key {key[1][:8]}… where {because}"
        for site, key in keys.items()
        if key != common
    }
    mismatched |= {site: why for site in set(replies) - set(mismatched) if (why := unsigned(site, replies[site]))}
    drawn = {site: (reply.sealed or {}).get(NONCE) for site, reply in replies.items() if site not in mismatched}
    roster = {site: str(nonce) for site, nonce in sorted(drawn.items()) if is_nonce(nonce)}
    return common, roster, mismatched | {site: _NO_NONCE for site in drawn if site not in roster}


def masked_run(
    replies: Mapping[str, Reply], *, members: Members, job: str, job_id: str
) -> tuple[dict[str, str], MaskedRun, dict[str, str]]:
    """Return roster and hospitals of a run, from the answers that admit the job, and the others with their reasons.

    Two with one nonce or one key are both refused: every hospital would refuse a run with them.

    Args:
        replies: the answers.
        members: hospitals whose certificates count.
        job: ``job_hash`` of the job.
        job_id: FLARE's id of the run.
    """
    found, refused, roster = dict[str, dict[str, Any]](), dict[str, str](), dict[str, str]()
    for site, reply in sorted(replies.items()):
        nonce = (reply.sealed or {}).get(NONCE)
        if not is_nonce(nonce):
            refused[site] = _NO_NONCE
            continue
        try:
            found[site] = members.public_key(reply, site=site, nonce=str(nonce), job=job, job_id=job_id)
            roster[site] = str(nonce)
        except EncryptionError as error:
            refused[site] = one_line(str(error))
    drawn = Counter((*roster.values(), *(one["public"] for one in found.values())))
    copied = [site for site in found if drawn[roster[site]] > 1 or drawn[found[site]["public"]] > 1]
    refused |= dict.fromkeys(copied, "sent the nonce or the key of another site: one of the two copied it")
    members_left = {site: one for site, one in found.items() if site not in refused}
    return {site: roster[site] for site in members_left}, MaskedRun(members=members_left), refused


def with_job_key(run: MaskedRun, reply: Reply, *, site: str) -> tuple[tuple[Scheme, str], MaskedRun]:
    """Return the scheme and id of the key that a site made and sealed to each other one, and the run with it.

    Raises:
        EncryptionError: the answer brings no such key for every site.
    """
    sealed, key = (reply.sealed or {}).get(JOB_KEYS), key_of(reply)
    if type(sealed) is not dict or set(sealed) != set(run.members) or key is None or key[0] != "masked":
        raise EncryptionError("site brings no key of the job for the others", value=site)
    if not all(type(one) is bytes and len(one) == SEALED_BYTES for one in sealed.values()):
        raise EncryptionError("site brings no key of the job for the others", value=site)
    return key, replace(run, maker=site, sealed=dict(sealed))


def with_drawn(
    run: MaskedRun, replies: Mapping[str, Reply], *, context: str, members: Members
) -> tuple[MaskedRun, dict[str, str]]:
    """Return a run with what its sites drew for a sparse mask graph, and the sites without a part, with the reason.

    Args:
        run: the run.
        replies: answers that bring what was drawn.
        context: ``roster.context_of`` the run, without seeds.
        members: hospitals whose certificates count.
    """
    drawn, refused = dict[str, dict[str, bytes]](), dict[str, str]()
    for site in run.members:
        reply = replies.get(site)
        if reply is None:
            refused[site] = "drew no part of the mask graph in time"
            continue
        content: Any = (reply.sealed or {}).get(DRAWN)
        try:
            certificate = members.certificate(reply, site=site)
            seed = check_drawing(content, site=site, context=context, certificate=certificate)
        except EncryptionError as error:
            refused[site] = one_line(str(error))
            continue
        drawn[site] = {"seed": seed, "signature": content["signature"]}
    return replace(run, drawn=drawn), refused


def key_of(reply: Reply) -> tuple[Scheme, str] | None:
    """Return scheme and id of the key that a site says it has; None: it says none."""
    scheme, key_id = ((reply.sealed or {}).get(name) for name in (SCHEME, KEY))
    known = next((one for one in get_args(Scheme) if type(scheme) is str and one == scheme), None)
    return (known, key_id) if known is not None and type(key_id) is str and is_key_id(key_id) else None


_NO_NONCE = "sent no nonce for this run"
