"""Collect at the server what the hospitals of a masked job must know of each other: keys, job key, mask graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fedward.encryption.masks.graphs.drawing import check_drawing
from fedward.encryption.masks.job_key import SEALED_BYTES
from fedward.encryption.message import is_nonce
from fedward.errors import EncryptionError
from fedward.flare.protocol import MaskedRun, Reply
from fedward.flare.refusal import one_line
from fedward.flare.secagg_context import DRAWN, JOB_KEYS, NONCE
from fedward.flare.server.averaging.members import Members
from fedward.settings import Scheme


def masked_run(
    replies: Mapping[str, Reply], *, members: Members, job: str, job_id: str
) -> tuple[dict[str, str], MaskedRun, dict[str, str]]:
    """Return roster and hospitals of a run, from the answers that admit the job, and the others with their reasons.

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
            refused[site] = "sent no nonce for this run"
            continue
        try:
            found[site] = members.public_key(reply, site=site, nonce=str(nonce), job=job, job_id=job_id)
            roster[site] = str(nonce)
        except EncryptionError as error:
            refused[site] = one_line(str(error))
    return roster, MaskedRun(members=found), refused


def with_job_key(run: MaskedRun, reply: Reply, *, site: str, key: tuple[Scheme, str] | None) -> MaskedRun:
    """Return a run with the key that a site made and sealed to each other one; ``key`` is what the answer says of it.

    Raises:
        EncryptionError: the answer brings no such key for every site.
    """
    sealed = (reply.sealed or {}).get(JOB_KEYS)
    if type(sealed) is not dict or set(sealed) != set(run.members) or key is None or key[0] != "masked":
        raise EncryptionError("site brings no key of the job for the others", value=site)
    if not all(type(one) is bytes and len(one) == SEALED_BYTES for one in sealed.values()):
        raise EncryptionError("site brings no key of the job for the others", value=site)
    return replace(run, maker=site, sealed=dict(sealed))


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
